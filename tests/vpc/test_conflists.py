"""The conflists of a VPC send packets the way that docs/conflists.md says."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from cni.kernel.netns import entered
from tests import conflists, lab, networks, packets
from tests.conflists import Conflist
from tests.conftest import ROOT
from tests.pages import packets_told
from tests.vpc import nodes
from tests.vpc.agent import Agent, listening, place
from tests.vpc.fabric import OUTSIDE, OUTSIDE_ADDRESS, VPC
from tests.vpc.nodes import PORTS, Nodes

pytestmark = pytest.mark.usefixtures("host")
PAGE = ROOT / "docs/conflists.md"
NODE, OTHER = "10.0.1.10", "10.0.2.11"  # the node of a and b; the pod c, of another node
HOST_PORT = 8080
NAMESPACES = {"host": "n1", "outside": OUTSIDE}  # others are called as they are


def aws() -> Nodes:
    """Return nodes with two ENIs each."""
    return nodes.make()


def azure() -> Nodes:
    """Return nodes with all addresses on one network card."""
    made = nodes.make(mtu=1500)
    first, second = PORTS["eni-10"], PORTS["eni-20"]
    addresses = (first.addresses[0], *conflists.VPC_PODS["azure"])
    made.fabric.sync([replace(first, addresses=addresses), second])
    made.hosts = {  # the subnet is all that Azure says
        name: replace(host, secondary=(), vpc_cidrs=(host.primary.address.network,))
        for name, host in made.hosts.items()
    }
    made.ensure(excluded=(ip_network(VPC),))
    return made


WORLDS: dict[str, Callable[[], Nodes]] = {"aws-vpc": aws, "azure": azure}


def agent(conflist: Conflist) -> Agent:
    """Return a double of both agents: it has addresses for a, b and c, in this order."""
    double = Agent([])
    for address in (*conflists.VPC_PODS[conflist.name], OTHER):
        found = [port for port in PORTS.values() if address in port.addresses]
        port = found[0] if found else PORTS["eni-10"]
        eni = {"id": port.name, "mac": port.mac, "device": int(port.ifname[3:])}
        double.free.append(place(address, eni | {"address": port.addresses[0]}))
    return double


def add(conflist: Conflist, pod: str, node: str, bin_dir: Path, *ports: networks.Json) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_PATH": str(bin_dir),
        "NETCONFPATH": str(conflist.path.parent),
        "CAP_ARGS": json.dumps({"portMappings": ports}),
    }
    words = [str(bin_dir / "cnictl"), "add", conflist.name, lab.add_netns(pod)]
    with entered(lab.netns_path(node)):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def send(packet: str, addresses: dict[str, str]) -> str:
    """Send the packet `a → host port → b`, say; return the address that it arrives from."""
    source, *between, target = packet.split(" → ")
    to = NODE if between else addresses[target]
    client, server = (NAMESPACES.get(name, name) for name in (source, target))
    return packets.seen_from(client, server, (to, HOST_PORT if between else 80), listen=80)


@pytest.mark.parametrize("name", conflists.of_vpc())
def test_packets_go_the_way_that_the_page_tells(name: str, frozen_bin: Path) -> None:
    conflist, made = conflists.of_vpc()[name], WORLDS[name]()
    with listening(agent(conflist)):
        add(conflist, "a", "n1", frozen_bin)
        add(conflist, "b", "n1", frozen_bin, networks.mapping(HOST_PORT))
        add(conflist, "c", "n2", frozen_bin)
    addresses = {"a": conflist.pod_addresses(1)[0], "b": conflist.pod_addresses(2)[0], "c": OTHER}
    addresses |= {"outside": OUTSIDE_ADDRESS, "host": NODE}

    for packet, wanted in packets_told(PAGE, name):
        assert [send(packet, addresses)] == wanted, packet
    assert made.fabric.dropped() == 0
