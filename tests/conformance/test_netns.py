"""CNI_NETNS: only the namespace of a container is worked in, never that of the host."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pytest

from cni.programs import PROGRAMS
from tests import lab, snapshot
from tests.conformance.confs import NETNS, conf, in_turn, on_programs, some

pytestmark = pytest.mark.usefixtures("pod")
ENTERING = [name for name, program in PROGRAMS.items() if program.kind != "ipam"]
NO_NAMESPACE = {  # what a reboot, a fault or malice leaves there
    "missing": "/run/netns/gone",
    "regular file": "/run/no/file",
    "directory": "/run/no",
    "socket": "/run/no/socket",
    "pipe that nobody writes": "/run/no/pipe",
    "link to nowhere": "/run/no/link",
    "loop of links": "/run/no/loop",
    "device": "/dev/null",
    "terminal": "/dev/tty",
    "below a file": "/run/no/file/net",
    "mount namespace": "/proc/self/ns/mnt",
    "user namespace": "/proc/self/ns/user",
    "name only": "pod",
    "newline": "/run/netns/pod\n",
    "white space": " ",
    "not UTF-8": os.fsdecode(b"/run/netns/\xff"),
    "parent directories": "/run/netns/../../../../etc/passwd",
    "64 KiB": "/run/netns/" + "a" * (64 << 10),
    "many directories": "/run" + "/a" * (32 << 10),
}


@pytest.fixture
def places(pod: str) -> Iterator[None]:  # noqa: ARG001  # on the pod's host
    """Make what is no namespace."""
    place = Path("/run/no")
    place.mkdir()
    (place / "file").touch()
    (place / "link").symlink_to("/run/netns/gone")
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(place / "socket"))
        yield


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_what_is_no_network_namespace_is_refused_by_name(
    suite: lab.Suite, verb: str, subtests: pytest.Subtests
) -> None:
    with snapshot.unchanged():
        for program, name in zip(cycle(ENTERING), some(suite, NO_NAMESPACE), strict=False):
            with subtests.test(name, program=program):
                path = NO_NAMESPACE[name]

                reply = suite.call(program, verb, conf(program), netns=path).failed(4)

                assert f"cannot use CNI_NETNS '{path[:4].rstrip()}" in reply.json["msg"]
                assert "not a network namespace" in reply.json["msg"]
                assert len(reply.stdout) < 2000


@pytest.mark.usefixtures("places")
def test_del_takes_it_for_a_namespace_that_is_gone(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    for program in PROGRAMS:
        suite.call(program, "DEL", conf(program)).ok()  # forwarding and our table may stay
    with snapshot.unchanged():
        for program, name in in_turn(some(suite, NO_NAMESPACE)):
            with subtests.test(name, program=program):
                suite.call(program, "DEL", conf(program), netns=NO_NAMESPACE[name]).ok()


@pytest.mark.usefixtures("places")
def test_a_program_that_never_enters_it_does_not_look_at_it(suite: lab.Suite) -> None:
    """IPAM programs are tried by hand, with any path."""
    for path in ("/run/netns/gone", "/run/no/file", "/dev/null"):
        suite.call("host-local", "ADD", conf("host-local"), netns=path).ok()
        suite.call("host-local", "CHECK", conf("host-local"), netns=path).ok()
        suite.call("host-local", "DEL", conf("host-local"), netns=path).ok()


def own_namespace() -> tuple[str, ...]:
    """Return the host's namespace under several names."""
    lab.run("touch /run/netns/host")
    lab.run("mount --bind /proc/self/ns/net /run/netns/host")
    Path("/run/link").symlink_to("/run/netns/host")
    return "/proc/self/ns/net", "/proc/thread-self/ns/net", "/run/netns/host", "/run/link"


def test_the_hosts_own_namespace_is_refused_before_anything_is_done(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    cases = [(verb, path) for path in own_namespace() for verb in ("ADD", "DEL", "CHECK")]
    with snapshot.unchanged():
        for program, (verb, path) in on_programs(suite, cases):
            with subtests.test(program=program, verb=verb, path=path):
                reply = suite.call(program, verb, conf(program), netns=path).failed(8).json

                wanted = "plugin's netns and netns from CNI_NETNS should not be the same"
                assert reply["msg"] == wanted
                assert reply["details"] == f"{path} is the host's; CNI_NETNS_OVERRIDE=1 allows it"


def test_the_override_allows_the_hosts_own_namespace(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    given = {"netns": "/proc/self/ns/net"}
    for override in ("1", "true", "TRUE"):
        with subtests.test(override=override):
            suite.call("loopback", "ADD", conf("loopback"), netns_override=override, **given).ok()
    for override in ("0", "false", "yes", "11"):
        with subtests.test(override=override):
            reply = suite.call(
                "loopback", "DEL", conf("loopback"), netns_override=override, **given
            )

            reply.failed(8)


def test_another_spelling_of_the_path_is_the_same_namespace(suite: lab.Suite) -> None:
    for path in ("/var/run/netns/pod", "/run/netns/../netns//pod"):
        result = suite.call("loopback", "ADD", conf("loopback"), netns=path).ok().json

        assert result["interfaces"][0]["sandbox"] == path
        suite.call("loopback", "DEL", conf("loopback"), netns=NETNS).ok()
