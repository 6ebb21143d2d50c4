"""The pool of one node against its cloud."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ipam.aws_vpc.agent.intents import Returning
from tests.cloud.faults import Bucket, Refusal
from tests.cloud.node import Node, running


def test_a_warm_add_and_its_del_call_no_cloud(node: Node) -> None:
    node.settle()
    begin = len(node.cloud.faults.calls)

    answer = node.add("pod-1")
    node.delete("pod-1")

    assert node.cloud.faults.since(begin) == []
    assert answer["address"] == "10.0.1.5"
    assert answer["gateway"] == "10.0.1.1"
    assert answer["subnet"] == "10.0.1.0/24"
    assert answer["table"] == 254
    assert answer["vpcCIDRs"] == ["10.0.0.0/16"]


def test_a_secondary_eni_is_answered_with_its_table(small: Node) -> None:
    small.settle()
    small.add_all(4)

    answer = small.ask("CHECK", containerID="pod-3", ifname="eth0")

    device = answer["eni"]["device"]
    assert device == 1
    assert answer["table"] == 2
    eni = small.cloud.enis()[answer["eni"]["id"]]
    assert answer["eni"] == {
        "id": eni.id,
        "mac": eni.mac_address,
        "device": 1,
        "address": eni.private_ip_address,
    }
    small.assert_whole()


def test_a_full_node_says_so_and_why(node: Node) -> None:
    node.settle()

    addresses = node.add_all(27)
    refused = node.add("one-more")

    assert len(set(addresses)) == 27
    assert refused["code"] == 100
    assert "27 are pods'" in refused["msg"]
    assert "m5.large can have 3 ENIs" in refused["details"]
    node.settle()
    node.assert_whole()


def test_110_adds_at_once_get_no_address_twice(node: Node) -> None:
    node.wait = 20.0
    node.restart()
    node.settle()
    stop = threading.Event()
    keeper = threading.Thread(target=node.keeper.run, args=(stop,))
    answers: list[dict[str, object]] = []
    pods = [
        threading.Thread(target=lambda name=name: answers.append(node.add(name)))
        for name in map(str, range(110))
    ]

    keeper.start()
    for pod in pods:
        pod.start()
    for pod in pods:
        pod.join()
    stop.set()
    node.ledger.wake()
    keeper.join()

    served = [str(one["address"]) for one in answers if "address" in one]
    assert len(answers) == 110
    assert len(served) == len(set(served)) == 27
    assert {one["code"] for one in answers if "address" not in one} == {100}
    node.settle()
    node.assert_whole()


def test_an_empty_pool_serves_an_add_that_waits(small: Node) -> None:
    small.wait = 20.0
    small.restart()
    small.settle()
    small.add_all(1)
    while len(small.pods) < sum(map(len, small.blocks.values())):
        small.add(f"more-{len(small.pods)}")
    stop = threading.Event()
    keeper = threading.Thread(target=small.keeper.run, args=(stop,))

    keeper.start()
    answer = small.add("pod-9")
    stop.set()
    small.ledger.wake()
    keeper.join()

    assert "address" in answer
    assert small.answers.waits.number <= 1
    small.settle()
    small.assert_whole()


def test_a_refused_add_tells_what_is_under_way(small: Node) -> None:
    small.settle()
    small.wait = 0.0
    small.restart()
    small.settle()
    with small.cloud.faults.always("AssignPrivateIpAddresses", Refusal("UnauthorizedOperation")):
        small.add("pod-0")
        for _ in range(3):
            small.clock.sleep(small.keeper.turn())

        refused = small.add("pod-1")

    assert refused["code"] == 11
    assert "the node has 1, 1 are pods'" in refused["msg"]
    assert "UnauthorizedOperation" in refused["details"]
    assert "s ago" in refused["details"]


def test_an_add_that_waits_ends_with_the_del_of_its_pod(small: Node) -> None:
    small.wait = 20.0
    small.restart()
    small.settle()
    small.add("pod-0")
    answers: list[dict[str, object]] = []
    waiting = threading.Thread(target=lambda: answers.append(small.add("pod-1")))

    waiting.start()
    while not small.ledger.waiting:
        pass
    small.delete("pod-1")
    waiting.join()

    assert answers[0]["code"] == 11
    small.settle()
    assert set(small.pods) == {"pod-0"}


def test_an_address_cools_down_and_outlives_a_restart(small: Node) -> None:
    small.settle()
    (address,) = small.add_all(1)
    small.delete("pod-0")

    small.restart()
    small.settle()

    assert [str(one.address) for one in small.ledger.book.state.cooling] == [address]
    assert small.add("other")["address"] != address
    small.clock.sleep(31)
    small.settle()
    assert small.add("third")["address"] == address


@pytest.mark.parametrize("jump", [-86400.0, 86400.0], ids=["a day back", "a day on"])
def test_a_clock_that_jumps_stops_nothing(small: Node, jump: float) -> None:
    small.settle()
    small.add_all(2)
    small.delete("pod-0")

    small.clock.jumped += jump
    small.settle()
    small.clock.sleep(31)
    small.settle()

    assert not small.ledger.book.state.cooling
    assert "address" in small.add("pod-2")
    small.settle()
    small.assert_whole()


def test_a_restart_keeps_what_pods_have(node: Node) -> None:
    node.settle()
    before = dict(zip((f"pod-{n}" for n in range(12)), node.add_all(12), strict=True))

    node.restart()

    assert node.add("pod-3")["address"] == before["pod-3"]  # before any cloud has been asked
    assert node.add("new")["code"] == 11
    node.settle()
    assert node.pods == before
    assert node.add("new")["address"] not in before.values()


def test_after_a_reboot_the_addresses_of_its_pods_cool_down(small: Node) -> None:
    small.settle()
    small.add_all(2)

    small.boot = replace(small.boot, name="another")
    small.restart()
    small.settle()

    assert small.pods == {}
    assert len(small.ledger.book.state.cooling) == 2
    small.assert_whole()


def test_a_stale_metadata_service_frees_nothing(small: Node) -> None:
    small.settle()
    small.cloud.freeze(small.instance)
    small.add_all(4)
    before = small.pods

    small.pass_time(900)

    assert small.pods == before
    small.assert_whole()


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
    with running(tmp_path, kind="t3.small") as node:
        node.cloud.faults.buckets["*"] = Bucket(3, 0.2)
        node.cloud.faults.clock = node.clock.monotonic

        node.settle()
        node.add_all(4)
        node.settle()

        faults = node.cloud.faults
        assert 0 < faults.throttled < 2 * (len(faults.calls) - faults.throttled)
        node.assert_whole()


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
    from tests.cloud.cloud import NO_PREFIX, NO_PREFIX_VALUE

    with running(tmp_path, cidr="10.0.1.0/26", ENABLE_PREFIX_DELEGATION="true") as node:
        node.cloud.no_prefix = NO_PREFIX if form == "its code" else NO_PREFIX_VALUE
        node.settle()
        (block,) = (block for blocks in node.blocks.values() for block in blocks)
        assert block.prefixlen == 28
        node.cloud.fragment("10.0.1.0/26")
        node.add_all(16)
        node.settle()

        node.wait = 20.0
        node.restart()
        node.settle()
        stop = threading.Event()
        keeper = threading.Thread(target=node.keeper.run, args=(stop,))
        keeper.start()
        answer = node.add("pod-16")
        stop.set()
        node.ledger.wake()
        keeper.join()

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


def test_a_requested_address_is_given_if_it_is_here(node: Node) -> None:
    node.settle()

    assert node.add("a", address="10.0.1.9")["address"] == "10.0.1.9"
    assert node.add("b", address="10.0.1.9")["code"] == 101
    assert node.add("c", address="10.0.7.7")["code"] == 2
    node.delete("a")
    node.wait = 0.0
    node.answers._wait = 0.0
    assert node.add("d", address="10.0.1.9")["code"] == 11


def test_gc_releases_what_is_not_valid_of_its_network(node: Node) -> None:
    node.settle()
    node.add_all(3)
    node.add("other", network="second")

    answer = node.ask("GC", valid=[{"containerID": "pod-1", "ifname": "eth0"}])

    assert answer == {}
    assert set(node.pods) == {"pod-1", "other"}


def test_what_programs_left_is_done_before_the_next_request(node: Node) -> None:
    from cni.attachment import Attachment
    from cni.vpc import released

    node.settle()
    node.add_all(2)
    released.add(Attachment("vpc", "pod-0", "eth0"))

    node.add("pod-2")

    assert set(node.pods) == {"pod-1", "pod-2"}
    assert list(released.pending()) == []


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
