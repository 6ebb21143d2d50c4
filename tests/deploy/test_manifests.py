"""What deploy/ tells Kubernetes, beside what the code needs; that it works is test_node.py's."""

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath

import pytest
import yaml

from cni.agent import lock, settings, state
from cni.agent.conflist import fields, render
from cni.agent.nodes import cache
from cni.agent.settings import Settings
from cni.cluster import Node
from cni.handover import SOCKET
from cni.programs import NAMES
from tests.conftest import ROOT
from tests.deploy import image
from tests.deploy.manifests import (
    DEPLOY,
    Object,
    config_map,
    overlays,
    pick,
    pod,
)
from tests.deploy.manifests import (
    render as objects_of,
)

NODE = Node("n1", (ip_address("172.18.0.2"),), (ip_network("10.10.1.0/24"),))
Objects = list[Object]


@pytest.fixture(params=overlays(), ids=lambda path: f"{path.parent.name}/{path.name}")
def overlay(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def objects(overlay: Path) -> Objects:
    return objects_of(overlay)


@pytest.fixture
def told(objects: Objects, tmp_path: Path) -> Settings:
    """Return the settings as the agent reads them."""
    path = tmp_path / "agent.yaml"
    path.write_text(config_map(objects, "pycni")["agent.yaml"])
    return settings.load(str(path), {})


def mounts(spec: Object, kind: str, container: int = 0) -> dict[str, str]:
    """Return where a container has each folder of the node: its place there -> here."""
    names = {one["name"]: one["hostPath"]["path"] for one in spec["volumes"] if "hostPath" in one}
    found = spec[kind][container]["volumeMounts"]
    return {names[one["name"]]: one["mountPath"] for one in found if one["name"] in names}


def test_the_agent_is_told_its_network(overlay: Path, told: Settings) -> None:
    assert set(told.roles) == {"warm", "masq", overlay.name}
    assert told.cluster_cidrs
    assert not told.nodes_file


def test_the_template_is_there_and_makes_a_conflist(objects: Objects, told: Settings) -> None:
    place, name = os.path.split(told.template)
    text = config_map(objects, "pycni-templates")[name]
    (folder,) = (
        one["mountPath"]
        for one in pod(objects)["containers"][0]["volumeMounts"]
        if one["name"] == "config"
    )

    assert place == folder == os.path.dirname(settings.PATH)
    assert "{{" not in render(text, fields(NODE, told.cluster_cidrs, told.service_cidr, 1450))


def test_all_networks_write_one_file_so_that_a_node_has_one() -> None:
    files = set()
    for overlay in overlays():
        said = yaml.safe_load(config_map(objects_of(overlay), "pycni")["agent.yaml"])
        files.add(said["conflist"].get("file", settings.CONFLIST))

    assert len(files) == 1


def test_what_the_agent_writes_is_the_nodes_own(objects: Objects, told: Settings) -> None:
    shared = mounts(pod(objects), "containers")

    assert all(there == here for there, here in shared.items())
    for path in (told.conflist, SOCKET, state.PATH, lock.PATH, cache.PATH):
        assert os.path.dirname(path) in shared


def test_the_programs_go_to_the_nodes_directory(objects: Objects) -> None:
    (install,) = pod(objects)["initContainers"]

    assert mounts(pod(objects), "initContainers") == {"/opt/cni/bin": install["command"][-1]}
    assert install["command"][0] in NAMES


def test_probes_ask_the_agents_own_pages(objects: Objects, told: Settings) -> None:
    agent = pod(objects)["containers"][0]

    for probe, page in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = agent[probe]["httpGet"]
        assert (asked["host"], asked["port"]) == told.listen
        assert asked["path"] == page


def test_the_pod_comes_to_every_node_whatever_its_state(objects: Objects) -> None:
    spec = pod(objects)

    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["hostNetwork"] is spec["hostPID"] is True
    assert spec["terminationGracePeriodSeconds"] >= settings.LIMIT + 10


def test_no_container_may_do_everything(objects: Objects) -> None:
    for container in (*pod(objects)["initContainers"], *pod(objects)["containers"]):
        context = container["securityContext"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["readOnlyRootFilesystem"]
        assert "privileged" not in context


def test_the_api_is_only_read(objects: Objects) -> None:
    (rule,) = pick(objects, "ClusterRole")["rules"]
    (subject,) = pick(objects, "ClusterRoleBinding")["subjects"]

    assert rule == {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
    assert subject["name"] == pick(objects, "ServiceAccount")["metadata"]["name"]
    assert subject["namespace"] == pick(objects, "DaemonSet")["metadata"]["namespace"]
    assert pod(objects)["serviceAccountName"] == subject["name"]


def test_changed_settings_are_rolled_out(objects: Objects) -> None:
    (volume,) = (one for one in pod(objects)["volumes"] if one["name"] == "config")
    named = {one["configMap"]["name"] for one in volume["projected"]["sources"]}

    assert named == {one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap"}
    assert all(re.search(r"-[a-z0-9]{10}$", name) for name in named)


def test_everything_but_the_rights_can_be_found_by_its_label(objects: Objects) -> None:
    for one in objects:
        assert one["metadata"]["labels"]["app.kubernetes.io/name"] == "pycni"


@pytest.mark.parametrize("network", ["routes", "vxlan"])
def test_kinds_cluster_and_the_agent_agree(network: str) -> None:
    cluster = yaml.safe_load((DEPLOY / "kind/cluster.yaml").read_text())
    said = yaml.safe_load((DEPLOY / f"kind/{network}/agent.yaml").read_text())

    assert cluster["networking"]["disableDefaultCNI"]
    assert said["clusterCIDRs"] == [cluster["networking"]["podSubnet"]]
    assert said["nodes"]["apiServer"] == "https://pycni-control-plane:6443"
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane", *["worker"] * 3]


def before_1_30(overlay: Path, place: Path) -> Path:
    """Make, in `place`, an overlay of the overlay, for a Kubernetes that old."""
    component = DEPLOY / "kubernetes/before-1.30"
    (place / "kustomization.yaml").write_text(
        f"resources: [{os.path.relpath(overlay, place)}]\n"
        f"components: [{os.path.relpath(component, place)}]\n"
    )
    return place


def test_before_1_30_apparmor_is_told_by_an_annotation(overlay: Path, tmp_path: Path) -> None:
    template = pick(objects_of(before_1_30(overlay, tmp_path)), "DaemonSet")["spec"]["template"]

    assert "appArmorProfile" not in template["spec"]["securityContext"]
    (name,) = (one["name"] for one in template["spec"]["containers"])
    assert template["metadata"]["annotations"] == {
        f"container.apparmor.security.beta.kubernetes.io/{name}": "unconfined"
    }


def test_cleaning_up_reaches_all_places_of_the_agent() -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes/cleanup.yaml").read_text())
    spec = job["spec"]["template"]["spec"]
    shared = mounts(spec, "containers")

    assert all(there == here for there, here in shared.items())
    for path in (settings.CONFLIST, SOCKET, cache.PATH, "/opt/cni/bin/x", "/run/cni-ipam-state/x"):
        assert any(PurePosixPath(path).parent.parent.is_relative_to(one) for one in shared)
    assert spec["hostNetwork"]
    assert spec["tolerations"] == [{"operator": "Exists"}]


def test_the_image_runs_the_agent() -> None:
    said = image.config()

    assert said["Entrypoint"] == ["/opt/pycni/bin/pycnid"]
    assert said["Env"] == [f"PATH={os.path.dirname(said['Entrypoint'][0])}"]


def test_what_the_image_is_made_of_is_not_hidden_from_its_build() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    script = (ROOT / "build.sh").read_text()
    packed = re.search(r"contents=\((.*)\)", script)
    digested = re.search(r"find (cni plugins ipam) .* sha256sum (.*)$", script, re.MULTILINE)

    assert packed
    assert digested
    words = f"{packed[1]} {digested[1]} {digested[2]} build.sh pyproject.toml".split()
    assert {word for word in words if not word.startswith("dist")} == kept
