"""What is asked of EC2, for what there is."""

from dataclasses import replace

import pytest

from ipam.aws_vpc import pool
from ipam.aws_vpc.imagined import SUBNET, Ec2, settle
from ipam.aws_vpc.plan import QUIET, plan
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.shrink import ENI_AGE
from ipam.aws_vpc.state import (
    Action,
    Assign,
    CreateEni,
    FreeEni,
    Unassign,
    add_blocks,
    begin,
    hold,
)
from tests.ipam.aws_vpc.nodes import NOW, Has, limits, node, pod, shape, with_pods

W5 = Settings(warm_ip=5)
PD = Settings(prefixes=True)
LARGE = "m5.large"


def given_back(actions: tuple[Action, ...]) -> int:
    """Return how many blocks are given back."""
    return sum(len(action.blocks) for action in actions if isinstance(action, Unassign))


def asked(actions: tuple[Action, ...]) -> int:
    """Return how many blocks are asked for."""
    return sum(action.count for action in actions if isinstance(action, Assign | CreateEni))


# what the Amazon VPC CNI would have (its documents and tests), with nothing that cools down


@pytest.mark.parametrize(
    ("settings", "has", "short", "over"),
    [
        (W5, Has(0), 5, 0),
        (W5, Has(2), 3, 0),
        (W5, Has(5), 0, 0),
        (W5, Has(7), 0, 2),
        (replace(PD, warm_ip=5), Has(0), 1, 0),
        (replace(PD, warm_ip=5), Has(1), 0, 0),
        (replace(PD, warm_ip=5), Has(2), 0, 1),
        (PD, Has(0), 1, 0),
        (PD, Has(1), 0, 0),
        (PD, Has(3), 0, 2),
        (PD, Has(1, 1), 1, 0),
        (Settings(warm_ip=1), Has(3), 0, 2),
        (Settings(minimum_ip=4), Has(3, 3), 1, 0),
    ],
)
def test_targets_of_addresses_and_prefixes(
    settings: Settings, has: Has, short: int, over: int
) -> None:
    state = node(has, prefixes=settings.prefixes)

    actions = plan(state, settings, limits(settings, LARGE), NOW).actions

    assert (asked(actions), given_back(actions)) == (short, over)


@pytest.mark.parametrize(
    ("settings", "has", "low"),
    [
        (Settings(), (Has(0),), True),
        (Settings(warm_eni=0), (Has(0),), True),
        (Settings(warm_ip=1), (Has(0),), True),
        (Settings(minimum_ip=1), (Has(0),), True),
        (Settings(warm_ip=1), (Has(3),), False),
        (Settings(), (Has(3, 1),), True),
        (Settings(warm_eni=0), (Has(3, 1),), False),
        (Settings(warm_eni=0), (Has(3, 3),), True),
        (Settings(warm_eni=0, prefixes=True, warm_prefix=1), (Has(0),), True),
    ],
)
def test_the_pool_is_too_low(settings: Settings, has: tuple[Has, ...], *, low: bool) -> None:
    state = node(*has, prefixes=settings.prefixes)

    planned = plan(state, settings, limits(settings), NOW)

    assert bool(planned.short) is low
    assert planned.grows is low


@pytest.mark.parametrize(
    ("settings", "freed"),
    [
        (Settings(warm_ip=3, minimum_ip=1), []),
        (Settings(warm_ip=1, minimum_ip=5), []),
        (Settings(warm_ip=2, minimum_ip=4), ["eni-3"]),
    ],
)
def test_an_eni_is_freed_when_the_others_are_enough(settings: Settings, freed: list[str]) -> None:
    state = node(Has(2, 2), Has(2), Has(1))

    actions = plan(state, settings, limits(settings), NOW).actions

    assert [action.eni for action in actions if isinstance(action, FreeEni)] == freed


@pytest.mark.parametrize(("minimum", "freed"), [(3, []), (2, ["eni-2"])])
def test_and_the_next_when_still_too_many(minimum: int, freed: list[str]) -> None:
    settings = Settings(minimum_ip=minimum)

    actions = plan(node(Has(2, 2), Has(2)), settings, limits(settings), NOW).actions

    assert [action.eni for action in actions if isinstance(action, FreeEni)] == freed


@pytest.mark.parametrize(
    ("name", "settings", "pods", "wanted"),
    [
        ("t3.small", Settings(warm_eni=3, max_eni=2), 0, [3, 3]),
        ("t3.small", Settings(), 0, [3]),
        ("t3.small", Settings(), 5, [3, 3, 3]),
        ("t3.small", Settings(warm_ip=1, minimum_ip=1), 5, [3, 3]),
        ("t3.small", Settings(warm_ip=2, minimum_ip=5), 0, [3, 2]),
        ("m5.large", Settings(warm_ip=6, minimum_ip=10), 0, [9, 1]),
        ("t3.small", PD, 0, [1]),
        ("t3.small", PD, 5, [2]),
        ("t3.small", PD, 17, [3]),
        ("t3.small", PD, 58, [3, 2]),
        ("t3.small", replace(PD, warm_ip=7, minimum_ip=20), 0, [2]),
        ("p3dn.24xlarge", Settings(warm_ip=5, minimum_ip=10), 0, [10]),
        ("p3dn.24xlarge", Settings(warm_ip=5, minimum_ip=10), 7, [12]),
        ("p3dn.24xlarge", Settings(warm_ip=5, minimum_ip=10), 15, [20]),
        ("p3dn.24xlarge", Settings(warm_ip=5, minimum_ip=10), 45, [49, 1]),
    ],
)
def test_what_a_node_comes_to(name: str, settings: Settings, pods: int, wanted: list[int]) -> None:
    ec2 = Ec2()
    bounds = limits(settings, name)

    assert shape(with_pods(ec2, ec2.node(), pods, settings, bounds)) == wanted


# where this pool differs


def test_an_address_that_cools_down_is_not_spare() -> None:
    state = node(Has(5, 5))
    for number in range(3):
        state = pool.release(state, pod(number), W5, NOW)

    planned = plan(state, W5, limits(W5, LARGE), NOW)

    assert asked(planned.actions) == planned.short == 5
    assert "3 cool down and do not count as spare" in planned.why[0]


def test_pods_that_wait_are_counted_as_if_they_were_there() -> None:
    none_spare = Settings(minimum_ip=1)
    state = replace(node(Has(1, 1)), waiting=2)

    assert asked(plan(state, none_spare, limits(none_spare), NOW).actions) == 2


def test_growth_takes_one_step_over_all_enis() -> None:
    settings = Settings(warm_ip=8)
    state = node(Has(1, 1), Has(1, 1))

    actions = plan(state, settings, limits(settings), NOW).actions

    growth = [one for one in actions if isinstance(one, Assign | CreateEni)]
    assert [(type(one), one.count) for one in growth] == [(Assign, 2), (Assign, 2), (CreateEni, 3)]


def test_no_more_is_taken_than_the_nodes_pods_can_use() -> None:
    settings = Settings(warm_eni=3)
    bounds = limits(settings, LARGE, max_pods=12)

    state = settle(Ec2(), node(Has(0)), settings, bounds, NOW)

    assert shape(state) == [9, 3]
    assert "enough for the 12 pods" in plan(state, settings, bounds, NOW).why[0]


def test_nothing_is_given_back_soon_after_a_change() -> None:
    state = add_blocks(node(Has(0)), "eni-1", Ec2("10.9.0.0").blocks(8, prefixes=False), NOW)
    bounds = limits(W5, LARGE)

    soon, later = (plan(state, W5, bounds, NOW + after) for after in (QUIET - 1, QUIET))

    assert (soon.actions, soon.again) == ((), NOW + QUIET)
    assert given_back(later.actions) == 3


def test_a_young_eni_stays() -> None:
    settings = Settings(warm_ip=1)
    state = node(Has(3, 1), Has(3))
    young = replace(state.enis[1], since=NOW - ENI_AGE + 1)

    planned = plan(replace(state, enis=(state.enis[0], young)), settings, limits(settings), NOW)

    assert not [action for action in planned.actions if isinstance(action, FreeEni)]
    assert planned.again == NOW + 1


def test_an_eni_with_an_address_that_cools_down_stays() -> None:
    settings = Settings(warm_ip=1)
    state = pool.release(node(Has(3, 1), Has(3, 1)), pod(1), settings, NOW)

    actions = plan(state, settings, limits(settings), NOW).actions

    assert not [action for action in actions if isinstance(action, FreeEni)]
    address = state.cooling[0].address
    assert all(
        address not in block
        for action in actions
        if isinstance(action, Unassign)
        for block in action.blocks
    )


def test_what_is_being_given_back_is_not_counted_and_not_given_back_twice() -> None:
    settings = Settings(warm_ip=2, minimum_ip=4)
    state = node(Has(2, 2), Has(2), Has(1))
    (action,) = plan(state, settings, limits(settings), NOW).actions
    assert isinstance(action, FreeEni)

    assert not plan(begin(state, action), settings, limits(settings), NOW).actions


def test_enis_of_others_count_against_the_limit_and_are_left_alone() -> None:
    settings = Settings(warm_ip=4)
    state = node(Has(3, 3), Has(0), Has(0))
    others = [replace(eni, managed=False) for eni in state.enis[1:]]

    planned = plan(replace(state, enis=(state.enis[0], *others)), settings, limits(settings), NOW)

    assert not planned.actions
    assert "all slots of all ENIs are taken (t3.small can have 3 ENIs)" in planned.why


def test_when_fewer_enis_are_allowed_those_without_pods_go() -> None:
    settings = Settings(warm_ip=3, max_eni=1)
    state = node(Has(3, 3), Has(3, 1), Has(3))

    actions = plan(state, settings, limits(settings), NOW).actions

    assert [action.eni for action in actions if isinstance(action, FreeEni)] == ["eni-3"]


def test_prefixes_are_left_alone_on_xen() -> None:
    settings = replace(PD, warm_ip=2)

    planned = plan(node(Has(0)), settings, limits(settings, "t2.medium"), NOW)

    assert not any(action.prefixes for action in planned.actions if isinstance(action, Assign))
    assert "ENABLE_PREFIX_DELEGATION has no effect: t2.medium runs on Xen" in planned.why


def test_a_prefix_that_nobody_uses_stays_when_pods_are_scattered_over_the_others() -> None:
    state = node(Has(3, 32), prefixes=True)
    for number in range(0, 32, 2):
        state = pool.release(state, pod(number), replace(PD, cooldown=0), NOW)

    assert not plan(state, PD, limits(PD), NOW).actions


def test_single_addresses_go_when_prefixes_are_wanted() -> None:
    state = node(Has(3))
    ec2 = Ec2("10.9.0.0")
    settings = replace(PD, warm_ip=1)
    state = add_blocks(state, "eni-1", ec2.blocks(1, prefixes=True), NOW - QUIET)

    (action,) = plan(state, settings, limits(settings, LARGE), NOW).actions

    assert isinstance(action, Unassign)
    assert {block.prefixlen for block in action.blocks} == {32}


# subnets that run out


def test_a_subnet_without_addresses_is_left_alone_for_a_while() -> None:
    state = hold(node(Has(0)), SUBNET, NOW, prefixes=False)
    bounds = limits(W5)

    held, later = (plan(state, W5, bounds, NOW + after) for after in (119, 121))

    assert not held.actions
    assert held.held and held.again == NOW + 120
    assert f"{SUBNET} had no free address, and is left alone for now" in held.why
    assert asked(later.actions) == 5


def test_other_subnets_are_asked_meanwhile() -> None:
    state = hold(node(Has(0)), SUBNET, NOW, prefixes=False)
    some = tuple(
        replace(state.subnets[0], name=name, free=free)
        for name, free in ((SUBNET, 500), ("subnet-2", 20), ("subnet-3", 30))
    )

    actions = plan(replace(state, subnets=some), W5, limits(W5), NOW).actions

    assert [(type(one), one.count) for one in actions if isinstance(one, CreateEni)] == [
        (CreateEni, 3),
        (CreateEni, 2),
    ]
    assert {one.subnet for one in actions if isinstance(one, CreateEni)} == {"subnet-3"}


def test_no_more_is_asked_than_the_subnet_has() -> None:
    state = node(Has(0))
    some = (replace(state.subnets[0], free=2),)

    planned = plan(replace(state, subnets=some), W5, limits(W5), NOW)

    assert asked(planned.actions) == 2
    assert f"{SUBNET} has 2 free addresses" in planned.why


def test_without_a_free_prefix_pods_that_wait_get_single_addresses() -> None:
    state = replace(hold(node(Has(0)), SUBNET, NOW, prefixes=True), waiting=2)

    (action,) = plan(state, PD, limits(PD), NOW).actions

    assert isinstance(action, Assign)
    assert (action.count, action.prefixes) == (2, False)


def test_and_nobody_else_does() -> None:
    state = hold(node(Has(0)), SUBNET, NOW, prefixes=True)

    assert not plan(state, PD, limits(PD), NOW).actions
