"""A node on Azure: its addresses are there from the first minute, and no pod waits for a cloud."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.config import Section
from cni.errors import CniError
from ipam.aws_vpc.agent.answers import Answers
from ipam.aws_vpc.agent.desk import Desk
from ipam.aws_vpc.agent.keeper import Keeper
from ipam.aws_vpc.agent.ledger import Ledger
from ipam.aws_vpc.agent.patience import Patience
from ipam.aws_vpc.cloud import Card
from ipam.aws_vpc.cloud.azure import Azure
from ipam.aws_vpc.cloud.imds import Metadata
from ipam.aws_vpc.settings import Settings
from tests.cloud.cloud import Cloud, running
from tests.cloud.node import BOOT, Clock

Json = dict[str, Any]


def interface(addresses: int) -> Json:
    """Return an interface as Azure describes it; the first address is the node's own."""
    found = [
        {"privateIpAddress": f"10.240.0.{4 + n}", "publicIpAddress": ""} for n in range(addresses)
    ]
    subnet = [{"address": "10.240.0.0", "prefix": "16"}]
    return {"ipv4": {"ipAddress": found, "subnet": subnet}, "macAddress": "000D3AF806EC"}


class NoHost:
    """A node whose kernel needs nothing: all addresses are on its primary interface."""

    def ensure(self, cards: tuple[Card, ...], _: tuple[str, ...]) -> frozenset[str]:
        """Do nothing."""
        return frozenset(card.name for card in cards)


class Node:
    """An Azure node's pool."""

    def __init__(self, cloud: Cloud, place: Path) -> None:
        self.cloud, self.clock = cloud, Clock()
        cloud.azure = [interface(31)]
        self.ledger = Ledger(Settings(), str(place / "pool.json"), BOOT, self.clock.wall)
        self.azure = Azure(Metadata(cloud.listen()))
        patience = Patience(self.clock.monotonic)
        self.desk = Desk(self.azure, self.ledger, NoHost(), patience, self.clock.monotonic)
        self.answers = Answers(self.desk, 1500, 0.05)
        self.keeper = Keeper(self.desk)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.sleep(max(self.keeper.turn(), 0.01))

    def add(self, pod: str) -> Json:
        """Ask for an address."""
        names = {"network": "azure", "containerID": pod, "ifname": "eth0"}
        try:
            return self.answers.answer(Section({"verb": "ADD", **names}))
        except CniError as error:
            return {"code": int(error.code), "msg": error.msg, "details": error.details}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Have a node with 30 addresses for pods, whose agent has not begun."""
    with running() as cloud:
        yield Node(cloud, tmp_path)


def test_all_addresses_are_pods_and_no_more_come(node: Node) -> None:
    node.run(1)

    answers = [node.add(str(number)) for number in range(31)]

    assert len({one["address"] for one in answers[:30]}) == 30
    assert "10.240.0.4" not in {one["address"] for one in answers[:30]}
    assert answers[0]["table"] == 254
    assert answers[0]["eni"]["mac"] == "00:0d:3a:f8:06:ec"
    assert answers[0]["subnet"] == "10.240.0.0/16"
    assert answers[30]["code"] == 100
    assert node.cloud.faults.calls == []


def test_an_idle_node_gives_nothing_back(node: Node) -> None:
    node.run(3600)

    assert len(node.ledger.book.state.enis[0].blocks) == 30
    assert node.ledger.trouble is None


def test_addresses_that_come_later_are_taken(node: Node) -> None:
    node.run(1)
    node.cloud.azure = [interface(41)]

    node.run(60)

    assert len(node.ledger.book.state.enis[0].blocks) == 40


@pytest.mark.parametrize(
    "said",
    [None, [], [{}], {"interface": 1}, [interface(0)], [interface(1)], [{"ipv4": 3}]],
    ids=["nothing", "none", "empty", "an object", "no address", "only its own", "a number"],
)
def test_a_node_that_learns_no_address_says_so(node: Node, said: Any) -> None:
    node.cloud.azure = said

    node.run(10)

    refused = node.add("pod")
    assert refused["code"] == 11
    assert "cannot read" in refused["details"]
    node.cloud.azure = [interface(3)]
    node.run(120)
    assert "address" in node.add("pod")


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_a_metadata_service_that_refuses_takes_nothing_away(node: Node, status: int) -> None:
    node.run(1)
    node.add("pod")
    node.cloud.wishes.refuse["/metadata/"] = status

    node.run(600)

    assert len(node.ledger.book.state.enis[0].blocks) == 30
    assert "address" in node.add("another")
