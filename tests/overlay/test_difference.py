"""What an operator is shown: wanted and found, side by side."""

import pytest

from cni.kernel.netns import entered
from cni.overlay.difference import Row
from cni.overlay.plan import vtep_mac
from cni.overlay.settings import Settings
from tests import lab, snapshot
from tests.overlay import nodes

pytestmark = pytest.mark.usefixtures("host")


def rows(made: nodes.Nodes) -> list[Row]:
    with snapshot.unchanged(), entered(lab.netns_path("n1")):
        return made.overlays["n1"].difference(made.cluster("n1"))


@pytest.mark.parametrize("mode", ["vxlan", "auto", "direct"])
def test_what_is_whole_is_shown_with_nothing_that_differs(mode: str) -> None:
    made = nodes.make(Settings(mode=mode), underlay=(4, 6), pods=(4, 6))

    shown = rows(made)

    assert [row for row in shown if row.wanted != row.found] == []
    kinds = {(row.node, row.kind) for row in shown}
    assert ("n2", "route") in kinds
    assert (("n3", "fdb") in kinds) == (mode != "direct")
    assert (("", "device") in kinds) == (mode != "direct")


def test_what_is_missing_changed_or_too_much_is_shown() -> None:
    made = nodes.make()
    mac = vtep_mac("n2")
    for command in (
        "ip link set pycni-vxlan mtu 1400",
        "ip route del 10.244.2.0/24",
        f"bridge fdb replace {mac} dst 172.18.0.77 dev pycni-vxlan self permanent",
        "ip route add 10.250.0.0/24 via 172.18.0.1 proto 111",
    ):
        lab.run(command, netns="n1")

    differing = {(row.node, row.kind): row for row in rows(made) if row.wanted != row.found}

    assert set(differing) == {("", "device"), ("n2", "route"), ("n2", "fdb"), ("", "route")}
    assert " mtu 1400 " in differing["", "device"].found
    assert differing["n2", "route"].wanted == "10.244.2.0/24 via 10.244.2.0 dev pycni-vxlan"
    assert differing["n2", "route"].found == ""
    assert differing["n2", "fdb"].found == f"172.18.0.77 lladdr {mac} dev pycni-vxlan"
    assert differing["", "route"] == Row("", "route", "", "10.250.0.0/24 via 172.18.0.1 dev eth0")


def test_without_a_device_everything_is_missing() -> None:
    made = nodes.make()
    lab.run("ip link del pycni-vxlan", netns="n1")

    shown = rows(made)

    assert {row.found for row in shown} == {""}
    assert "pycni-vxlan" in next(row.wanted for row in shown if row.kind == "neighbour")
