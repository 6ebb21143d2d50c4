"""Every refusal of EC2, at every call: the pool comes to where it was going, and nothing leaks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.faults import Cut, Refusal
from tests.cloud.node import Node, running

GROWING = (
    "DescribeInstanceTypes",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
    "AssignPrivateIpAddresses",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
)
SHRINKING = (
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
    "UnassignPrivateIpAddresses",
)
REFUSALS = {
    "PrivateIpAddressLimitExceeded": Refusal("PrivateIpAddressLimitExceeded"),
    "InsufficientFreeAddressesInSubnet": Refusal("InsufficientFreeAddressesInSubnet"),
    "InsufficientCidrBlocks": Refusal("InsufficientCidrBlocks"),
    "InvalidParameterValue: no room": Refusal(
        "InvalidParameterValue", "There are not sufficient free addresses or prefixes"
    ),
    "InvalidParameterValue: in use": Refusal("InvalidParameterValue", "is currently in use"),
    "AttachmentLimitExceeded": Refusal("AttachmentLimitExceeded"),
    "InvalidNetworkInterfaceID.NotFound": Refusal("InvalidNetworkInterfaceID.NotFound"),
    "InvalidAttachmentID.NotFound": Refusal("InvalidAttachmentID.NotFound"),
    "RequestLimitExceeded": Refusal("RequestLimitExceeded", status=503),
    "UnauthorizedOperation": Refusal("UnauthorizedOperation", status=403),
    "InternalError": Refusal("InternalError", status=500),
    "no answer": Cut(done=False),
    "done, and no answer": Cut(done=True),
    "done, and an error": Refusal("InternalError", status=500, done=True),
    "an unknown code": Refusal("SomethingNew"),
}
TRIES = 2  # the call is refused so often


def grow(node: Node) -> None:
    """Let a second ENI come, and a few more addresses on the first."""
    node.settle()
    node.add_all(4)
    node.settle()


def shrink(node: Node) -> None:
    """Let the second ENI go, and spare addresses of the first."""
    for number in range(4):
        node.delete(f"pod-{number}")
    node.pass_time(1500)
    node.settle()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Have a node whose ENIs are small."""
    with running(tmp_path, kind="t3.small", WARM_IP_TARGET="1") as node:
        yield node


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("call", GROWING)
def test_a_refusal_while_the_pool_grows(node: Node, call: str, refusal: str) -> None:
    node.cloud.faults.plan(call, *[REFUSALS[refusal]] * TRIES)

    grow(node)
    node.pass_time(700)  # what is left of an ENI without a home is old enough to be swept
    node.keeper.sweep_now()
    node.settle()

    node.assert_whole()
    assert len(node.pods) == 4


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("call", SHRINKING)
def test_a_refusal_while_the_pool_shrinks(node: Node, call: str, refusal: str) -> None:
    grow(node)
    node.cloud.faults.plan(call, *[REFUSALS[refusal]] * TRIES)

    shrink(node)

    node.assert_whole()
    assert len(node.blocks) == 1
    assert call in node.cloud.faults.calls
