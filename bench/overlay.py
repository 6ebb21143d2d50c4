"""Cases (i) and (j): the ways to many nodes, and what passes through a VXLAN device."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from bench.stats import Cost, Row, Summary
from cni.cluster import Node, cluster
from cni.kernel.netns import entered
from cni.overlay.apply import Overlay
from cni.overlay.plan import vtep_mac
from cni.overlay.settings import Settings
from tests import lab
from tests.overlay import nodes

TARGETS = {1_000: 2_000, 5_000: 10_000}  # ms for the first pass, by peers
FIRST_PASSES = 5  # at most: each is taken back again
NODE, POD = IPv4Address("172.16.0.1"), IPv4Address("10.0.0.0")
SECONDS = 1  # of one sample of throughput
LOSS = 5.0  # percent


def scale(runs: int) -> list[Row]:
    """Case (i)."""
    return [row for count, target in TARGETS.items() for row in _scale(count, target, runs)]


def _scale(count: int, target: float, runs: int) -> list[Row]:
    members = [_member(number) for number in range(count + 1)]
    costs: dict[str, list[Cost]] = {}

    def take(what: str, work: Callable[[], object]) -> None:
        begin, cpu = time.perf_counter(), time.process_time()
        work()
        cost = Cost(time.perf_counter() - begin, time.process_time() - cpu)
        costs.setdefault(what, []).append(cost)

    def one_pass(*, full: bool) -> None:
        overlay.reconcile(cluster(members, "node-0"), full=full)

    with lab.fresh_host():
        lab.run("ip link add eth0 up type veth peer name wire")
        lab.run("ip link set wire up")
        lab.run(f"ip address add {NODE}/12 dev eth0")
        for _ in range(min(runs, FIRST_PASSES)):
            overlay = Overlay(Settings())
            overlay.delete()
            take("first pass", lambda: one_pass(full=True))
        for number in range(runs):
            take("no change", lambda: one_pass(full=True))
            moved = IPv4Address("172.30.0.0") + number
            members[1] = replace(members[1], addresses=(moved,))
            take("one node moved", lambda: one_pass(full=False))
            overlay = Overlay(Settings())
            take("new process", lambda: one_pass(full=True))
    targets = {
        ("first pass", "wall"): target,
        ("no change", "cpu"): 1_000,
        ("one node moved", "wall"): 200,
    }
    return [
        _row(f"{count:,} peers: {what} {measure}", some, measure, targets.get((what, measure)))
        for what, some in costs.items()
        for measure in ("wall", "cpu")
    ]


def _row(what: str, costs: Iterable[Cost], measure: str, target: float | None) -> Row:
    ours = Summary.of(getattr(cost, measure) * 1000 for cost in costs)
    return Row("i", what, "warm", "ms", ours, None, target, ours.median)


def _member(number: int) -> Node:
    return Node(f"node-{number}", (NODE + number,), (IPv4Network((int(POD) + 256 * number, 24)),))


def throughput(runs: int) -> list[Row]:
    """Case (j)."""
    targets = {"ours": "10.244.2.2", "by hand": "10.245.2.2"}
    rates: dict[str, list[float]] = {name: [] for name in targets}
    with lab.fresh_host():
        nodes.make()
        _make_by_hand()
        for number in range(-1, runs):
            for name in list(rates)[:: 1 if number % 2 else -1]:  # each is the first in turn
                rate = _gigabits(targets[name])
                if number >= 0:
                    rates[name].append(rate)
    ours, hand = (Summary.of(rates[name], more_is_better=True) for name in ("ours", "by hand"))
    loss = 100 - 100 * ours.median / hand.median
    lost = Summary(loss, loss, 1)
    return [
        Row("j", "TCP, pod to pod of another node", "warm", "Gbit/s", ours, hand),
        Row("j", "lost to the device by hand", "warm", "%", lost, None, LOSS, loss),
    ]


def _make_by_hand() -> None:
    """Make a second VXLAN device with the attributes of ours, and addresses of pods behind it."""
    for name, other in (("n1", "n2"), ("n2", "n1")):
        number, far = name[1:], other[1:]
        near, mac = nodes.address(name, 4), vtep_mac(other)
        nodes.batch(
            name,
            f"link add hand address {vtep_mac(name)} mtu 1450 type vxlan"
            f" id 2 dstport 8472 local {near} dev eth0 nolearning",
            f"addr add 10.245.{number}.0/32 dev hand",
            "link set hand up",
            f"neigh add 10.245.{far}.0 lladdr {mac} dev hand nud permanent",
            f"route add 10.245.{number}.2 dev {nodes.pod(name)}",
            f"route add 10.245.{far}.0/24 via 10.245.{far}.0 dev hand onlink",
        )
        entry = f"{mac} dst {nodes.address(other, 4)} dev hand self permanent"
        lab.run(f"bridge fdb add {entry}", netns=name)
        lab.run(f"ip address add 10.245.{number}.2/32 dev eth0", netns=nodes.pod(name))


def _gigabits(target: str) -> float:
    """Return what iperf3 measures from the pod on n1 to `target`."""
    with entered(lab.netns_path("p2")):
        server = subprocess.Popen(["/usr/bin/iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
    with server:
        lab.wait_until(lambda: "5201" in lab.run("ss -ltn", netns="p2"))
        source = target.replace(".2.2", ".1.2")
        text = lab.run(f"iperf3 -J -c {target} -B {source} -t {SECONDS}", netns="p1")
    return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9
