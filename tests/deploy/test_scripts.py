"""The scripts: linted, and the one that needs kind walked through with stand-ins."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import lab
from tests.conftest import ROOT

STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>"$SAID"
case "$*" in
*inspect*) echo sha256:0123456789abcdef ;;
"get clusters") echo other ;;
kustomize*) exec %s "$@" ;;
*/version) echo '  "minor": "%s",' ;;
*apply*) cat >"$SAID.applied" ;;
esac
"""


# kubectl of a cluster whose node2 does not answer: its pod does not go, its job does not end
OF_A_LOST_NODE = """#!/bin/sh
echo "$*" >>"$SAID"
case "$*" in
"get daemonset,job,pod"*) cat "$SAID.images" ;;
"delete daemonset"*) echo " registry/pycni:1" >"$SAID.images" ;; # its pod is left
"get pod"*) echo node2 ;;
"get nodes"*) echo node1 node2 ;;
"wait"*) exit 1 ;;
"create"*) { echo ---; cat; } >>"$SAID.jobs" ;;
esac
"""


def scripts() -> list[Path]:
    """Return all shell scripts of the project."""
    found = [ROOT / "build.sh", ROOT / ".ci/run", *(ROOT / "deploy").rglob("*.sh")]
    assert len(found) > 4
    return found


def test_no_script_has_anything_that_shellcheck_finds() -> None:
    lab.run(f"shellcheck {' '.join(map(str, scripts()))}")


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_scripts_can_be_executed(path: Path) -> None:
    assert os.access(path, os.X_OK)


@pytest.fixture(params=["29+", "30"], ids="Kubernetes 1.{}".format)
def minor(request: pytest.FixtureRequest) -> str:
    """Return the version of the cluster, as its API tells it."""
    return str(request.param)


@pytest.fixture
def said(minor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where stand-ins of kind, kubectl and docker say how they were called."""
    kubectl = lab.run("sh -c 'command -v kubectl'").strip()
    for name in ("kind", "kubectl", "docker"):
        (tmp_path / name).write_text(STAND_IN % (kubectl, minor))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.setenv("CLUSTER", "mine")
    return tmp_path / "said"


@pytest.mark.parametrize("network", ["routes", "vxlan"])
def test_a_kind_cluster_is_made_with_the_image_before_the_network(
    said: Path, minor: str, network: str
) -> None:
    lab.run(f"{ROOT}/deploy/kind/up.sh {network}")

    calls = [line.split(" ", 2)[:2] for line in said.read_text().splitlines()]
    order = ["docker build", "kind create", "kind load", "kubectl --context"]
    firsts = [calls.index(words.split()) for words in order]
    assert firsts == sorted(firsts)
    applied = Path(f"{said}.applied").read_text()
    assert "image: localhost/pycni:0123456789ab\n" in applied
    assert "https://mine-control-plane:6443" in applied
    assert f"roles: [warm, {network}, masq]" in applied
    assert ("appArmorProfile:" in applied) == (minor == "30")


def test_a_kind_cluster_has_the_nodes_that_are_asked_for(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(f"{ROOT}/deploy/kind/up.sh")
    monkeypatch.setenv("NODE_IMAGE", "kindest/node:v1.30.0")
    lab.run(f"{ROOT}/deploy/kind/up.sh")

    first, second = (line for line in said.read_text().splitlines() if "kind create" in line)
    assert second == f"{first} --image kindest/node:v1.30.0"


def test_an_unknown_network_is_refused_and_nothing_is_made(said: Path) -> None:
    done = subprocess.run(
        [ROOT / "deploy/kind/up.sh", "flannel"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "routes, vxlan or down" in done.stderr
    assert "kind" not in said.read_text()


def test_a_node_that_does_not_answer_keeps_no_other_from_being_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "kubectl"
    program.write_text(OF_A_LOST_NODE)
    program.chmod(0o755)
    said = tmp_path / "said"
    Path(f"{said}.images").write_text("registry/pycni:1 registry/pycni:1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(said))

    for _ in range(2):
        jobs = Path(f"{said}.jobs")
        jobs.unlink(missing_ok=True)
        done = subprocess.run(
            [ROOT / "deploy/kubernetes/uninstall.sh"], capture_output=True, text=True, check=False
        )

        assert done.returncode == 1
        assert "the agent has not ended on node2" in done.stderr
        assert "some nodes are not clean yet" in done.stderr
        asked = yaml.safe_load_all(jobs.read_text())
        specs = [one["spec"]["template"]["spec"] for one in asked if one]
        assert [one["nodeName"] for one in specs] == ["node1", "node2"]
        assert {one["containers"][0]["image"] for one in specs} == {"registry/pycni:1"}


def test_an_image_is_made_for_the_platform_that_is_named(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE", "docker")
    monkeypatch.setenv("PLATFORM", "linux/arm64")

    lab.run(f"{ROOT}/build.sh image example/pycni:1")

    (call,) = said.read_text().splitlines()
    assert call.startswith("docker build ")
    assert " --platform linux/arm64 " in call
    assert call.endswith(" --tag example/pycni:1 .")


def test_an_old_kubectl_is_told_before_anything_is_made(said: Path) -> None:
    (said.parent / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    done = subprocess.run([ROOT / "deploy/kind/up.sh"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "kubectl must be 1.22 or newer" in done.stderr
    assert said.read_text() == "docker info\n"
