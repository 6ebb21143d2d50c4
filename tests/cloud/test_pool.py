"""The pool of one node against its cloud."""

import threading
from dataclasses import replace

import pytest

from cni.attachment import Attachment
from cni.vpc import released
from ipam.aws_vpc.agent.intents import Freeing
from tests import lab
from tests.cloud.faults import Refusal
from tests.cloud.node import Node


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
    node.patient(120.0)
    answers: list[dict[str, object]] = []
    pods = [
        threading.Thread(target=lambda name=name: answers.append(node.add(name)))
        for name in map(str, range(110))
    ]

    with node.at_work():
        for pod in pods:
            pod.start()
        for pod in pods:
            pod.join()

    served = [str(one["address"]) for one in answers if "address" in one]
    assert len(answers) == 110
    assert len(served) == len(set(served)) == 27
    assert {one["code"] for one in answers if "address" not in one} == {100}
    node.settle()
    node.assert_whole()


def test_an_empty_pool_serves_an_add_that_waits(small: Node) -> None:
    small.patient(120.0)
    small.add_all(1)
    while len(small.pods) < sum(map(len, small.blocks.values())):
        small.add(f"more-{len(small.pods)}")

    with small.at_work():
        answer = small.add("pod-9")

    assert "address" in answer
    assert small.answers.waits.number <= 1
    small.settle()
    small.assert_whole()


def test_a_refused_add_tells_what_is_under_way(small: Node) -> None:
    small.patient(0.0)
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
    small.patient(120.0)
    small.add("pod-0")
    answers: list[dict[str, object]] = []
    waiting = threading.Thread(target=lambda: answers.append(small.add("pod-1")))

    waiting.start()
    assert lab.wait_until(lambda: small.ledger.waiting > 0)
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


def test_an_eni_that_is_tagged_away_serves_the_pods_that_it_has(small: Node) -> None:
    small.settle()
    small.add_all(4)
    small.settle()
    (secondary,) = (eni.name for eni in small.ledger.book.state.enis if not eni.primary)

    small.cloud.enis()[secondary].add_tags({"node.k8s.amazonaws.com/no_manage": "true"})
    small.pass_time(400)
    small.settle()

    assert secondary in {card.name for card in small.host.cards}
    assert small.cloud.holder(small.add("new")["address"]) != secondary
    small.delete("pod-3")
    small.pass_time(400)
    assert secondary not in {card.name for card in small.host.cards}


def test_the_host_does_without_an_eni_before_that_is_detached(small: Node) -> None:
    small.settle()
    small.add_all(4)
    small.settle()
    (secondary,) = (eni.name for eni in small.ledger.book.state.enis if not eni.primary)
    seen: dict[str, set[str]] = {}
    small.cloud.faults.before = lambda name: seen.update(
        {name: {card.name for card in small.host.cards}}
    )

    small.delete("pod-2")
    small.delete("pod-3")
    small.pass_time(1500)
    small.settle()

    assert seen["DetachNetworkInterface"]
    assert secondary not in seen["DetachNetworkInterface"]
    small.assert_whole()


def test_a_turn_with_many_slow_calls_does_not_look_like_one_that_hangs(node: Node) -> None:
    silences = []

    def be_slow(_: str) -> None:
        node.clock.sleep(14)
        silences.append(node.clock.monotonic() - node.keeper.beat)

    node.cloud.faults.before = be_slow
    node.settle()
    node.add_all(10)
    node.settle()

    assert len(silences) > 4
    assert max(silences) < 60  # STUCK of cni/agent/vpc/role.py is 120


def test_a_node_with_a_copy_of_anothers_disk_has_nothing_of_that_one(small: Node) -> None:
    small.settle()
    small.add_all(4)
    small.settle()
    before = small.cloud.blocks(small.instance)
    secondary = next(eni for eni in small.ledger.book.state.enis if not eni.primary)
    with small.ledger.lock:
        small.ledger.set_intent(Freeing(secondary.name), secondary.name)
    other = small.cloud.instance(small.cloud.subnet("10.0.2.0/24"), "t3.small")

    boot = replace(small.boot, name="another")
    copy = Node(small.cloud, other, small.url, small.path, small.variables, boot=boot)
    copy.settle()
    copy.add_all(1)
    copy.settle()

    assert copy.blocks == small.cloud.blocks(other)
    assert {card.name for card in copy.host.cards} == set(copy.blocks)
    assert small.cloud.blocks(small.instance) == before
    copy.restart()
    copy.settle()
    assert set(copy.pods) == {"pod-0"}


def test_a_requested_address_is_given_if_it_is_here(node: Node) -> None:
    node.settle()

    assert node.add("a", address="10.0.1.9")["address"] == "10.0.1.9"
    assert node.add("b", address="10.0.1.9")["code"] == 101
    assert node.add("c", address="10.0.7.7")["code"] == 2
    node.delete("a")
    assert node.add("d", address="10.0.1.9")["code"] == 11


def test_gc_releases_what_is_not_valid_of_its_network(node: Node) -> None:
    node.settle()
    node.add_all(3)
    node.add("other", network="second")

    answer = node.ask("GC", valid=[{"containerID": "pod-1", "ifname": "eth0"}])

    assert answer == {}
    assert set(node.pods) == {"pod-1", "other"}


def test_what_programs_left_is_done_before_the_next_request(node: Node) -> None:
    node.settle()
    node.add_all(2)
    released.add(Attachment("vpc", "pod-0", "eth0"))

    node.add("pod-2")

    assert set(node.pods) == {"pod-1", "pod-2"}
    assert list(released.pending()) == []


def test_what_a_program_leaves_while_the_agent_works_is_done_next(node: Node) -> None:
    node.settle()
    node.add_all(2)
    released.add_gc("vpc", [("pod-0", "eth0"), ("pod-1", "eth0")])

    (first,) = released.pending()
    released.add_gc("vpc", [("pod-0", "eth0")])
    first.done()
    node.answers.take_released()

    assert set(node.pods) == {"pod-0"}


@pytest.mark.parametrize("what", ["a GC", "its DEL"])
def test_what_programs_left_never_takes_from_a_later_add(node: Node, what: str) -> None:
    node.settle()
    if what == "a GC":
        released.add_gc("vpc", [])
    else:
        released.add(Attachment("vpc", "pod-0", "eth0"))
    keeper = threading.Thread(target=node.answers.take_released)

    with node.ledger.lock:
        keeper.start()
        keeper.join(0.3)  # it comes as far as it can
        answer = node.add("pod-0")
    keeper.join()

    assert node.pods == {"pod-0": answer["address"]}


def test_a_pod_has_an_ipv6_address_of_the_primarys_prefix(small: Node) -> None:
    (primary,) = small.cloud.enis().values()
    primary.ipv6_prefixes = [{"Ipv6Prefix": "2001:db8:0:1:2::/80"}]
    small.settle()

    small.add_all(4)
    answers = [small.ask("CHECK", containerID=f"pod-{n}", ifname="eth0") for n in range(4)]

    assert answers[0]["address"] == "10.0.1.5"
    assert answers[0]["ipv6"] == ["2001:db8:0:1:2:0:a00:105"]
    assert len({one["ipv6"][0] for one in answers}) == 4
