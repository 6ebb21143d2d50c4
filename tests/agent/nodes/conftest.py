"""The API under test: a server of our own, and a real one where there is one at hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cni.agent.nodes.access import Access
from cni.agent.nodes.api import Patience
from cni.agent.nodes.cache import Cache
from cni.agent.nodes.kubernetes import KubernetesNodes, Pace
from tests.agent.nodes.apiserver import ApiServer
from tests.agent.nodes.cluster import Cluster, serve
from tests.agent.nodes.kube import KUBE_BIN_DIR, KubeApiServer
from tests.agent.nodes.pki import Pki, make_pki

MakeSource = Callable[..., KubernetesNodes]
# Everything happens sooner, and in the order it has in a cluster.
PACE = Pace(
    first=0.005,
    longest=0.02,
    brief=0.2,
    gap=0.02,
    grace=0.3,
    look=0.02,
    patience=Patience(connect=20, read=20),
)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def kube(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiServer]:
    server = KubeApiServer(pki, tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
def own(pki: Pki) -> Iterator[ApiServer]:
    server = ApiServer(pki)
    yield server
    server.stop()


@pytest.fixture(params=["own", *(["kube"] if KUBE_BIN_DIR else [])])
def cluster(request: pytest.FixtureRequest, pki: Pki) -> Iterator[Cluster]:
    """Return a cluster without nodes."""
    with serve(request.getfixturevalue(request.param), pki) as found:
        found.clear()
        yield found


@pytest.fixture
def faulty(own: ApiServer, pki: Pki) -> Iterator[tuple[ApiServer, Cluster]]:
    """Return a server that can be told to fail in ways that a real one cannot, and its cluster."""
    with serve(own, pki) as found:
        yield own, found


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Return what makes a source of nodes, in a hurry."""

    def make(access: Access | Callable[[], Access], pace: Pace = PACE) -> KubernetesNodes:
        found = access if callable(access) else lambda: access
        return KubernetesNodes(found, Cache(str(tmp_path / "cache/nodes.json"), pause=0), pace)

    return make
