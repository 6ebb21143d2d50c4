"""One cluster for all tests here, for each of the networks: real programs of Kubernetes.

CLUSTER says who provides it: `netns` (namespaces of this machine), or `kind`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cni import install
from tests.cluster import components, netns, pods
from tests.cluster.cluster import PATIENCE, Cluster, NodeView
from tests.cluster.pods import Pod
from tests.conftest import ROOT
from tests.runtimes import image
from tests.runtimes.leftovers import wait_for

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
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the archives of what the pods run."""
    folder = tmp_path_factory.mktemp("images")
    pause = image.build(folder / "pause.tar", components.PAUSE, SLEEP)
    return [pause, image.build(folder / "web.tar")]


@pytest.fixture(scope="package", params=NETWORKS)
def cluster(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    kube_bin: Path,
    archives: list[Path],
    frozen_bin: Path,
) -> Iterator[Cluster]:
    """Return a cluster whose nodes are Ready."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("cluster")
        provider = stack.enter_context(netns.running(folder, kube_bin))
        for archive in archives:
            provider.load(archive)
        found = Cluster(provider, request.param)
        registered(found)
        for name in found.nodes:
            node = provider.nodes[name]
            install.install(frozen_bin, node.disk / "opt/cni/bin")
            roles = ["routes" if request.param == "kindnet" else "vxlan", "masq", "warm"]
            (node.disk / "etc/kubernetes/agent.conf").write_text(
                components.kubeconfig("172.18.0.2", "admin", "/etc/kubernetes/server.crt")
            )
            (node.disk / "etc/kubernetes/template").write_text(
                (ROOT / f"conflists/templates/10-{request.param}.conflist").read_text()
            )
            node.serve(
                "pycnid",
                "/opt/cni/bin/pycnid",
                *(w for r in roles for w in ("--role", r)),
                "--node-name",
                name,
                "--kubeconfig",
                "/etc/kubernetes/agent.conf",
                "--template",
                "/etc/kubernetes/template",
                "--cluster-cidr",
                components.POD_SUBNET,
            )
        found.wait_ready()
        yield found
        assert not {
            name: fallen for name, node in provider.nodes.items() if (fallen := node.fallen())
        }


def registered(cluster: Cluster) -> None:
    """Wait until the API knows every node with its pods' range, and takes pods."""

    def ranges() -> list[str]:
        return [NodeView("", one).pod_cidr for one in cluster.get("nodes")]

    wait_for(
        lambda: len([one for one in ranges() if one]) == len(cluster.nodes), "ranges", PATIENCE
    )
    wait_for(
        lambda: "default" in cluster.kubectl("get serviceaccounts --output=name"),
        "the default service account",
        PATIENCE,
    )


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> Iterator[list[Pod]]:
    """Return a pod on each worker that serves its name, called web."""
    wanted = [pods.web(f"web-{node}", node, "web") for node in cluster.provider.workers]
    yield cluster.run_pods(*wanted)
    cluster.delete(*wanted)
