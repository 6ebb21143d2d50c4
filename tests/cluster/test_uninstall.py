"""The network is taken out of a running cluster, and given to it again."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.install import REPLACED
from tests.cluster import deployment, traces
from tests.cluster.cluster import PATIENCE, Cluster
from tests.conftest import ROOT
from tests.runtimes.leftovers import wait_for

SCRIPT = ROOT / "deploy/kubernetes/uninstall.sh"
BIN = "/opt/cni/bin"
FOLDERS = f"{BIN} /etc/cni/net.d /run/pycni /var/lib/pycni /var/lib/cni /run/cni-ipam-state"
RUNTIMES = "/var/lib/cni/results/*"  # what containerd keeps of pods that are still there


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """Return a PATH on which kubectl speaks to the cluster; afterwards it has its network again."""
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(cluster.provider.kubectl)} "$@"\n')
    program.chmod(0o755)
    yield f"{tmp_path}:/usr/bin:/bin"
    deployment.apply(cluster)
    deployment.wait_ready(cluster, *cluster.nodes)


def left_on(cluster: Cluster, node: str) -> dict[str, set[str]]:
    """Return what is on a node where we are: files, tables of the firewall, routes, devices."""
    commands = {
        "files": f"find {FOLDERS} -not -type d -not -path '{RUNTIMES}'",
        "tables": "sh -c 'nft list tables | grep pycni'",
        "routes": "ip route show table all proto 111",
        "devices": "ip -brief link show type vxlan",
    }
    said = {name: cluster.run(node, one, check=False) for name, one in commands.items()}
    return {name: set(lines.splitlines()) for name, lines in said.items() if lines}


def replaced_on(cluster: Cluster, node: str) -> set[str]:
    """Return the programs that ours have replaced: as they were called, and will be again."""
    found = cluster.run(node, f"find {BIN}/{REPLACED} -type f", check=False).splitlines()
    return {path.replace(f"/{REPLACED}/", "/") for path in found}


def test_uninstalling_leaves_every_node_as_it_was(
    cluster: Cluster, kubectl: str, tmp_path: Path
) -> None:
    before = {node: left_on(cluster, node) for node in cluster.nodes}
    replaced = {node: replaced_on(cluster, node) for node in cluster.nodes}

    environment = {"PATH": kubectl, "HOME": str(tmp_path)}
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for node in cluster.nodes:
        assert {"files", "tables", "routes"} <= set(before[node])
        left = left_on(cluster, node)
        assert left.pop("files", set()) == replaced[node]
        assert left == {}
        assert traces.veths(cluster, node) == set()
    wait_for(
        lambda: not any(cluster.node(node).is_ready for node in cluster.nodes),
        "the nodes to say that they have no network",
        PATIENCE,
    )
