"""The keys vlan, vlanTrunk and preserveDefaultVlan; the kernel must be able to filter VLANs."""

import sys
from pathlib import Path

import pytest

from cni import vlan
from cni.config import Section
from cni.errors import CniError
from cni.kernel.bridge import NATIVE, Vlans, filter_vlans, set_vlans
from tests import lab, networks
from tests.conftest import ROOT
from tests.plugins import guest
from tests.plugins.test_bridge import bridges
from tests.pods import leases, verb, veths

CASES = "tests/plugins/vlan_cases.py"
PYTEST = [sys.executable, "-B", "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"]
LACKING = "this kernel has no CONFIG_BRIDGE_VLAN_FILTERING"
TRUNKS = {
    "nothing": ({}, ()),
    "an ID": ({"id": 7}, (7,)),
    "a range": ({"minID": 100, "maxID": 103}, (100, 101, 102, 103)),
    "a range of one": ({"minID": 4094, "maxID": 4094}, (4094,)),
    "a range and an ID": ({"minID": 1, "maxID": 2, "id": 9}, (1, 2, 9)),
    "an ID of the range": ({"minID": 1, "maxID": 2, "id": 1}, (1, 2)),
}
BAD_TRUNKS = {
    "minID and maxID should be configured simultaneously, minID is missing": {"maxID": 3},
    "minID and maxID should be configured simultaneously, maxID is missing": {"minID": 3, "id": 1},
    "incorrect trunk minID parameter": {"minID": 0, "maxID": 3},
    "incorrect trunk maxID parameter": {"minID": 1, "maxID": 4095},
    "incorrect trunk id parameter": {"id": -1},
    "minID is greater than maxID in trunk parameter": {"minID": 4, "maxID": 3},
    'cannot use vlanTrunk[1].id "7"': {"id": "7"},
}


def kernel_filters_vlans() -> bool:
    """Tell whether this machine's kernel can filter VLANs on bridges."""
    lab.run("ip link add probe type bridge vlan_filtering 1", check=False)
    found = "probe" in bridges()
    lab.run("ip link del probe", check=False)
    return found


@pytest.mark.parametrize(("entry", "wanted"), TRUNKS.values(), ids=TRUNKS)
def test_a_trunk_is_ids_and_ranges(entry: networks.Json, wanted: tuple[int, ...]) -> None:
    assert vlan.read(Section({"vlanTrunk": [entry]})) == Vlans(0, wanted)


@pytest.mark.parametrize(("words", "entry"), BAD_TRUNKS.items(), ids=BAD_TRUNKS)
def test_a_trunk_that_is_none_is_refused(words: str, entry: networks.Json) -> None:
    with pytest.raises(CniError) as refusal:
        vlan.read(Section({"vlanTrunk": [{}, entry]}))

    assert (refusal.value.code, words in refusal.value.msg) == (7, True)


@pytest.mark.parametrize("vid", [-1, 4095, 1 << 40])
def test_a_vlan_that_is_none_is_refused(vid: int) -> None:
    with pytest.raises(CniError, match=f"invalid VLAN ID {vid} "):
        vlan.read(Section({"vlan": vid}))


def test_the_requests_are_those_of_iproute2() -> None:
    """What strace shows of `bridge vlan` and `ip link set` (iproute2 6.1).

    struct ifinfomsg of interface 4 (family 7: AF_BRIDGE), IFLA_AF_SPEC (26) with
    IFLA_BRIDGE_VLAN_INFO (2): flags, ID.  Ours say NLA_F_NESTED (80) of what is nested.
    """
    port = "07 00 0000 04000000 00000000 00000000"
    requests = set_vlans(4, "veth", Vlans(100, (7, *range(200, 300))))
    delete, trunk, access = [request.encode(1).hex() for request in requests]

    # bridge vlan del dev veth vid 1-4094
    assert delete == wire(17, port, "1400 1a80 0800 0200 0800 0100 0800 0200 1000 fe0f")
    # bridge vlan add dev veth vid 7, and 200-299
    trunk_infos = "0800 0200 0000 0700 0800 0200 0800 c800 0800 0200 1000 2b01"
    assert trunk == wire(19, port, f"1c00 1a80 {trunk_infos}")
    # bridge vlan add dev veth vid 100 pvid untagged
    assert access == wire(19, port, "0c00 1a80 0800 0200 0600 6400")
    # ip link set cni0 type bridge vlan_filtering 1 (as a number of 8 bits)
    assert filter_vlans(2, "cni0").encode(1).hex() == wire(
        16,
        "00 00 0000 02000000 00000000 00000000",
        f"1c00 1280 0b00 0100 {b'bridge'.hex()} 0000 0c00 0280 0500 0700 01000000",
    )


def wire(kind: int, head: str, attributes: str) -> str:
    """Return a request of rtnetlink in hex: header, with NLM_F_REQUEST and number 1, and body."""
    body = bytes.fromhex(head + attributes)
    words = (len(body) + 16).to_bytes(4, "little"), kind.to_bytes(2, "little"), b"\1\0"
    return (b"".join(words) + (1).to_bytes(4, "little") + bytes(4) + body).hex()


def test_a_port_without_vlans_is_left_as_the_bridge_makes_it() -> None:
    assert set_vlans(4, "veth", Vlans(keep_default=True)) == []
    assert Vlans(0, (7,)) and NATIVE == 1


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": [{"id": 7}]}], ids=["vlan", "trunk"])
def test_a_kernel_that_cannot_is_told_by_the_option_that_it_lacks(
    suite: lab.Suite, keys: networks.Json
) -> None:
    if kernel_filters_vlans():
        pytest.xfail("this kernel has CONFIG_BRIDGE_VLAN_FILTERING: it refuses nothing")
    lab.add_netns("pod")

    reply = verb(suite, "ADD", networks.bridge("10.1.2.0/24", isGateway=True, **keys)).failed(104)

    assert "cannot use VLANs on bridge cni0" in reply.json["msg"]
    assert "CONFIG_BRIDGE_VLAN_FILTERING" in reply.json["details"]
    assert (bridges(), veths(), leases()) == ([], [], set())


@pytest.mark.usefixtures("host")
def test_vlans_on_a_kernel_that_has_them(tmp_path: Path) -> None:
    """On this machine's, or on that of Debian's user-mode-linux."""
    command = [*PYTEST, CASES]
    if kernel_filters_vlans():
        lab.run(" ".join(command))
        return
    if not guest.KERNEL.exists():
        pytest.xfail(f"{LACKING}, and user-mode-linux is not installed: VLANs were not tried")

    done, said = guest.run(command, ROOT, tmp_path)

    if guest.EXIT not in said:
        pytest.xfail(f"{LACKING}, and user-mode-linux does not start here: VLANs were not tried")
    assert done, said
