"""What `kubectl apply -k` would send of deploy/."""

from pathlib import Path
from typing import Any

import yaml

from tests import lab
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
Object = dict[str, Any]


def overlays() -> list[Path]:
    """Return the folders that a cluster can be given: all networks, with and without kind."""
    places = (DEPLOY / "kubernetes", DEPLOY / "kind")
    return sorted(place / name for place in places for name in ("routes", "vxlan"))


def render(overlay: Path) -> list[Object]:
    """Return the objects of a kustomization."""
    return list(yaml.safe_load_all(lab.run(f"kubectl kustomize {overlay}")))


def pick(objects: list[Object], kind: str) -> Object:
    """Return the one object of that kind."""
    (found,) = (one for one in objects if one["kind"] == kind)
    return found


def config_map(objects: list[Object], name: str) -> dict[str, str]:
    """Return the files of the ConfigMap that is called `name`, and a digest."""
    (found,) = (
        one
        for one in objects
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].rpartition("-")[0] == name
    )
    files: dict[str, str] = found["data"]
    return files


def pod(objects: list[Object]) -> Object:
    """Return what each node runs: the pod of the DaemonSet."""
    spec: Object = pick(objects, "DaemonSet")["spec"]["template"]["spec"]
    return spec
