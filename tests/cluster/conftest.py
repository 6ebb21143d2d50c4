"""One cluster for all tests here, for each of the networks: real programs of Kubernetes.

PYCNI_CLUSTER says who provides it: `netns`, the default (nodes are namespaces of this machine), or
`kind`, which wants Docker, kind and kubectl: `PYCNI_CLUSTER=kind ./build.sh test tests/cluster`.
NODE_IMAGE is then another image for the nodes than this kind's own.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster import deployment, kind, netns, pods
from tests.cluster.cluster import Cluster, Provider
from tests.cluster.pods import Pod


def provided(folder: Path) -> AbstractContextManager[Provider]:
    """Return a cluster that runs as long as the block does."""
    who = os.environ.get("PYCNI_CLUSTER", "netns")
    if who == "kind":
        return kind.running(folder)
    assert who == "netns", f"PYCNI_CLUSTER is {who}: say netns or kind"
    kube_bin = os.environ.get("KUBE_BIN_DIR", "")
    assert kube_bin, "say KUBE_BIN_DIR, or use ./build.sh test, which builds them"
    return netns.running(folder, Path(kube_bin))


@pytest.fixture(scope="session")
def archives(frozen_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the archives of all images: what pods run, and ours."""
    return deployment.archives(frozen_bin, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="package", params=deployment.OVERLAYS)
def cluster(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    archives: list[Path],
) -> Iterator[Cluster]:
    """Return a cluster whose nodes are Ready."""
    with provided(tmp_path_factory.mktemp("cluster")) as provider:
        for archive in archives:
            provider.load(archive)
        found = Cluster(provider, request.param)
        deployment.wait_registered(found, *found.nodes)
        found.before.update({name: found.node(name).condition for name in found.nodes})
        deployment.apply(found)
        deployment.wait_ready(found, *found.nodes)
        yield found


@contextmanager
def web_pods(cluster: Cluster) -> Iterator[list[Pod]]:
    """Run a pod on each worker that serves its name; nobody waits for its end."""
    app = f"web-{uuid4().hex[:5]}"
    wanted = [pods.web(f"{app}-{node}", node, app) for node in cluster.provider.workers]
    yield cluster.run_pods(*wanted)
    cluster.delete(*wanted, wait=False)


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> Iterator[list[Pod]]:
    """Return a pod on each worker, the same for all tests of a file."""
    with web_pods(cluster) as found:
        yield found


@pytest.fixture
def own_web(cluster: Cluster) -> Iterator[list[Pod]]:
    """Return a pod on each worker, for tests that nodes do not survive."""
    with web_pods(cluster) as found:
        yield found
