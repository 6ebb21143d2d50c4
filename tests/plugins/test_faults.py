"""ADD fails, or is killed, at any line: nothing is left, or DEL finds all of it.

The lines are those of ptp and of what it calls to make the attachment; an exception between
two lines of one kernel request or one lease is SIGKILL's business.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ipam.host_local
import plugins.ptp
from cni.kernel import firewall, leftovers
from tests import faults, lab, networks
from tests.pods import add, elements, leases, verb, veths

LOADED = (plugins.ptp, ipam.host_local, firewall, leftovers)  # the children need not load them
pytestmark = pytest.mark.usefixtures("host")
FILES = ("cni/routed.py", "cni/veth.py", "cni/pod.py", "cni/masquerade.py")
ALL_FILES = (*FILES, "cni/kernel/firewall.py")
CONF = networks.ptp("10.244.0.0/24", "fd00:10:244::/64", ipMasq=True)


@pytest.fixture
def imported(source_bin: Path) -> lab.Suite:
    """Return the programs as Python: lines are counted there."""
    return lab.Suite(source_bin, imported=True)


def stopped(
    suite: lab.Suite, count: int, action: Callable[[], None], files: tuple[str, ...] = ALL_FILES
) -> lab.Reply:
    """Run ADD up to the `count`-th line of `files`."""
    given = {"netns": lab.netns_path("pod"), "containerid": "pod"}
    return faults.call_stopped(
        suite, "ptp", json.dumps(CONF).encode(), count, files, action, **given
    )


def left() -> tuple[list[str], set[str], str, str]:
    """Return what an attachment leaves behind: host, leases, firewall, container."""
    inside = lab.run("ip -br link show type veth", netns="pod")
    return veths(), leases(), elements(), inside


def test_an_add_that_fails_at_any_line_leaves_nothing(imported: lab.Suite) -> None:
    lab.add_netns("pod")
    add(imported, CONF, "other")
    lines = 0

    for count in range(1, faults.LIMIT):
        before = left()
        reply = stopped(imported, count, faults.fail, FILES)
        if reply.exit == 0:
            lines = count
            break
        assert "injected" in reply.stdout, reply.stderr
        assert left() == before, f"after {count} lines"

    assert lines > 100
    verb(imported, "DEL", CONF).ok()


def test_an_add_that_is_killed_at_any_line_is_cleaned_by_del(imported: lab.Suite) -> None:
    lab.add_netns("pod")
    add(imported, CONF, "other")
    before = left()
    lines = 0

    for count in range(1, faults.LIMIT):
        if stopped(imported, count, faults.kill).exit == 0:
            lines = count
            break
        suite_del = {"netns": lab.netns_path("pod"), "containerid": "pod"}
        imported.call("ptp", "DEL", CONF, **suite_del).ok()
        assert left() == before, f"killed after {count} lines"

    assert lines > 100
    verb(imported, "DEL", CONF).ok()


def test_a_killed_add_is_cleaned_by_gc_after_the_container_is_gone(imported: lab.Suite) -> None:
    add(imported, CONF, "other")
    before = veths(), leases(), elements()

    for count in range(1, faults.LIMIT, 7):
        lab.add_netns("pod")
        if stopped(imported, count, faults.kill).exit == 0:
            break
        lab.run("ip netns del pod")
        imported.call("ptp", "GC", networks.gc(CONF, ("other", "eth0"))).ok()
        assert (veths(), leases(), elements()) == before, f"killed after {count} lines"
