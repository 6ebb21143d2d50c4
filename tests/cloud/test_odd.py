"""What EC2 says of ENIs and subnets that no test cloud has, and answers that lack something."""

import pytest

from ipam.aws_vpc.state import Eni
from tests.cloud.node import Json, Node

ENI = {
    "NetworkInterfaceId": "eni-other",
    "MacAddress": "02:00:00:00:00:99",
    "SubnetId": "subnet-other",
    "PrivateIpAddresses": [],
    "TagSet": [],
}


def attached(device: int, card: int = 0) -> Json:
    """Return what EC2 says of where an ENI is."""
    where = {"DeviceIndex": device, "NetworkCardIndex": card, "AttachmentId": "eni-attach-other"}
    return {"Attachment": {**where, "Status": "attached"}}


def find(small: Node, name: str) -> list[Eni]:
    """Return an ENI of the pool, if it is there."""
    return [eni for eni in small.ledger.book.state.enis if eni.name == name]


def fill(small: Node) -> Json:
    """Let pods start until one is refused."""
    small.settle()
    small.add_all(6)
    small.settle()
    return small.add("pod-6")


def test_an_eni_without_ipv4_only_counts_against_the_limit(small: Node) -> None:
    small.edit("DescribeNetworkInterfaces", lambda said: add(said, ENI | attached(1)))

    refused = fill(small)

    assert refused["code"] == 100
    assert [eni.managed for eni in find(small, "eni-other")] == [False]
    assert [eni.primary for eni in small.ledger.book.state.enis].count(True) == 1
    small.restart()
    small.settle()
    assert len(small.pods) == 6


@pytest.mark.parametrize("device", [0, 1])
def test_an_eni_of_another_network_card_is_none_of_the_pool(small: Node, device: int) -> None:
    other = {**ENI, "PrivateIpAddress": "10.0.9.9", **attached(device, card=1)}
    small.edit("DescribeNetworkInterfaces", lambda said: add(said, other))

    small.settle()
    small.add_all(9)
    small.settle()

    assert not find(small, "eni-other")
    small.assert_whole()


def test_a_subnet_for_ipv6_alone_is_left_alone(small: Node) -> None:
    subnet = {
        "SubnetId": "subnet-other",
        "AvailableIpAddressCount": 0,
        "Tags": [{"Key": "kubernetes.io/role/cni", "Value": "1"}],
    }
    small.settle()
    small.edit("DescribeSubnets", lambda said: said["Subnets"].append(subnet))

    small.add_all(4)
    small.settle()

    assert small.ledger.book.state.subnets
    assert "subnet-other" not in {one.name for one in small.ledger.book.state.subnets}
    small.assert_whole()


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ("DescribeNetworkInterfaces", "NetworkInterfaces"),
        ("DescribeSubnets", "Subnets"),
        ("CreateNetworkInterface", "NetworkInterface"),
        ("AttachNetworkInterface", "AttachmentId"),
    ],
)
def test_an_answer_that_lacks_something_is_told_and_asked_for_again(
    small: Node, call: str, key: str
) -> None:
    lacking = [True]
    troubles = set()
    small.edit(call, lambda said: said.pop(key) if lacking else None)

    begin = len(small.cloud.faults.calls)
    for _ in range(30):
        small.add("pod-0")
        small.add("pod-1")
        small.add("pod-2")
        small.add("pod-3")
        small.clock.sleep(small.keeper.turn())
        troubles.add(small.ledger.trouble.text if small.ledger.trouble else "")
    asked = small.cloud.faults.since(begin).count(call)
    lacking.clear()
    small.settle()
    small.add_all(4)
    small.settle()

    assert f"cannot use the answer: KeyError: '{key}'" in troubles
    assert 1 < asked < 30
    small.assert_whole()


def add(said: Json, eni: Json) -> None:
    """Let EC2 show one more ENI where it shows all."""
    said["NetworkInterfaces"].append(dict(eni))
