"""Whether a node can serve pods: said by the state file, the conflist and STATUS alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni.agent import settings, state
from cni.agent.duty import Duty
from cni.agent.readiness import Readiness
from cni.agent.reconcile import Loop
from cni.config import Section
from tests import lab, networks
from tests.agent.test_reconcile import Done, Recorder, fail, nodes

pytestmark = pytest.mark.usefixtures("host")
STATE = Path(state.PATH)
CONFLIST = Path("/run/net.d/10-x.conflist")
TEMPLATE = {"cniVersion": "1.1.0", "name": "kindnet", "plugins": [{"type": "ptp"}]}


class Node:
    """A node whose loop the test turns by hand."""

    def __init__(self, **said: Any) -> None:
        template = Path("/run/template")
        template.write_text(json.dumps(TEMPLATE))
        self.role = Recorder()
        self.duty = Duty("x", self.role)
        self.loop = Loop("node-0", [self.duty], None, bool)
        conflist = {"template": str(template), "file": str(CONFLIST)}
        values = {"roles": ["masq"], "nodeName": "node-0", "conflist": conflist, **said}
        self.readiness = Readiness(settings.read(Section(values)), self.loop)

    def turn(self) -> Readiness:
        """Let the loop do what is due."""
        self.loop._look_at_nodes()
        if self.loop.cluster:
            self.duty.run(self.loop.cluster, full=True)
        self.readiness.update()
        return self.readiness


def said() -> Any:
    return json.loads(STATE.read_text())


def test_first_nodes_then_roles_then_the_conflist() -> None:
    node = Node()
    assert node.turn().reasons == ("no nodes are known yet",)
    assert not CONFLIST.exists()

    node.role.act = fail
    node.loop.changed(nodes(2))
    assert node.turn().reasons == ("x: it is broken",)
    assert not CONFLIST.exists()
    assert (said()["ready"], said()["reasons"]) == (False, ["x: it is broken"])

    node.role.act = Done
    assert node.turn().ready
    assert json.loads(CONFLIST.read_text())["name"] == "kindnet"
    assert (said()["ready"], said()["network"]) == (True, "kindnet")


def test_the_conflist_stays_when_something_breaks_and_comes_back_when_it_is_deleted() -> None:
    node = Node()
    node.loop.changed(nodes(2))
    assert node.turn().ready

    node.role.act = fail
    assert not node.turn().ready
    assert CONFLIST.exists()

    node.role.act = Done
    CONFLIST.unlink()
    assert node.turn().ready
    assert CONFLIST.exists()


def test_with_the_role_vpc_the_conflist_is_that_roles_to_write() -> None:
    node = Node(roles=["vpc", "masq"])
    CONFLIST.parent.mkdir()
    CONFLIST.write_text("by the role vpc")
    node.loop.changed(nodes(2))

    assert node.turn().ready

    assert CONFLIST.read_text() == "by the role vpc"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("{", "cannot decode the template"),
        ('{"name": "x"}', "no plugins"),
        ("\xff", "cannot"),
    ],
)
def test_a_template_that_is_no_good_is_named(text: str | None, reason: str) -> None:
    node = Node()
    template = Path("/run/template")
    template.unlink()
    if text is not None:
        template.write_bytes(text.encode("latin-1"))
    node.loop.changed(nodes(2))

    (told,) = node.turn().reasons

    assert "/run/template" in told
    assert reason in told
    assert not CONFLIST.exists()


def test_a_place_that_cannot_be_written_is_named() -> None:
    CONFLIST.parent.write_text("a file where the directory ought to be")
    node = Node()
    node.loop.changed(nodes(2))

    (told,) = node.turn().reasons

    assert str(CONFLIST) in told


def test_the_state_is_written_only_when_it_is_another() -> None:
    node = Node()
    node.loop.changed(nodes(2))
    node.turn()
    inode = STATE.stat().st_ino

    node.turn()

    assert STATE.stat().st_ino == inode
    assert STATE.stat().st_mode & 0o777 == 0o600


def test_others_learn_what_the_agent_was_told() -> None:
    node = Node(overlay={"vni": 7})
    node.turn()

    found = state.read()

    assert found is not None
    assert settings.read(found.section("settings")).overlay.vni == 7


# STATUS


def status(suite: lab.Suite, network: str) -> lab.Reply:
    return suite.call("ptp", "STATUS", networks.ptp() | {"name": network})


def test_status_says_what_the_agent_says_of_its_network(source_bin: Path) -> None:
    suite = lab.Suite(source_bin, imported=True)
    node = Node()
    status(suite, "kindnet").ok()
    node.loop.changed(nodes(2))
    node.turn()
    status(suite, "kindnet").ok()
    node.role.act = fail
    node.turn()

    reply = status(suite, "kindnet").failed(50)

    assert "kindnet" in reply.json["msg"]
    assert "x: it is broken" in reply.json["details"]
    status(suite, "another").ok()


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_state_that_cannot_be_read_stops_nobody(source_bin: Path, text: str) -> None:
    STATE.parent.mkdir()
    STATE.write_text(text)

    status(lab.Suite(source_bin, imported=True), "kindnet").ok()
