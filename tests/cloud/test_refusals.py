"""Every refusal of EC2, at every call: the pool comes to where it was going, and nothing leaks."""

import pytest

from tests.cloud.faults import Cut, Refusal
from tests.cloud.node import Node

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


def grow(small: Node) -> None:
    """Let a second ENI come, and a few more addresses on the first."""
    small.settle()
    small.add_all(4)
    small.settle()


def shrink(small: Node) -> None:
    """Let the second ENI go, and spare addresses of the first."""
    for number in range(4):
        small.delete(f"pod-{number}")
    small.pass_time(1500)
    small.settle()


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("call", GROWING)
def test_a_refusal_while_the_pool_grows(small: Node, call: str, refusal: str) -> None:
    small.cloud.faults.plan(call, *[REFUSALS[refusal]] * TRIES)

    grow(small)
    small.pass_time(700)  # what is left of an ENI without a home is old enough to be swept
    small.keeper.sweep_now()
    small.settle()

    small.assert_whole()
    assert len(small.pods) == 4
    assert call in small.cloud.faults.calls


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("call", SHRINKING)
def test_a_refusal_while_the_pool_shrinks(small: Node, call: str, refusal: str) -> None:
    grow(small)
    small.cloud.faults.plan(call, *[REFUSALS[refusal]] * TRIES)

    shrink(small)

    small.assert_whole()
    assert len(small.blocks) == 1
    assert call in small.cloud.faults.calls
