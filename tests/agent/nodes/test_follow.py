"""The nodes of the Kubernetes API: all of them, and each change, whatever happens in between."""

import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cni import cluster as cni_cluster
from cni.agent.nodes.kubernetes import THREAD
from tests.agent.nodes.cluster import Cluster, Watcher
from tests.agent.nodes.conftest import PACE, MakeSource
from tests.lab import wait_until


def test_all_nodes_are_there_with_addresses_and_pod_cidrs(
    cluster: Cluster, make_source: MakeSource
) -> None:
    cluster.add("n1", "10.0.0.1 fd00::1 10.9.9.9", "10.244.1.0/24 fd00:10:244:1::/64")
    cluster.add("n2", "fd00::2", "fd00:10:244:2::/64")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1", "n2")
        assert wait_until(lambda: seen.source.health().synced)
        assert seen.source.health().last_error == ""
    first, second = seen.nodes["n1"], seen.nodes["n2"]
    assert first.addresses == (ip_address("10.0.0.1"), ip_address("fd00::1"))
    assert first.pod_cidrs == (ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64"))
    assert second.address(4) is None
    assert second.pod_cidr(6) == ip_network("fd00:10:244:2::/64")


def test_nodes_that_come_change_and_go_are_told(cluster: Cluster, make_source: MakeSource) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")
        cluster.change("n2", "10.0.0.22")
        assert seen.sees(lambda nodes: nodes["n2"].address(4) == ip_address("10.0.0.22"))
        cluster.delete("n2")
        assert seen.sees_names("n1")


def test_what_does_not_matter_is_not_told(cluster: Cluster, make_source: MakeSource) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")
        for _ in range(5):
            before = seen.source.health().last_contact
            cluster.heartbeat("n1")
            assert wait_until(lambda before=before: seen.source.health().last_contact > before)  # type: ignore[misc]
        cluster.change("n1", "10.0.0.1")
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")

    assert len(seen.told) == 2


def test_more_nodes_than_a_page_holds(cluster: Cluster, make_source: MakeSource) -> None:
    names = [f"n{i}" for i in range(510)]
    for i, name in enumerate(names):
        cluster.add(name, f"10.1.{i // 256}.{i % 256}", f"10.{100 + i // 256}.{i % 256}.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names(*names)

    assert len(seen.told) == 1


def test_a_node_that_is_not_complete_is_kept_out_and_told(
    cluster: Cluster, make_source: MakeSource
) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
    cluster.add("n2", "10.0.0.2")
    cluster.add("n3", "", "10.244.3.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1", "n2", "n3")

    view = cni_cluster.cluster(seen.nodes.values(), "n1")
    assert view.peers == ()
    assert view.alarms == (
        "cannot use node n2 as a peer: it has no pod CIDR",
        "cannot use node n3 as a peer: it has no address",
    )


def test_of_two_nodes_with_one_pod_cidr_the_one_that_lives_is_the_peer(
    cluster: Cluster, make_source: MakeSource
) -> None:
    cluster.add("own", "10.0.0.1", "10.244.1.0/24")
    cluster.add("b", "10.0.0.2", "10.244.2.0/24")
    cluster.add("a", "10.0.0.3", "10.244.2.0/24", ready=False)

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("own", "a", "b")
        assert _peers(seen) == ["b"]
        cluster.change("a", "10.0.0.3")
        cluster.change("b", "10.0.0.2", ready=False)
        assert seen.sees(lambda _: _peers(seen) == ["a"])


def _peers(seen: Watcher) -> list[str]:
    return [node.name for node in cni_cluster.cluster(seen.nodes.values(), "own").peers]


def test_changes_while_the_connection_is_cut_are_caught_up_with(
    cluster: Cluster, make_source: MakeSource
) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
    cluster.add("n2", "10.0.0.2", "10.244.2.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1", "n2")
        cluster.relay.cut()
        assert wait_until(lambda: seen.source.health().last_error != "")
        cluster.delete("n2")
        cluster.add("n3", "10.0.0.3", "10.244.3.0/24")
        assert sorted(seen.nodes) == ["n1", "n2"]
        cluster.relay.mend()
        assert seen.sees_names("n1", "n3")

    assert seen.source.health().last_error == ""


def test_what_the_api_does_not_remember_is_listed_again(
    cluster: Cluster, make_source: MakeSource
) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
    cluster.add("n2", "10.0.0.2", "10.244.2.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1", "n2")
        cluster.relay.cut()
        cluster.delete("n2")
        cluster.add("n3", "10.0.0.3", "10.244.3.0/24")
        cluster.server.forget()
        cluster.relay.mend()
        assert seen.sees_names("n1", "n3")
        cluster.add("n4", "10.0.0.4", "10.244.4.0/24")
        assert seen.sees_names("n1", "n3", "n4")


def test_the_api_away_is_told_once_and_nodes_remain(
    cluster: Cluster, make_source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")
        before = cluster.relay.connections
        cluster.server.stop()
        assert wait_until(lambda: cluster.relay.connections > before + 3, 10)
        health = seen.source.health()
        cluster.server.start()
        assert wait_until(lambda: seen.source.health().last_error == "", 20)
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")

    assert health.synced
    assert cluster.url in health.last_error
    told = [one for one in caplog.messages if "nodes that are known remain" in one]
    assert told
    assert len(told) == len(set(told))


def test_a_connection_that_carries_nothing_is_given_up(
    cluster: Cluster, make_source: MakeSource
) -> None:
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
    cluster.relay.hold()
    pace = replace(PACE, patience=replace(PACE.patience, connect=0.2))

    with Watcher(make_source(cluster.access(), pace)) as seen:
        assert wait_until(lambda: "timed out" in seen.source.health().last_error, 10)
        cluster.relay.mend()
        assert seen.sees_names("n1")


def test_it_ends_in_the_middle_of_a_watch(cluster: Cluster, make_source: MakeSource) -> None:
    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names()
        cluster.add("n1")
        assert seen.sees_names("n1")

    # a watch takes minutes, and the thread would be left to it
    assert wait_until(lambda: THREAD not in [one.name for one in threading.enumerate()], 10)
