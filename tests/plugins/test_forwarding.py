"""The host forwards after an ADD, whatever the kernel made of writers that met."""

import multiprocessing
from pathlib import Path

import pytest

from cni.kernel import forwarding
from tests import lab, networks, pods

pytestmark = pytest.mark.usefixtures("host")
V4 = "10.1.2.0/24"
CONF = Path("/proc/sys/net/ipv4/conf")
STEADY = {"all", "default", "lo", "lan"}
LINKS = "link add one type veth peer name two\nlink del one\n"


def forward(name: str, value: str) -> None:
    (CONF / name / "forwarding").write_text(value)


def everybody() -> set[str]:
    """Return the interfaces, and `all` and `default`."""
    return {place.name for place in CONF.iterdir()}


def forwarders(among: set[str]) -> set[str]:
    return {name for name in among if (CONF / name / "forwarding").read_text() == "1\n"}


def switch_on_at_once(writers: int) -> None:
    """Switch forwarding on in so many processes that begin at the same moment."""
    fork = multiprocessing.get_context("fork")
    gate = fork.Barrier(writers)

    def write() -> None:
        gate.wait(20)
        forwarding.switch_on((4,))

    children = [fork.Process(target=write) for _ in range(writers)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * writers


@pytest.mark.parametrize("kind", ["ptp", "bridge"])
def test_a_host_that_only_says_that_it_forwards_does_so_after_the_next_add(
    suite: lab.Suite, kind: str
) -> None:
    """What is left when two wrote ip_forward at the same moment, whoever they were."""
    forward("all", "1")
    for name in everybody() - {"all"}:
        forward(name, "0")

    pods.add(suite, networks.ptp(V4) if kind == "ptp" else networks.bridge(V4, isGateway=True))

    assert forwarders(everybody()) == everybody()


def test_an_interface_that_is_kept_from_forwarding_stays_so(suite: lab.Suite) -> None:
    lab.run("ip link add kept type veth peer name other")
    forward("all", "1")
    for name in ("default", "kept"):
        forward(name, "0")

    pods.add(suite, networks.ptp(V4))

    assert forwarders({"all", "other", "default", "kept"}) == {"all", "other"}


@pytest.mark.parametrize("own", ["0", "1"])
def test_writers_that_meet_leave_a_host_that_forwards(own: str) -> None:
    """With plain writes in their place this failed in 1 to 8 of a hundred rounds."""
    lab.run("ip link add lan type veth peer name other")
    with lab.repeated(LINKS):  # a writer that finds them busy has to try again
        for _ in range(60):
            forward("all", "0")
            forward("lan", own)  # as networkd's IPv4Forwarding= does
            switch_on_at_once(6)
            assert forwarders(STEADY) == STEADY
