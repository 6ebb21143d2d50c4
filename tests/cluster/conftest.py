"""One cluster for all tests here, for each of the networks: real programs of Kubernetes.

CLUSTER says who provides it: `netns` (namespaces of this machine), or `kind`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import components, deployment, netns, pods
from tests.cluster.cluster import Cluster
from tests.cluster.pods import Pod
from tests.runtimes import image

SLEEP = ("/bin/busybox", "sleep", "2147483647")
# one worker of pytest-xdist has them all, so that no two clusters are up at once
NETWORKS = [
    pytest.param(name, marks=pytest.mark.xdist_group("cluster")) for name in ("kindnet", "vxlan")
]


@pytest.fixture(scope="session")
def kube_bin() -> Path:
    """Return the folder of Kubernetes' programs."""
    found = os.environ.get("KUBE_BIN_DIR", "")
    assert found, "say KUBE_BIN_DIR, or use ./build.sh test, which builds them"
    return Path(found)


@pytest.fixture(scope="session")
def archives(frozen_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the archives of all images: what pods run, and ours."""
    folder = tmp_path_factory.mktemp("images")
    pause = image.build(folder / "pause.tar", components.PAUSE, SLEEP)
    web = image.build(folder / "web.tar")
    return [pause, web, *deployment.archives(frozen_bin, folder)]


@pytest.fixture(scope="package", params=NETWORKS)
def cluster(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    kube_bin: Path,
    archives: list[Path],
) -> Iterator[Cluster]:
    """Return a cluster whose nodes are Ready."""
    with netns.running(tmp_path_factory.mktemp("cluster"), kube_bin) as provider:
        for archive in archives:
            provider.load(archive)
        found = Cluster(provider, request.param)
        deployment.wait_registered(found, *found.nodes)
        found.before.update({name: found.node(name).condition for name in found.nodes})
        deployment.apply(found)
        deployment.wait_ready(found, *found.nodes)
        yield found


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> Iterator[list[Pod]]:
    """Return a pod on each worker that serves its name, called web."""
    wanted = [pods.web(f"web-{node}", node, "web") for node in cluster.provider.workers]
    yield cluster.run_pods(*wanted)
    cluster.delete(*wanted)
