"""The agent's loop: when passes come, what becomes of those that fail, what counts as a repair."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from cni.agent.duty import Duty
from cni.agent.news import News
from cni.agent.reconcile import Loop, Pace
from cni.cluster import Cluster, Node
from cni.errors import CniError
from tests import lab

NEVER = Pace(tick=60.0)
OFTEN = Pace(tick=0.1)
PROTOCOL = 111


@dataclass(frozen=True)
class Done:
    """The report of a pass."""

    wanted: int = 1
    repairs: Counter[str] = field(default_factory=Counter)
    alarms: tuple[str, ...] = ()


class Recorder:
    """A role that notes its passes: (full, number of peers)."""

    def __init__(self, act: Callable[[], Done] = Done) -> None:
        self.passes: list[tuple[bool, int]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.act = act

    def reconcile(self, cluster: Cluster, *, full: bool) -> Done:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.passes.append((full, len(cluster.peers)))
        try:
            return self.act()
        finally:
            self.at_once -= 1


def nodes(count: int) -> dict[str, Node]:
    """Return the own node and its peers, `count` in all."""
    return {
        f"node-{i}": Node(
            f"node-{i}", (ip_address(f"172.18.0.{i + 2}"),), (ip_network(f"10.244.{i}.0/24"),)
        )
        for i in range(count)
    }


@contextmanager
def looping(pace: Pace, *duties: Duty, news: News | None = None) -> Iterator[Loop]:
    """Run a loop of node-0 in a thread; it ends with the block."""
    loop = Loop("node-0", duties, news, bool, pace)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        # not just joined: as long as the kernel has it, our host cannot be left
        task = Path(f"/proc/self/task/{thread.native_id}")
        assert lab.wait_until(lambda: not task.exists(), 10)


def fail() -> Done:
    message = "it is broken"
    raise CniError(104, message)


def test_nothing_is_done_before_nodes_are_known() -> None:
    role = Recorder()
    with looping(OFTEN, Duty("x", role)) as loop:
        assert not lab.wait_until(lambda: bool(role.passes), 0.3)
        assert loop.waiting == "no nodes are known yet"


def test_the_first_pass_is_full_and_a_changed_node_starts_a_quick_one() -> None:
    role = Recorder()
    with looping(NEVER, Duty("x", role)) as loop:
        loop.changed(nodes(3))
        assert lab.wait_until(lambda: role.passes == [(True, 2)])

        loop.changed(nodes(4))
        assert lab.wait_until(lambda: role.passes == [(True, 2), (False, 3)])

        loop.changed(dict(nodes(4)))
        assert not lab.wait_until(lambda: len(role.passes) > 2, 0.2)


def test_full_passes_come_without_any_news_and_never_overlap() -> None:
    role = Recorder()
    with looping(OFTEN, Duty("x", role)) as loop:
        loop.changed(nodes(1))
        assert lab.wait_until(lambda: len(role.passes) >= 4)

    assert all(full for full, _ in role.passes)
    assert role.most_at_once == 1


def test_in_ten_seconds_there_is_a_full_pass_and_time_to_do_it() -> None:
    assert Pace().tick <= 9


def test_as_long_as_the_own_node_is_incomplete_its_reason_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    role = Recorder()
    others = {name: node for name, node in nodes(3).items() if name != "node-0"}
    with looping(NEVER, Duty("x", role)) as loop:
        loop.changed(others)
        assert lab.wait_until(lambda: "cannot find node node-0" in loop.waiting)
        loop.changed(dict(others))
        loop.changed(nodes(3))

        assert lab.wait_until(lambda: role.passes == [(True, 2)])
        assert loop.waiting == ""
    assert caplog.text.count("cannot find node node-0") == 1


def test_what_works_stays_when_the_own_node_goes() -> None:
    role = Recorder()
    with looping(OFTEN, Duty("x", role)) as loop:
        loop.changed(nodes(3))
        assert lab.wait_until(lambda: bool(role.passes))
        loop.changed({})

        assert lab.wait_until(lambda: bool(loop.waiting))
        seen = len(role.passes)
        assert lab.wait_until(lambda: len(role.passes) > seen)
    assert {peers for _, peers in role.passes} == {2}


def test_a_failure_is_told_once_and_counted_and_tried_again_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bad, good = Recorder(fail), Recorder()
    duties = Duty("bad", bad), Duty("good", good)
    with looping(Pace(tick=60.0, retry=0.02), *duties) as loop:
        loop.changed(nodes(2))
        assert lab.wait_until(lambda: duties[0].failures >= 3)
        assert (duties[0].good, duties[0].error) == (False, "it is broken")
        assert duties[1].good
        assert good.passes == [(True, 1)]

        bad.act = Done
        assert lab.wait_until(lambda: duties[0].good)
    assert all(full for full, _ in bad.passes)
    assert caplog.text.count("it is broken") == 1
    assert "in order again" in caplog.text


def test_pauses_after_failures_grow_up_to_the_tick() -> None:
    role = Recorder(fail)
    duty = Duty("x", role)
    with looping(Pace(tick=0.2, retry=0.01), duty) as loop:
        loop.changed(nodes(1))
        begin = time.monotonic()
        assert lab.wait_until(lambda: duty.failures >= 8)
        took = time.monotonic() - begin

    assert took >= 0.01 + 0.02 + 0.04 + 0.08 + 2 * 0.16


def test_a_defect_of_a_role_is_logged_once_with_its_trace_and_the_loop_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    role = Recorder(lambda: Done(1 // 0))
    duty = Duty("x", role)
    with looping(Pace(retry=0.01), duty) as loop:
        loop.changed(nodes(1))
        assert lab.wait_until(lambda: duty.failures >= 2)

    assert duty.error.startswith("ZeroDivisionError")
    assert caplog.text.count("Traceback") == 1


def test_what_a_changed_cluster_asks_for_is_no_repair(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    role = Recorder(lambda: Done(repairs=Counter(route=2)))
    duty = Duty("x", role)
    with looping(NEVER, duty) as loop:
        loop.changed(nodes(2))
        assert lab.wait_until(lambda: len(role.passes) == 1)
        loop.changed(nodes(3))
        assert lab.wait_until(lambda: len(role.passes) == 2)
    assert (duty.repairs, duty.last_repair) == ({}, None)
    assert "x: changed: 2 route" in caplog.text

    duty = Duty("x", role)
    with looping(OFTEN, duty) as loop:
        loop.changed(nodes(2))
        assert lab.wait_until(lambda: duty.passes >= 3)
    assert duty.repairs == {"route": 2 * (duty.passes - 1)}
    assert duty.last_repair is not None
    assert duty.last_repair.kinds == {"route": 2}
    assert "x: repaired: 2 route" in caplog.text


def test_an_alarm_is_told_when_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    role = Recorder(lambda: Done(alarms=("node-1 is odd",)))
    duty = Duty("x", role)
    with looping(OFTEN, duty) as loop:
        loop.changed(nodes(2))
        assert lab.wait_until(lambda: duty.passes >= 3)

    assert caplog.text.count("x: node-1 is odd") == 1
    assert duty.good


# news of the kernel


@pytest.fixture
def news(host: None) -> Iterator[News]:  # noqa: ARG001  # only for what it makes
    """Yield the news of a host with a VXLAN device and an interface."""
    lab.run("ip link add nic type bridge")
    lab.run("ip link add vx type vxlan id 1 dstport 8472 dev nic")
    lab.run("ip addr add 10.0.0.1/24 dev nic")
    lab.run("ip link set nic up")
    lab.run("ip link set vx up")
    with closing(News(("vx",), PROTOCOL)) as news:
        yield news


MAC = "0e:00:00:00:00:01"
ROUTE = f"route add 10.9.0.0/24 via 10.0.0.2 dev nic onlink proto {PROTOCOL}"


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ("", "ip link set vx down"),
        ("", f"ip link set vx address {MAC}"),
        ("", "ip link set vx mtu 1300"),
        ("", "ip link delete vx"),
        ("", "ip link set nic down"),
        ("", "ip link delete nic"),
        ("", "ip link add other type bridge"),
        (f"ip {ROUTE}", "ip route delete 10.9.0.0/24"),
        (f"ip {ROUTE}", "ip route flush proto 111"),
        (
            f"ip neigh add 10.9.0.0 lladdr {MAC} dev vx nud permanent",
            "ip neigh flush dev vx nud permanent",
        ),
        (f"bridge fdb add {MAC} dev vx dst 10.0.0.2 self", f"bridge fdb del {MAC} dev vx self"),
    ],
    ids=lambda text: text or "-",
)
def test_what_somebody_takes_away_is_heard_of(news: News, before: str, command: str) -> None:
    if before:
        lab.run(before)
    lab.wait_until(lambda: not news.read(), 1)

    lab.run(command)

    assert lab.wait_until(news.read, 2)


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ("", f"ip {ROUTE}"),
        ("", f"ip neigh add 10.9.0.0 lladdr {MAC} dev vx nud permanent"),
        ("", "ip link add veth0123456789a type veth peer name other"),
        ("ip route add 10.9.0.0/24 via 10.0.0.2 dev nic onlink", "ip route delete 10.9.0.0/24"),
        (f"ip neigh add 10.0.0.7 lladdr {MAC} dev nic", "ip neigh delete 10.0.0.7 dev nic"),
    ],
    ids=lambda text: text or "-",
)
def test_what_is_not_ours_or_new_is_passed_over(news: News, before: str, command: str) -> None:
    if before:
        lab.run(before)
    if "veth" in command:
        lab.run("ip netns add pod")
        command += " netns pod"
    lab.wait_until(lambda: not news.read(), 1)

    lab.run(command)

    assert not lab.wait_until(news.read, 0.2)


def test_news_start_a_full_pass_of_whom_they_concern(news: News) -> None:
    hears, deaf = Recorder(), Recorder()
    lab.run(f"ip {ROUTE}")
    with looping(NEVER, Duty("hears", hears, hears=True), Duty("deaf", deaf), news=news) as loop:
        loop.changed(nodes(2))
        assert lab.wait_until(lambda: bool(hears.passes))
        lab.run("ip route delete 10.9.0.0/24")

        assert lab.wait_until(lambda: len(hears.passes) >= 2)
    assert hears.passes[1] == (True, 1)
    assert len(deaf.passes) == 1


def test_a_flood_of_news_takes_a_tenth_of_the_time(news: News) -> None:
    passes: list[float] = []  # seconds

    def work() -> Done:
        begin = time.monotonic()
        time.sleep(0.02)
        passes.append(time.monotonic() - begin)
        return Done()

    duty = Duty("x", Recorder(work), hears=True)
    pace = Pace(tick=60.0, debounce=0.001)
    commands = "link set nic mtu 1400\nlink set nic mtu 1500\n" * 500
    begin = time.monotonic()
    with looping(pace, duty, news=news) as loop:
        loop.changed(nodes(2))
        for _ in range(100):
            lab.run("ip -batch -", stdin=commands)
            if len(passes) >= 5:
                break
        # the first one waits for nothing, and the last one's rest is to come
        worked = sum(passes[1:-1])
        took = time.monotonic() - begin
    assert len(passes) >= 5
    assert worked <= 0.1 * took
