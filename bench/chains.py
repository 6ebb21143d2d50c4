"""Cases (a) to (d): whole chains, one by one and as a burst."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.chain import Json, Network, Pod
from bench.hosts import Side, interleave, on_each, sides
from bench.stats import Cost, Row, compare
from tests import lab

PODS, AT_ONCE = 110, 16  # the kubelet's limit of pods on a node; a busy start
PORT = 8000


def plain(runs: int) -> list[Row]:
    """Case (a)."""
    costs = _chain(Network.kindnet(), runs, "reference", "warm", "cold")
    warm = compare("a", "warm", costs, {"ADD": 2.2, "DEL": 1.2})
    return warm + compare("a", "cold", costs, {"ADD": 10, "DEL": 4})


def masquerade(runs: int) -> list[Row]:
    """Case (b)."""
    costs = _chain(Network.kindnet(ipMasq=True), runs, "reference", "warm")
    return compare("b", "warm", costs, {"ADD": 1.0, "DEL": 0.7})


def host_port(runs: int) -> list[Row]:
    """Case (c)."""
    costs = _chain(Network.kindnet(ipMasq=True), runs, "reference", "warm", port=PORT)
    return compare("c", "warm", costs, {"ADD": 0.5, "DEL": 0.35})


def _chain(
    network: Network, runs: int, *names: str, port: int = 0
) -> dict[str, dict[str, list[Cost]]]:
    with sides(*names) as every:
        pods = on_each(every, lambda _: Pod("pod", lab.add_netns("pod"), port))
        return interleave(every, runs, lambda side: _once(network, side, pods[side.name]))


def _once(network: Network, side: Side, pod: Pod) -> dict[str, Cost]:
    results: list[Json] = []

    def add() -> Cost:
        result, cost = network.add(side.bin_dir, pod)
        results.append(result)
        return cost

    return {
        "ADD": side.measure(add),
        "DEL": side.measure(lambda: network.delete(side.bin_dir, pod, results[0])),
    }


def burst(runs: int) -> list[Row]:
    """Case (d)."""
    network = Network.kindnet(ipMasq=True)
    with sides("reference", "warm") as every:
        pods = on_each(every, lambda _: list(_pods()))
        costs = interleave(
            every,
            max(2, runs // 20),
            lambda side: _burst(network, side, pods[side.name]),
            warm_up=0,
        )
    return compare("d", "warm", costs, {"ADD": 0.6, "DEL": 0.5}, cpu_targets=True)


def _pods() -> Iterator[Pod]:
    for number in range(PODS):
        name = f"pod-{number}"
        yield Pod(name, lab.add_netns(name), PORT + number)


def _burst(network: Network, side: Side, pods: list[Pod]) -> dict[str, Cost]:
    results: list[Json] = []

    def add() -> Cost:
        begin = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = list(pool.map(partial(network.add, side.bin_dir), pods))
        results.extend(result for result, _ in done)
        return Cost(time.perf_counter() - begin, sum(cost.cpu for _, cost in done))

    def delete() -> Cost:
        begin = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = list(pool.map(partial(network.delete, side.bin_dir), pods, results))
        return Cost(time.perf_counter() - begin, sum(cost.cpu for cost in done))

    return {"ADD": side.measure(add), "DEL": side.measure(delete)}
