"""The nodes last known, on disk: what serves them after a reboot while the API is away."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cni.agent.nodes.cache import Cache
from cni.agent.nodes.kubernetes import KubernetesNodes
from cni.cluster import Node, read_nodes
from tests.agent.nodes.cluster import Cluster, Watcher
from tests.agent.nodes.conftest import PACE
from tests.lab import wait_until

STALE = {"name": "stale", "addresses": ["10.0.0.9"], "podCIDRs": ["10.244.9.0/24"]}


def names(path: Path) -> list[str]:
    return [node.name for node in read_nodes(str(path))] if path.exists() else []


def source(cluster: Cluster, path: Path, grace: float = 0.1) -> KubernetesNodes:
    pace = replace(PACE, grace=grace)
    return KubernetesNodes(cluster.access, Cache(str(path), pause=0), pace)


def write(path: Path, *nodes: Any) -> None:
    path.write_text(json.dumps({"nodes": nodes}))


def test_after_a_reboot_nodes_are_there_before_the_api(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "lib/nodes.json"
    cluster.add("n1", "10.0.0.1 fd00::1", "10.244.1.0/24 fd00:10:244:1::/64")
    with Watcher(source(cluster, path)) as before:
        assert before.sees_names("n1")
        assert wait_until(lambda: names(path) == ["n1"])
    cluster.relay.cut()

    with Watcher(source(cluster, path)) as after:
        assert after.sees_names("n1")
        assert not after.source.health().synced
        assert after.nodes == before.nodes
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        cluster.delete("n1")
        cluster.relay.mend()
        assert after.sees_names("n2")
        assert wait_until(lambda: after.source.health().synced)

    assert names(path) == ["n2"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_an_api_that_answers_is_not_forestalled(cluster: Cluster, tmp_path: Path) -> None:
    """A node that is gone must not be served again for a moment, at each start of the agent."""
    write(tmp_path / "nodes.json", STALE)
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(source(cluster, tmp_path / "nodes.json", grace=20)) as seen:
        assert seen.sees_names("n1")

    assert len(seen.told) == 1


def test_nodes_on_disk_remain_while_the_api_is_away(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    write(path, STALE)
    text = path.read_text()
    cluster.server.stop()

    try:
        with Watcher(source(cluster, path)) as seen:
            assert seen.sees_names("stale")
    finally:
        cluster.server.start()

    assert path.read_text() == text


def test_what_is_known_at_the_end_is_written(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(KubernetesNodes(cluster.access, Cache(str(path), pause=1000), PACE)) as seen:
        assert seen.sees_names("n1")
        assert wait_until(lambda: names(path) == ["n1"])
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")

    assert names(path) == ["n1", "n2"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": [{"name": 5}]}', "\0\0\0"])
def test_a_spoiled_file_is_none(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(text)
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(source(cluster, path)) as seen:
        assert seen.sees_names("n1")

    assert names(path) == ["n1"]
    told = [one for one in caplog.messages if "cache of nodes" in one]
    assert len(told) == (text != "[]")


def test_no_file_yet_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Cache(str(tmp_path / "nodes.json")).load() == {}

    assert not caplog.messages


def test_a_disk_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(str(tmp_path / "file/nodes.json"), pause=0)

    for name in ("n1", "n2", "n3"):
        cache.save({name: Node(name, (), ())})

    (told,) = caplog.messages
    assert f"cannot write the cache of nodes {tmp_path}/file/nodes.json: " in told


def test_many_changes_are_written_once_in_a_while(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    cache = Cache(str(path), pause=1000)

    cache.save({"n1": Node("n1", (), ())})
    cache.save({"n2": Node("n2", (), ())})
    assert names(path) == ["n1"]
    cache.save({"n2": Node("n2", (), ())}, now=True)
    assert names(path) == ["n2"]
