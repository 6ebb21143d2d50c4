"""Who gets which address."""

from dataclasses import replace

import pytest

from cni.errors import CniError, Code
from ipam.aws_vpc import pool
from ipam.aws_vpc.imagined import SUBNET, Ec2
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import FreeEni, Unassign, add_blocks, begin, hold, remove_blocks, remove_eni
from tests.ipam.aws_vpc.nodes import NOW, Has, limits, node, pod

SETTINGS = Settings(warm_ip=1)
LIMITS = limits(SETTINGS)
PD = Settings(prefixes=True)


def test_the_primary_is_filled_first_then_the_fullest() -> None:
    state = node(Has(3, 2), Has(3), Has(3, 1))
    given = []
    for number in range(10, 14):
        state, choice = pool.assign(state, pod(number), SETTINGS, LIMITS, NOW)
        given.append((choice.eni, choice.why))

    assert [eni for eni, _ in given] == ["eni-1", "eni-3", "eni-3", "eni-2"]
    assert given[0][1] == "eni-1 is the primary: 2 of 3 addresses are pods'"
    assert given[1][1] == "eni-3 is the fullest with room: 1 of 3 addresses are pods'"


def test_the_fullest_prefix_is_filled_first() -> None:
    state = node(Has(3, 17), prefixes=True)
    for number in range(15):
        state = pool.release(state, pod(number), replace(PD, cooldown=0), NOW)

    choice = pool.next_address(state, limits(PD), NOW)

    assert choice is not None
    assert choice.address in state.enis[0].blocks[0]
    assert len({one.address for one in state.assignments}) == 2


def test_all_sixteen_addresses_of_a_prefix_are_given_out() -> None:
    state = node(Has(1), prefixes=True)
    for number in range(16):
        state, _ = pool.assign(state, pod(number), PD, limits(PD), NOW)

    assert {one.address for one in state.assignments} == set(state.enis[0].blocks[0])


def test_an_enis_own_address_is_never_given_out() -> None:
    state = node(Has(3), Has(3))
    for number in range(6):
        state, _ = pool.assign(state, pod(number), SETTINGS, LIMITS, NOW)

    taken = {one.address for one in state.assignments}
    assert not taken & {eni.address for eni in state.enis}


def test_a_repeated_add_gets_the_same_address() -> None:
    state, first = pool.assign(node(Has(3)), pod(1), SETTINGS, LIMITS, NOW)

    again, second = pool.assign(state, pod(1), SETTINGS, LIMITS, NOW)

    assert again == state
    assert (second.address, second.eni) == (first.address, first.eni)


def test_another_interface_of_the_same_container_gets_its_own() -> None:
    state, first = pool.assign(node(Has(3)), pod(1), SETTINGS, LIMITS, NOW)

    _, second = pool.assign(state, replace(pod(1), ifname="net1"), SETTINGS, LIMITS, NOW)

    assert second.address != first.address


def test_a_freed_address_cools_down_before_it_is_given_out() -> None:
    state = pool.release(node(Has(1, 1)), pod(0), SETTINGS, NOW)

    for after, there in ((0.0, False), (29.9, False), (30.0, True)):
        choice = pool.next_address(state, LIMITS, NOW + after)
        assert (choice is not None) is there


def test_without_cooldown_it_is_free_at_once() -> None:
    state = pool.release(node(Has(1, 1)), pod(0), Settings(cooldown=0), NOW)

    assert pool.next_address(state, LIMITS, NOW) is not None


def test_release_of_an_unknown_pod_changes_nothing() -> None:
    state = node(Has(1, 1))

    assert pool.release(state, pod(99), SETTINGS, NOW) == state


def test_an_address_that_ec2_took_away_does_not_cool_down() -> None:
    state = node(Has(1, 1))
    state = remove_blocks(state, "eni-1", state.enis[0].blocks, NOW)

    assert pool.release(state, pod(0), SETTINGS, NOW).cooling == ()


def test_cooldowns_go_with_their_eni() -> None:
    state = pool.release(node(Has(0), Has(1, 1)), pod(0), SETTINGS, NOW)

    assert remove_eni(state, "eni-2", NOW).cooling == ()


def test_what_is_being_given_back_is_not_given_out() -> None:
    state = node(Has(1), Has(1))
    state = begin(state, Unassign("eni-1", state.enis[0].blocks, ""))
    state = begin(state, FreeEni("eni-2", ""))

    assert pool.next_address(state, LIMITS, NOW) is None
    assert pool.next_address(replace(state, releasing=()), LIMITS, NOW) is not None


def test_what_came_back_can_be_given_out_again() -> None:
    state = node(Has(1))
    action = Unassign("eni-1", state.enis[0].blocks, "")
    state = remove_blocks(begin(state, action), "eni-1", action.blocks, NOW)

    assert (state.releasing, state.enis[0].blocks) == ((), ())
    state = add_blocks(state, "eni-1", action.blocks, NOW)
    assert pool.next_address(state, LIMITS, NOW) is not None


# the clock


def test_what_is_over_is_forgotten() -> None:
    state = hold(pool.release(node(Has(1, 1)), pod(0), SETTINGS, NOW), SUBNET, NOW, prefixes=False)

    assert pool.tidy(state, SETTINGS, NOW) == state
    assert pool.tidy(state, SETTINGS, NOW + 30).cooling == ()
    assert pool.tidy(state, SETTINGS, NOW + 120).holds == ()


def test_a_clock_that_was_put_back_prolongs_nothing() -> None:
    state = hold(pool.release(node(Has(1, 1)), pod(0), SETTINGS, NOW), SUBNET, NOW, prefixes=False)
    state = add_blocks(state, "eni-1", Ec2("10.9.0.0").blocks(1, prefixes=False), NOW)
    earlier = NOW - 86400 * 365

    tidied = pool.tidy(state, SETTINGS, earlier)

    assert tidied.cooling[0].until == earlier + 30
    assert tidied.holds[0].until == earlier + 120
    assert max(eni.since for eni in tidied.enis) <= earlier >= tidied.changed


# refusals


@pytest.mark.parametrize(
    ("has", "said", "code"),
    [
        ((Has(0),), "0, 0 are pods'; more are asked for", Code.TRY_AGAIN),
        (
            (Has(3, 3), Has(3, 3), Has(3, 3)),
            "9, 9 are pods'; all slots of all ENIs are taken (t3.small can have 3 ENIs)",
            Code.EXHAUSTED,
        ),
    ],
)
def test_a_refusal_has_the_reason_and_numbers(has: tuple[Has, ...], said: str, code: int) -> None:
    with pytest.raises(CniError) as refused:
        pool.assign(node(*has), pod(99), SETTINGS, LIMITS, NOW)

    assert str(refused.value) == f"cannot give the pod an address of the VPC: the node has {said}"
    assert refused.value.code == code


def test_a_refusal_says_how_long_addresses_cool_down() -> None:
    state = node(Has(3, 3), Has(3, 3), Has(3, 3))
    for number in (0, 1):
        state = pool.release(state, pod(number), SETTINGS, NOW + 5 * number)

    refused = pool.refusal(state, SETTINGS, LIMITS, NOW + 10)

    assert "9, 7 are pods', 2 cool down (the first for 20 s more)" in refused.msg
    assert refused.code == Code.TRY_AGAIN


def test_a_refusal_names_the_subnet_that_is_empty() -> None:
    refused = pool.refusal(hold(node(Has(0)), SUBNET, NOW, prefixes=False), SETTINGS, LIMITS, NOW)

    assert refused.code == Code.TRY_AGAIN
    assert f"{SUBNET} had no free address" in refused.details


def test_a_node_that_runs_all_its_pods_says_so() -> None:
    refused = pool.refusal(node(Has(3, 3)), SETTINGS, limits(SETTINGS, max_pods=3), NOW)

    assert refused.code == Code.EXHAUSTED
    assert "enough for the 3 pods that the node may run" in refused.details
