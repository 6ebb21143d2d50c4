"""The network that is under test: deploy/kind as people apply it, and images of ours."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster import components
from tests.cluster.cluster import PATIENCE, Cluster, NodeView
from tests.deploy import image, manifests
from tests.deploy.manifests import DEPLOY, Object
from tests.deploy.test_manifests import before_1_30
from tests.runtimes import image as pods
from tests.runtimes.leftovers import wait_for
from tests.test_install import other_build

IMAGE, OTHER = "localhost/pycni:dev", "localhost/pycni:other"
OTHER_BUILD = "c" * 12
SLEEP = ("/bin/busybox", "sleep", "2147483647")
OVERLAYS = {"kindnet": "routes", "vxlan": "vxlan"}  # by the name of their conflist
READY = "curl --silent --fail 127.0.0.1:9473/readyz"


def archives(frozen_bin: Path, folder: Path) -> list[Path]:
    """Return the archives of all images: what pods run, ours, and that of another build of ours."""
    other = other_build(frozen_bin, folder / "bin", OTHER_BUILD)
    return [
        pods.build(folder / "pause.tar", components.PAUSE, SLEEP),
        pods.build(folder / "web.tar"),
        *(
            image.build(programs, _folder(folder / name.rpartition(":")[2]), name)
            for name, programs in ((IMAGE, frozen_bin), (OTHER, other))
        ),
    ]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def objects(cluster: Cluster, overlay: Path) -> list[Object]:
    """Return what a folder of deploy/ is for this cluster: one before 1.30 wants it otherwise."""
    version = json.loads(cluster.kubectl("get --raw /version"))
    if int(version["minor"].rstrip("+")) >= 30:
        return manifests.render(overlay)
    with TemporaryDirectory() as place:
        return manifests.render(before_1_30(overlay, Path(place)))


def apply(cluster: Cluster) -> None:
    """Give a cluster its network."""
    cluster.apply(*objects(cluster, DEPLOY / "kind" / OVERLAYS[cluster.network]))


def wait_registered(cluster: Cluster, *names: str) -> None:
    """Wait until the API knows these nodes with their ranges, and takes pods."""

    def known() -> bool:
        found = {one["metadata"]["name"]: NodeView("", one) for one in cluster.get("nodes")}
        return all(name in found and found[name].pod_cidr for name in names)

    wait_for(known, f"{names} to have ranges", PATIENCE)
    account = "get --ignore-not-found serviceaccount default"
    wait_for(lambda: cluster.kubectl(account), "the account that pods have", PATIENCE)


def wait_ready(cluster: Cluster, *names: str) -> None:
    """Wait until these nodes are Ready; fail if one is so before its agent."""

    def ready(name: str) -> bool:
        if not cluster.node(name).is_ready:
            return False
        assert agent_is_ready(cluster, name), f"{name} is Ready, its agent is not"
        return True

    left = set(names)

    def all_ready() -> bool:
        left.difference_update([name for name in left if ready(name)])
        return not left

    wait_for(all_ready, f"{names} to be Ready", PATIENCE)


def agent_is_ready(cluster: Cluster, node: str) -> bool:
    """Tell whether the agent on the node says so."""
    return cluster.run(node, READY, check=False).strip() == "ok"
