"""Pods, agents and nodes that go and come back."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import permutations
from tempfile import TemporaryFile

from tests.cluster import deployment, pods, traces
from tests.cluster.cluster import PATIENCE, Cluster
from tests.cluster.pods import Pod
from tests.cluster.traffic import client_seen
from tests.runtimes.leftovers import wait_for

PING = "ping -i 0.05"
AGENTS = "--namespace=kube-system"


@contextmanager
def pinged(cluster: Cluster, source: Pod, target: Pod) -> Iterator[None]:
    """Let a pod ping another as long as the block runs; fail if a packet is lost."""
    words = [*cluster.provider.kubectl, "exec", "-i", source.name, "--", "busybox", "sh", "-c"]
    script = f"busybox {PING} {target.address} & read end; busybox kill -INT $!; wait $!"
    with TemporaryFile("w+") as output:  # a pipe would be full, and ping wait, in a minute
        with subprocess.Popen(
            [*words, script], stdin=subprocess.PIPE, stdout=output, text=True
        ) as process:
            yield
            process.communicate("end\n", timeout=PATIENCE)
        output.seek(0)
        said = output.read()
    sent = int(re.findall(r"(\d+) packets transmitted", said)[0])
    answered = set(map(int, re.findall(r"seq=(\d+)", said)))
    assert sent > 10  # it went on for half a second at least
    assert answered >= set(range(sent - 1)), said  # the last one may have been on its way


def agents(cluster: Cluster) -> dict[str, str]:
    """Return the agent's container that runs on each node that is there."""
    found = [pods.read(one) for one in cluster.get(f"{AGENTS} pods")]
    return {one.node: one.id for one in found if one and one.node in cluster.nodes}


def all_reach_each_other(cluster: Cluster, every: list[Pod]) -> bool:
    return all(client_seen(cluster, a, b.address) == a.address for a, b in permutations(every, 2))


def again(cluster: Cluster, old: Pod) -> Pod:
    """Return the pod once it runs in a new container."""
    wait_for(lambda: cluster.pods(old.name)[0].id != old.id, f"{old.name} to run again", PATIENCE)
    return cluster.pods(old.name)[0]


def kill(cluster: Cluster, node: str, container: str) -> None:
    """End a container, whose name begins with its runtime's."""
    name = container.rpartition("/")[2]
    cluster.run(node, f"ctr --namespace k8s.io task kill --signal SIGKILL {name}")


def test_a_container_that_ends_comes_back_with_the_pods_address(
    cluster: Cluster, own_web: list[Pod]
) -> None:
    old, other, _ = own_web
    kill(cluster, old.node, old.id)

    new = again(cluster, old)

    assert new.address == old.address
    assert client_seen(cluster, other, new.address) == other.address


def test_a_pod_that_is_made_again_is_reached_at_its_new_address(
    cluster: Cluster, own_web: list[Pod]
) -> None:
    wanted = pods.web("again", own_web[0].node, hostPort=8889)
    (old,) = cluster.run_pods(wanted)
    cluster.delete(wanted)
    (new,) = cluster.run_pods(wanted)

    node = cluster.node(new.node).address
    assert new.address != old.address
    assert client_seen(cluster, own_web[1], new.address) == own_web[1].address
    assert client_seen(cluster, "outside", f"{node}:8889") == cluster.provider.outside
    cluster.delete(wanted)


def test_agents_are_upgraded_one_after_another_without_a_lost_packet(
    cluster: Cluster, own_web: list[Pod]
) -> None:
    one, other, _ = own_web
    first = agents(cluster)
    late = [pods.web(f"late-{node}", node) for node in cluster.provider.workers]

    with pinged(cluster, one, other):
        cluster.kubectl(f"{AGENTS} set image daemonset/pycni *={deployment.OTHER}")
        cluster.run_pods(*late)
        cluster.kubectl(f"{AGENTS} rollout status daemonset/pycni --timeout={PATIENCE}s")

    second = agents(cluster)
    assert set(first) == set(second) == set(cluster.nodes)
    assert not set(first.values()) & set(second.values())
    for node in cluster.nodes:
        assert f"_pycni-{deployment.OTHER_BUILD}" in cluster.run(node, "ls /opt/cni/bin")
    cluster.delete(*late)


def test_agents_that_are_killed_come_back_without_a_lost_packet(
    cluster: Cluster, own_web: list[Pod]
) -> None:
    one, other, _ = own_web
    first = agents(cluster)

    with pinged(cluster, one, other):
        for node in (one.node, other.node):
            kill(cluster, node, first[node])
        wait_for(
            lambda: not {first[one.node], first[other.node]} & set(agents(cluster).values()),
            "the agents to run again",
            PATIENCE,
        )
        for node in (one.node, other.node):
            wait_for(partial(deployment.agent_is_ready, cluster, node), "it to be ready", PATIENCE)


def test_a_rebooted_node_gives_its_pods_new_addresses_and_keeps_no_lease_of_before(
    cluster: Cluster, own_web: list[Pod]
) -> None:
    """Its conflist of before makes it Ready at once: there the agent cannot be the first."""
    *others, old = own_web
    cluster.provider.reboot(old.node)

    new = again(cluster, old)
    wait_for(partial(deployment.agent_is_ready, cluster, new.node), "the agent", PATIENCE)

    assert all_reach_each_other(cluster, [*others, new])
    assert new.address in traces.living(cluster, new.node)
    wait_for(
        lambda: traces.leases(cluster, new.node) == traces.living(cluster, new.node),
        "old leases to go",
        PATIENCE,
    )


def test_a_node_that_is_replaced_is_reached_and_the_old_one_forgotten(
    cluster: Cluster, own_web: list[Pod]
) -> None:
    *others, gone = own_web
    old = cluster.node(gone.node)
    new = cluster.provider.replace(gone.node)
    cluster.kubectl(f"delete pod {gone.name} --force --grace-period=0 --ignore-not-found")
    deployment.wait_registered(cluster, new)
    deployment.wait_ready(cluster, new)

    wanted = pods.web(f"web-{new}", new)
    (pod,) = cluster.run_pods(wanted)

    assert all_reach_each_other(cluster, [*others, pod])
    assert ip_address(pod.address) in ip_network(cluster.node(new).pod_cidr)
    for node in cluster.nodes:
        routes = json.loads(cluster.run(node, "ip -json route"))
        assert cluster.node(new).pod_cidr in {one["dst"] for one in routes} or node == new
        assert old.pod_cidr not in {one["dst"] for one in routes}
    cluster.delete(wanted)
