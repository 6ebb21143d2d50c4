"""The network is taken out of a running cluster, and given to it again."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import deployment, traces
from tests.cluster.cluster import PATIENCE, Cluster
from tests.conftest import ROOT
from tests.runtimes.leftovers import wait_for

SCRIPT = ROOT / "deploy/kubernetes/uninstall.sh"
FOLDERS = "/etc/cni/net.d /opt/cni/bin /run/pycni /var/lib/pycni /var/lib/cni /run/cni-ipam-state"


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """Return a PATH on which kubectl speaks to the cluster; afterwards it has its network again."""
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(cluster.provider.kubectl)} "$@"\n')
    program.chmod(0o755)
    yield f"{tmp_path}:/usr/bin:/bin"
    deployment.apply(cluster)
    deployment.wait_ready(cluster, *cluster.nodes)


def left_on(cluster: Cluster, node: str) -> dict[str, str]:
    """Return what is ours on a node: files, tables of the firewall, routes, devices."""
    commands = {
        "files": f"find {FOLDERS} -not -type d",
        "tables": "sh -c 'nft list tables | grep pycni'",
        "routes": "ip route show table all proto 111",
        "devices": "ip -brief link show type vxlan",
    }
    found = {name: cluster.run(node, one, check=False).strip() for name, one in commands.items()}
    return {name: said for name, said in found.items() if said}


def test_uninstalling_leaves_every_node_as_it_was(cluster: Cluster, kubectl: str) -> None:
    before = {node: left_on(cluster, node) for node in cluster.nodes}

    done = subprocess.run(
        [SCRIPT], env={"PATH": kubectl}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for node in cluster.nodes:
        assert {"files", "tables", "routes"} <= set(before[node])
        assert left_on(cluster, node) == {}
        assert traces.veths(cluster, node) == set()
    wait_for(
        lambda: not any(cluster.node(node).is_ready for node in cluster.nodes),
        "the nodes to say that they have no network",
        PATIENCE,
    )
