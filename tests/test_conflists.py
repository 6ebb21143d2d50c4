"""The project's conflists send packets the way that docs/conflists.md says."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import conflists, lab, networks, packets, pods
from tests.conflists import Conflist
from tests.conftest import ROOT
from tests.pages import blocks, packets_told, section

pytestmark = pytest.mark.usefixtures("host")
PAGE = ROOT / "docs/conflists.md"
OWN = conflists.own()
NODE, OUTSIDE = "172.18.0.2", "172.18.0.1"
NODE_6, OUTSIDE_6 = "fc00:f853::2", "fc00:f853::1"
FAR = "10.244.1.2"  # a pod of another node; here, a second address of the machine outside
ADDRESSES = {  # of who is written to
    "a": ("10.244.0.2", "fd00:10:244::2"),
    "b": ("10.244.0.3", "fd00:10:244::3"),
    "outside": (OUTSIDE, OUTSIDE_6),
    "host port": (NODE, NODE_6),
    FAR: (FAR,),
}
NAMESPACES = {"host": "", FAR: "outside"}  # others are called as they are
HOST_PORT = 8080


def make_world(conflist: Conflist) -> None:
    """Give the host a neighbour that is outside, and a pod of another node.

    It knows the way to the pods of this node where nothing promises to hide them.
    """
    pods.outside({"outside": (f"{NODE}/16", f"{OUTSIDE}/16")})
    for address, device, netns in ((NODE_6, "out0", ""), (OUTSIDE_6, "eth0", "outside")):
        lab.run(f"ip address add {address}/64 dev {device} nodad", netns=netns)
    lab.run(f"ip address add {FAR}/24 dev eth0", netns="outside")
    lab.run(f"ip route add 10.244.1.0/24 via {OUTSIDE}")
    if not conflist.interface["ipMasq"]:
        lab.run(f"ip route add 10.244.0.0/24 via {NODE}", netns="outside")


def add(conflist: Conflist, pod: str, bin_dir: Path, *mappings: networks.Json) -> None:
    settings = {
        "PATH": os.environ["PATH"],
        "CNI_PATH": str(bin_dir),
        "NETCONFPATH": str(conflist.path.parent),
        "CAP_ARGS": json.dumps({"portMappings": mappings}),
    }
    words = [str(bin_dir / "cnictl"), "add", conflist.name, lab.add_netns(pod)]
    subprocess.run(words, env=settings, check=True, capture_output=True)


def send(packet: str, family: int) -> str:
    """Send the packet `a → host port → b`, say; return the address that it arrives from."""
    source, *between, target = packet.split(" → ")
    address = ADDRESSES[between[0] if between else target][family]
    client, server = (NAMESPACES.get(name, name) for name in (source, target))
    return packets.seen_from(client, server, (address, HOST_PORT if between else 80), listen=80)


@pytest.mark.parametrize("name", OWN)
def test_packets_go_the_way_that_the_page_tells(name: str, frozen_bin: Path) -> None:
    conflist = OWN[name]
    make_world(conflist)
    add(conflist, "a", frozen_bin, networks.mapping(HOST_PORT))
    add(conflist, "b", frozen_bin)
    for text in blocks("sh", section(PAGE, name)):
        subprocess.run(["bash", "-ec", text], check=True)

    for packet, wanted in packets_told(PAGE, name):
        assert [send(packet, family) for family in range(len(wanted))] == wanted, packet
