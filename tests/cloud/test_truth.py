"""What the cloud has, shows and refuses, and what the pool makes of it."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ipam.aws_vpc.agent.intents import Returning
from tests import lab
from tests.cloud.cloud import NO_PREFIX, NO_PREFIX_VALUE
from tests.cloud.faults import Bucket, Cut, Refusal
from tests.cloud.node import Node, running

UNASSIGN = "UnassignPrivateIpAddresses"


def test_a_stale_metadata_service_frees_nothing(small: Node) -> None:
    small.settle()
    small.cloud.freeze(small.instance)
    small.add_all(4)
    before = small.pods

    small.pass_time(900)

    assert small.pods == before
    small.assert_whole()


def test_a_network_that_the_vpc_gets_is_learnt(small: Node) -> None:
    small.settle()
    small.cloud.freeze(small.instance)
    said = small.cloud.wishes.frozen or {}
    (path,) = (path for path in said if path.endswith("vpc-ipv4-cidr-blocks"))

    said[path] = "10.0.0.0/16\n100.64.0.0/16"
    small.pass_time(400)

    assert small.host.vpc_cidrs == ("10.0.0.0/16", "100.64.0.0/16")
    assert small.add("pod-0")["vpcCIDRs"] == ["10.0.0.0/16", "100.64.0.0/16"]
    for nothing in ("", "no network"):
        said[path] = nothing
        small.pass_time(400)
    assert small.host.vpc_cidrs == ("10.0.0.0/16", "100.64.0.0/16")


def test_an_eni_has_the_primarys_security_groups_though_ec2_does_not_show_them(
    small: Node,
) -> None:
    group = small.cloud.guard(next(iter(small.cloud.enis())))
    small.settle()
    small.add_all(3)
    small.settle()
    small.restart()

    with small.cloud.faults.always("DescribeNetworkInterfaces", Refusal("UnauthorizedOperation")):
        for number in range(60):
            small.add(f"pod-{3 + number % 4}")
            small.clock.sleep(small.keeper.turn())
    small.settle()

    enis = small.cloud.enis().values()
    assert len(enis) == 3
    assert all(group in {one.id for one in eni.group_set} for eni in enis)


def test_an_address_that_is_taken_away_is_given_to_nobody(small: Node) -> None:
    small.settle()
    small.add_all(1)
    small.settle()
    (primary,) = small.blocks
    spare = next(one for one in small.blocks[primary] if str(one[0]) not in small.pods.values())

    small.clock.sleep(60)
    small.cloud.take_away(primary, str(spare[0]))
    small.pass_time(400)
    small.settle()

    assert spare not in small.blocks[primary]
    assert small.add("other")["address"] != str(spare[0])
    small.settle()
    small.assert_whole()


def test_a_pods_address_that_is_taken_away_is_told(small: Node) -> None:
    small.settle()
    (address,) = small.add_all(1)
    (primary,) = small.blocks

    small.cloud.take_away(primary, address)
    small.pass_time(400)
    checked = small.ask("CHECK", containerID="pod-0", ifname="eth0")

    assert checked["code"] == 102
    assert address in checked["msg"]
    small.delete("pod-0")
    small.settle()
    small.assert_whole()
    assert not small.ledger.book.state.cooling  # it is not ours any more


def test_ec2_that_is_late_frees_nothing(small: Node) -> None:
    small.settle()
    small.add_all(1)
    shown = small.ec2.cards()
    before = small.blocks
    small.ec2.cards = lambda: tuple(replace(one, blocks=()) for one in shown)  # type: ignore[method-assign]

    small.clock.sleep(40)  # what has just been assigned is not doubted
    small.desk.look_now = True
    for _ in range(8):
        small.clock.sleep(small.keeper.turn() + 6)

    assert before[next(iter(before))] <= small.blocks[next(iter(before))]
    assert small.ledger.suspects
    assert "address" in small.ask("CHECK", containerID="pod-0", ifname="eth0")


def test_throttling_slows_the_node_down_and_ends(tmp_path: Path) -> None:
    random.seed(1)  # of the pauses
    with running(tmp_path, kind="t3.small") as node:
        node.cloud.faults.buckets["*"] = Bucket(3, 0.2)
        node.cloud.faults.clock = node.clock.monotonic

        node.settle()
        node.add_all(4)
        node.settle()

        faults = node.cloud.faults
        assert 0 < faults.throttled < 2 * (len(faults.calls) - faults.throttled)
        node.assert_whole()


def test_a_node_that_is_throttled_sleeps_although_an_address_is_cool_by_now(small: Node) -> None:
    small.settle()
    small.add_all(2)
    small.settle()
    small.delete("pod-0")
    small.keeper.turn()
    small.desk.look_now = True

    turns, end = 0, small.clock.monotonic() + 300
    with small.cloud.faults.always("*", Refusal("RequestLimitExceeded", status=503)):
        while small.clock.monotonic() < end:
            small.clock.sleep(small.keeper.turn())
            turns += 1

    assert turns < 200


def test_a_subnet_without_addresses_is_left_alone_and_another_is_used(tmp_path: Path) -> None:
    with running(tmp_path, kind="t3.small", cidr="10.0.1.0/28") as node:
        node.cloud.occupy("10.0.1.0/28", leave=4)
        node.settle()
        node.add_all(3)
        node.settle()
        assert node.keeper.planned
        assert any("free" in why for why in node.keeper.planned.why)

        node.cloud.subnet("10.0.2.0/24", **{"kubernetes.io__role__cni": "1"})
        node.pass_time(300)
        node.settle()

        subnets = {eni.subnet.cidr_block for eni in node.cloud.enis().values()}
        assert "10.0.2.0/24" in subnets


@pytest.mark.parametrize("form", ["its code", "InvalidParameterValue"])
def test_prefixes_fall_back_to_single_addresses_for_pods_that_wait(
    tmp_path: Path, form: str
) -> None:
    with running(tmp_path, cidr="10.0.1.0/26", ENABLE_PREFIX_DELEGATION="true") as node:
        node.cloud.no_prefix = NO_PREFIX if form == "its code" else NO_PREFIX_VALUE
        node.settle()
        (block,) = (block for blocks in node.blocks.values() for block in blocks)
        assert block.prefixlen == 28
        node.cloud.fragment("10.0.1.0/26")
        node.add_all(16)
        node.settle()

        node.patient(120.0)
        with node.at_work():
            answer = node.add("pod-16")

        assert "address" in answer
        kinds = {block.prefixlen for blocks in node.blocks.values() for block in blocks}
        assert kinds == {28, 32}


def test_a_type_of_unknown_limits_is_refused(small: Node) -> None:
    small.cloud.backend.get_instance(small.instance).instance_type = "x99.huge"

    small.keeper.turn()
    refused = small.add("pod-1")

    assert refused["code"] == 7
    assert "x99.huge" in refused["msg"]
    assert small.ask("STATUS")["code"] == 50
    assert len(small.cloud.enis()) == 1


def test_an_eni_of_somebody_else_counts_and_is_left_alone(small: Node) -> None:
    foreign = small.cloud.foreign_eni(small.instance, device=1)
    small.settle()
    small.add_all(6)
    small.settle()

    refused = small.add("pod-6")

    assert refused["code"] == 100
    assert small.cloud.enis()[foreign].device_index == 1
    assert len(small.blocks) == 3
    assert not small.blocks[foreign]


def test_an_eni_that_was_lost_is_swept(small: Node) -> None:
    small.settle()
    subnet = small.ledger.book.state.enis[0].subnet
    lost = small.cloud.lost_eni(subnet, small.instance, age=1000)
    young = small.cloud.lost_eni(subnet, small.instance, age=100)
    other = small.cloud.lost_eni(subnet, "i-another", age=1000)

    small.keeper.sweep_now()
    small.settle()

    left = set(small.cloud.enis())
    assert lost not in left
    assert {young, other} <= left


def test_an_eni_that_takes_its_time_is_waited_for(small: Node) -> None:
    small.cloud.delays.visible = 3.0
    small.cloud.delays.attach = 10.0
    small.settle()

    small.add_all(4)
    small.settle()

    small.assert_whole()
    small.cloud.delays.detach = 10.0
    for number in range(4):
        small.delete(f"pod-{number}")
    small.pass_time(1500)
    small.settle()
    small.assert_whole()
    assert len(small.blocks) == 1


def test_an_eni_that_the_host_cannot_use_gives_no_address(small: Node) -> None:
    small.settle()
    small.add_all(3)
    small.host.error = OSError("no such interface")

    for _ in range(30):
        small.clock.sleep(small.keeper.turn())
    refused = small.add("pod-3")

    assert refused["code"] == 11
    assert "pending" in refused["details"]
    small.host.error = None
    small.settle()
    assert "address" in small.add("pod-3")
    small.settle()
    small.assert_whole()


def test_after_a_restart_one_eni_that_the_host_cannot_use_stops_no_other(small: Node) -> None:
    small.settle()
    small.add_all(4)
    small.settle()
    before, second = small.pods, small.ledger.book.state.enis[1].name
    small.delete("pod-0")
    small.clock.sleep(31)
    small.host.broken = frozenset({second})

    small.restart()
    for _ in range(10):
        small.clock.sleep(small.keeper.turn())
    answer = small.add("new")

    assert answer["address"] == before["pod-0"]
    assert small.add("pod-3")["address"] == before["pod-3"]  # it has one already
    assert second in {one.name for one in small.ledger.book.state.enis}
    assert small.ledger.trouble
    assert second in small.ledger.trouble.text
    small.host.broken = frozenset()
    small.settle()
    small.add_all(5)
    small.settle()
    small.assert_whole()


def test_what_was_given_back_is_not_learnt_again_from_a_late_ec2(small: Node) -> None:
    small.settle()
    small.add_all(2)
    for number in range(2):
        small.delete(f"pod-{number}")
    shown = small.ec2.cards()
    small.clock.sleep(1000)
    while not any(isinstance(one, Returning) and one.at for one in small.intents):
        small.clock.sleep(small.keeper.turn())
    before = small.blocks

    small.ec2.cards = lambda: shown  # type: ignore[method-assign]
    small.desk.look_now = True
    small.keeper.turn()

    assert small.blocks == before


def test_what_ec2_took_without_saying_so_is_given_to_no_pod_that_waits(small: Node) -> None:
    """The answer was lost, and when asked again, EC2 says that the block is not there."""
    grow_and_empty(small)
    faults, answers, pods = small.cloud.faults, [], []

    def somebody_else_gets_them(call: str) -> None:
        if call == UNASSIGN:
            for one in returning(small):
                small.cloud.give_to_another(one.name, str(one.blocks[0][0]))
            faults.after = bool

    def all_others_are_taken(call: str) -> None:
        if call != UNASSIGN or faults.calls.count(UNASSIGN) < 2:
            return
        faults.before = bool
        names = (f"new-{number}" for number in range(20))
        assert any("address" not in small.add(name) for name in names)
        small.answers._wait = 20.0
        pods.append(threading.Thread(target=lambda: answers.append(small.add("late"))))
        pods[0].start()
        assert lab.wait_until(lambda: small.ledger.waiting > 0)

    faults.plan(UNASSIGN, Cut(done=True))
    faults.before, faults.after = all_others_are_taken, somebody_else_gets_them
    for _ in range(100):
        small.clock.sleep(small.keeper.turn())
        if answers:
            break
    pods[0].join()

    assert small.cloud.holder(answers[0]["address"]) in small.blocks
    small.pass_time(100)
    small.settle()
    small.assert_whole()


def grow_and_empty(small: Node) -> None:
    """Let the primary have an address to spare that is old enough to be given back."""
    small.settle()
    small.add_all(2)
    for number in range(2):
        small.delete(f"pod-{number}")
    small.clock.sleep(1000)


def returning(small: Node) -> list[Returning]:
    """Return what is being given back."""
    return [one for one in small.intents if isinstance(one, Returning)]


@pytest.mark.parametrize("same", [True, False], ids=["nothing has changed", "one is gone"])
def test_a_restart_while_ec2_is_down_serves_what_the_metadata_service_shows(
    node: Node,
    same: bool,  # noqa: FBT001
) -> None:
    node.settle()
    node.add_all(2)
    node.settle()
    if not same:
        node.cloud.take_away(node.desk.cards()[0].name, "10.0.1.9")

    node.restart()
    with node.cloud.faults.always("*", Refusal("Unavailable", status=503)):
        node.pass_time(30)
        answer = node.add("new")

    assert ("address" in answer) is same
    node.settle()
    node.assert_whole()
