"""What is deployed, as the server of the API judges it: nothing is made."""

import json
from pathlib import Path

import pytest

from tests.cluster import deployment
from tests.cluster.cluster import Cluster
from tests.deploy import manifests
from tests.deploy.manifests import DEPLOY, Object


def judge(cluster: Cluster, objects: list[Object]) -> list[str]:
    """Let the server try to make the objects; return what it would have done with each."""
    whole = {"apiVersion": "v1", "kind": "List", "items": objects}
    words = "apply --dry-run=server --filename=-"
    return cluster.kubectl(words, stdin=json.dumps(whole)).splitlines()


@pytest.mark.parametrize(
    "overlay", manifests.overlays(), ids=lambda path: str(path.relative_to(DEPLOY))
)
def test_the_api_takes_what_is_deployed(cluster: Cluster, overlay: Path) -> None:
    objects = deployment.objects(cluster, overlay)

    said = judge(cluster, objects)

    assert len(said) == len(objects)
    assert all(line.endswith("(server dry run)") for line in said)


def test_the_api_refuses_what_is_wrong(cluster: Cluster) -> None:
    objects = deployment.objects(cluster, DEPLOY / "kind/routes")
    manifests.pod(objects)["hostNetwok"] = True

    with pytest.raises(AssertionError, match="hostNetwok"):
        judge(cluster, objects)
