"""A pass that is killed at any line is made whole by the next one."""

import os

import pytest

from cni.kernel.netns import entered
from cni.overlay.apply import Overlay
from cni.overlay.settings import Settings
from tests import faults, lab
from tests.overlay import nodes

pytestmark = pytest.mark.usefixtures("host")
FILES = ("cni/overlay/apply.py", "cni/overlay/device.py", "cni/overlay/entries.py")
STEP = 5  # lines from one kill to the next


@pytest.mark.parametrize(
    ("before", "after"), [("", "vxlan"), ("direct", "auto"), ("auto", "direct")]
)
def test_a_pass_that_is_killed_is_made_whole_by_the_next(before: str, after: str) -> None:
    made = nodes.make(Settings(mode=after))
    cluster = made.cluster("n1")
    lines = 0

    for count in range(1, faults.LIMIT, STEP):
        with entered(lab.netns_path("n1")):
            Overlay(Settings()).delete()
            if before:
                Overlay(Settings(mode=before)).reconcile(cluster, full=True)
            child = os.fork()
            if child == 0:
                faults.stop_at(count, FILES, faults.kill)
                Overlay(Settings(mode=after)).reconcile(cluster, full=True)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            made.overlays["n1"].reconcile(cluster, full=True)
            rows = made.overlays["n1"].difference(cluster)
        assert [row for row in rows if row.wanted != row.found] == [], f"killed after {count} lines"
        if status == 0:
            lines = count
            break

    assert nodes.reachable("n1", "n2")
    assert lines > 50
