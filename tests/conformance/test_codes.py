"""Each error code is said where the SPEC says, by every program that can be in that position."""

from typing import Any, NamedTuple

import pytest

from cni.errors import Code
from cni.programs import PROGRAMS
from tests import lab, snapshot
from tests.conformance.confs import NETNS, conf, ipam

ELSEWHERE = {  # codes that no program says, or that need a test of their own
    Code.UNKNOWN_CONTAINER: "the runtime: CHECK of what it has not added",
    Code.LIMITED_CONNECTIVITY: "nobody yet",
    Code.INTERNAL: "every program that is stopped by a signal",
}
SMALL = [[{"subnet": "10.9.0.0/30"}]]  # the gateway and one address, which `other` has
OTHER = {"type": "host-local", "dataDir": "/run/small", "ranges": SMALL}
FILE = "/run/file"
INTERFACES = ("ptp", "bridge", "vxlan")  # that ask IPAM, whichever
OF_AGENT = ("aws-vpc", "aws-vpc-ipam")  # whose addresses are the node agent's
TAKEN = {"type": "host-local", "dataDir": "/run/taken", "ranges": [[{"subnet": "10.8.0.0/24"}]]}
UNREACHABLE = [{"dst": "192.0.2.0/24", "gw": "224.0.0.1"}]  # nobody


class Case(NamedTuple):
    """A call that is refused; `variables` are given to the program besides the usual ones."""

    verb: str
    conf: Any
    words: str
    variables: dict[str, str] = {}  # noqa: RUF012  # never changed


def leased(program: str, verb: str, words: str, section: Any, **variables: str) -> Case:
    return Case(verb, conf(program, ipam=section), words, variables)


def of_interfaces(verb: str, words: str, section: Any, **variables: str) -> dict[str, Case]:
    return {name: leased(name, verb, words, section, **variables) for name in INTERFACES}


def everywhere(verb: str, words: str, variables: dict[str, str], **keys: Any) -> dict[str, Case]:
    return {program: Case(verb, conf(program, **keys), words, variables) for program in PROGRAMS}


CASES: dict[Code, dict[str, Case]] = {
    Code.INCOMPATIBLE_VERSION: everywhere("ADD", "incompatible", {}, cniVersion="0.9.0"),
    Code.UNSUPPORTED_FIELD: {
        **{name: Case("ADD", conf(name, ipMasqBackend="pf"), "pf") for name in INTERFACES},
        "portmap": Case("ADD", conf("portmap", backend="pf"), "pf"),
        **{
            name: leased(name, "ADD", "here", {"type": "aws-vpc-ipam", "addressing": "here"})
            for name in OF_AGENT
        },
        "host-local": leased("host-local", "ADD", "perhaps", ipam() | {"onDuplicate": "perhaps"}),
    },
    Code.INVALID_ENVIRONMENT: everywhere("ADD", "[CNI_PATH]", {"path": ""}),
    Code.IO_FAILURE: {
        "host-local": leased("host-local", "ADD", FILE, ipam() | {"dataDir": FILE}),
        **of_interfaces("ADD", FILE, ipam() | {"dataDir": FILE}),
    },
    Code.DECODING_FAILURE: {name: Case("ADD", b"{", "decode") for name in PROGRAMS},
    Code.INVALID_CONFIG: everywhere("ADD", "network name", {}, name="a/b"),
    Code.INVALID_NETNS: everywhere("ADD", "same", {"netns": "/proc/self/ns/net"}),
    Code.TRY_AGAIN: {
        name: Case("ADD", conf(name, runtimeConfig={"ips": ["10.9.9.9"]}), "no address")
        for name in OF_AGENT
    },
    Code.UNAVAILABLE: {
        "host-local": leased("host-local", "STATUS", "10.9.0", OTHER),
        **of_interfaces("STATUS", "10.9.0", OTHER),
    },
    Code.EXHAUSTED: {
        "host-local": leased("host-local", "ADD", "10.9.0", OTHER),
        **of_interfaces("ADD", "10.9.0", OTHER),
    },
    Code.ALREADY_ATTACHED: {
        "host-local": leased("host-local", "ADD", "10.8.0.2", TAKEN, containerid="taken"),
        **of_interfaces("ADD", "eth0", TAKEN, containerid="taken", netns="/run/netns/taken"),
    },
    Code.CHECK_FAILED: {
        "loopback": Case("CHECK", conf("loopback"), "down"),
        "host-local": Case("CHECK", conf("host-local"), "pod-1"),
        **{name: Case("CHECK", conf(name), "pod-1") for name in INTERFACES},
        "portmap": Case("CHECK", conf("portmap"), "incomplete"),
        **{name: Case("CHECK", conf(name), "no address") for name in OF_AGENT},
    },
    Code.PLUGIN_FAILED: of_interfaces("STATUS", "false", {"type": "false"}, path="/bin"),
    Code.KERNEL_REFUSED: of_interfaces("ADD", "192.0.2.0/24", ipam("k") | {"routes": UNREACHABLE}),
}


@pytest.fixture
def world(suite: lab.Suite, pod: str) -> None:
    """Let another pod have what the cases want, and ptp have been there."""
    with open(FILE, "x", encoding="ascii"):
        pass
    lab.add_netns("taken")
    taken = {"netns": "/run/netns/taken", "containerid": "taken"}
    suite.call("ptp", "ADD", conf("ptp", ipam=TAKEN), **taken).ok()
    suite.call("host-local", "ADD", conf("host-local", ipam=OTHER), **taken).ok()
    suite.call("ptp", "ADD", conf("ptp", ipam=ipam("k")), netns=pod).ok()
    suite.call("ptp", "DEL", conf("ptp", ipam=ipam("k")), netns=pod).ok()
    lab.run("rm -r /run/leases")


@pytest.mark.usefixtures("world")
def test_the_code_says_what_is_wrong_and_nothing_is_done(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    for code, cases in CASES.items():
        before = snapshot.take()
        for program, case in cases.items():
            with subtests.test(f"{code} {code.name.lower()}", program=program):
                variables = {"netns": NETNS} | case.variables
                reply = suite.call(program, case.verb, case.conf, **variables).failed(code)

                assert case.words in reply.json["msg"]
        with subtests.test(f"{code} changes nothing"):
            changed = snapshot.changes(before)
            assert not [name for name in changed if not name.startswith("/run/leases")]


def test_every_code_is_here_or_elsewhere() -> None:
    assert sorted({*CASES, *ELSEWHERE}) == sorted(Code)
