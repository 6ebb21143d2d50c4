"""The simulated day is the same for both sides, and adds up."""

from collections.abc import Generator

import pytest

from bench.day import BUCKET, REFILL, Clock, Ec2, trace
from bench.original import Original
from bench.pool import SETTINGS, Day, compare
from bench.vpcnode import Ours
from ipam.aws_vpc.settings import Settings

NODES, HOURS, ROOM = 20, 2.0, 27


def day(settings: Settings, *, ours: bool) -> Day:
    return Day(settings, ours=ours, nodes=NODES, hours=HOURS)


def test_the_trace_starts_each_pod_once_and_keeps_to_the_room() -> None:
    boots, events = trace(NODES, ROOM, 1, 24.0)

    running: set[tuple[int, int]] = set()
    for event in events:
        key = event.node, event.pod
        assert event.time >= boots[event.node]
        assert (key in running) is not event.starts
        running ^= {key}
        assert sum(node == event.node for node, _ in running) <= ROOM
    assert not running


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_both_sides_serve_the_same_pods_and_lose_none(settings: Settings) -> None:
    sides = [day(settings, ours=ours) for ours in (True, False)]
    ours, theirs = (side.run() for side in sides)

    assert ours.starts == theirs.starts > NODES * 6
    for side in sides:
        alive = dict.fromkeys(range(NODES), 0)
        for node, _ in side.alive:
            alive[node] += 1
        assert {number: node.taken()[1] for number, node in side.nodes.items()} == alive
    for one in (ours, theirs):
        assert len(one.waits) + one.never == one.starts
        assert one.idle > 0


def test_the_same_day_twice_comes_to_the_same() -> None:
    settings = SETTINGS["2 IPs spare, of 12"]
    for ours in (True, False):
        first, second = (day(settings, ours=ours).run() for _ in range(2))
        assert first == second


def test_no_node_has_more_than_its_type_allows() -> None:
    for settings in SETTINGS.values():
        for ours in (True, False):
            one = day(settings, ours=ours)
            one.run()
            most = 3 + 3 * 9 * (16 if settings.prefixes else 1)
            assert all(node.taken()[0] <= most for node in one.nodes.values())
            assert all(isinstance(node, Ours if ours else Original) for node in one.nodes.values())


def test_ec2_throttles_each_action_by_a_bucket_of_its_own() -> None:
    clock = Clock()
    ec2 = Ec2(clock, 1)
    done: list[str] = []

    def call(action: str) -> Generator[float, None, None]:
        if (yield from ec2.call(action)):
            done.append(action)

    for _ in range(150):
        clock.start(call("AttachNetworkInterface"))
    clock.start(call("DescribeInstances"))
    clock.run(0.4)

    assert (done.count("AttachNetworkInterface"), done.count("DescribeInstances")) == (BUCKET, 1)
    assert ec2.throttled == 50
    clock.run(60.0)
    assert done.count("AttachNetworkInterface") == 150
    assert ec2.calls["AttachNetworkInterface"] == 150 + ec2.throttled
    assert REFILL > 0


def test_what_is_printed_has_both_sides() -> None:
    tallies = [day(Settings(), ours=ours).run() for ours in (True, False)]

    rows = compare("x", *tallies)

    assert all(row.reference is not None for row in rows)
    assert rows[0].ours.median == 1000 * tallies[0].calls.total() / tallies[0].starts
