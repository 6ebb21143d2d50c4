"""How long the agent waits for an API: it goes on without one, and notices one that is gone."""

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cni.agent.nodes.access import Access
from cni.agent.nodes.kubernetes import THREAD
from cni.kernel.netns import entered
from tests import lab
from tests.agent.nodes.apiserver import ApiServer, Handler
from tests.agent.nodes.cluster import Cluster, Watcher, serve
from tests.agent.nodes.conftest import PACE, MakeSource
from tests.agent.nodes.pki import Pki
from tests.lab import wait_until

Faulty = tuple[ApiServer, Cluster]


def refuse(handler: Handler) -> bool:
    handler.status(500, "no")
    return True


def test_pauses_between_failures_grow(faulty: Faulty, make_source: MakeSource) -> None:
    server, cluster = faulty
    server.fault = refuse
    pace = replace(PACE, first=0.02, longest=0.1)

    with Watcher(make_source(cluster.access(), pace)):
        assert wait_until(lambda: len(server.times) > 6, 10)

    pauses = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    shortest = (0.02, 0.04, 0.08, 0.1, 0.1)
    assert all(pause >= least for pause, least in zip(pauses, shortest, strict=False))


def test_the_nodes_of_a_cluster_do_not_come_back_all_at_once(make_source: MakeSource) -> None:
    sources = [make_source(Access("https://192.0.2.1"), PACE) for _ in range(50)]

    pauses = sorted(source._next_pause() / PACE.first for source in sources)

    assert 1 <= pauses[0] < 1.3
    assert 1.7 < pauses[-1] <= 2


def test_bookmarks_spare_a_list_after_a_quiet_time(faulty: Faulty, make_source: MakeSource) -> None:
    server, cluster = faulty
    server.bookmark_s = 0.01
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    source = make_source(cluster.access())
    with Watcher(source) as seen:
        assert seen.sees_names("n1")
        assert wait_until(lambda: server.bookmarks > 0)
        server.store.compact()  # at a version that only a bookmark tells
        assert wait_until(lambda: source._version == str(server.store.version))
        cluster.relay.cut()
        cluster.relay.mend()
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")

    assert server.lists() == 1


def test_a_watch_ends_in_time_and_goes_on_without_a_list(
    faulty: Faulty, make_source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    server, cluster = faulty
    pace = replace(PACE, patience=replace(PACE.patience, watch=0.6))

    with Watcher(make_source(cluster.access(), pace)) as seen:
        assert wait_until(lambda: len(server.requests) > 2, 10)
        cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
        assert seen.sees_names("n1")

    assert server.lists() == 1
    assert not [one for one in caplog.messages if "remain" in one]


def test_after_a_watch_without_a_word_all_nodes_are_listed(
    faulty: Faulty, make_source: MakeSource
) -> None:
    """The API may be at an earlier version than what was seen: etcd is from a backup."""
    server, cluster = faulty
    pace = replace(PACE, patience=replace(PACE.patience, watch=0.6))
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access(), pace)) as seen:
        assert seen.sees_names("n1")
        cluster.relay.cut()
        server.store.go_back()
        cluster.relay.mend()
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n2")
        cluster.add("n3", "10.0.0.3", "10.244.3.0/24")
        assert seen.sees_names("n2", "n3")


def test_a_watch_that_the_api_forgets_to_end_is_given_up(
    faulty: Faulty, make_source: MakeSource
) -> None:
    server, cluster = faulty
    silent = threading.Event()

    def fault(handler: Handler) -> bool:
        if "watch=1" not in handler.path or silent.is_set():
            return False
        handler.begin_stream()
        silent.wait(10)
        return True

    server.fault = fault
    pace = replace(PACE, patience=replace(PACE.patience, watch=0.1, read=0.3))
    with Watcher(make_source(cluster.access(), pace)) as seen:
        assert wait_until(lambda: "timed out" in seen.source.health().last_error, 10)
        silent.set()
        cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
        assert seen.sees_names("n1")


def test_it_ends_in_the_middle_of_a_list(faulty: Faulty, make_source: MakeSource) -> None:
    server, cluster = faulty
    held = threading.Event()

    def hold(_: Handler) -> bool:
        held.wait(10)
        return False

    server.fault = hold
    with Watcher(make_source(cluster.access())):
        assert wait_until(lambda: len(server.requests) > 0)
        release = threading.Timer(0.1, held.set)  # when it has been told to end
        release.start()
    release.join()

    assert wait_until(lambda: THREAD not in [one.name for one in threading.enumerate()], 10)


def test_an_api_that_is_gone_without_a_word_is_noticed(pki: Pki, make_source: MakeSource) -> None:
    """The watch is quiet anyway, so nobody would miss anything for ten minutes."""
    pace = replace(PACE, patience=replace(PACE.patience, idle=1, probe=1))

    def test() -> None:
        lab._call("unshare", lab.CLONE_NEWNET)  # this thread, and those that it starts
        with remote_server(pki) as (netns, server), serve(server, pki) as cluster:
            server.bookmark_s = 60
            with Watcher(make_source(cluster.direct(), pace)) as seen:
                assert seen.sees_names()
                lab.run("ip link set eth0 down", netns=netns)
                assert wait_until(lambda: seen.source.health().last_error != "", 60)
                lab.run("ip link set eth0 up", netns=netns)
                cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
                assert seen.sees_names("n1")

    with ThreadPoolExecutor(1) as thread:
        thread.submit(test).result()


@contextmanager
def remote_server(pki: Pki) -> Iterator[tuple[str, ApiServer]]:
    """Run a server at the other end of a wire; yield its namespace too."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as other:
        netns = f"/proc/{other.pid}/ns/net"
        assert wait_until(
            lambda: os.stat(netns).st_ino != os.stat("/proc/thread-self/ns/net").st_ino
        )
        lab.run(f"ip link add eth0 type veth peer name eth0 netns {other.pid}")
        for place, address in (("", "10.0.0.2/24"), (netns, "10.0.0.1/24")):
            lab.run(f"ip addr add {address} dev eth0", netns=place)
            lab.run("ip link set eth0 up", netns=place)
        lab.run("ip link set lo up")
        with entered(netns):
            server = ApiServer(pki, "10.0.0.1")
        yield netns, server
        server.stop()
        other.kill()
