"""docs/nodes.md is held to the code."""

import re
from dataclasses import fields

import yaml

from cni.agent.nodes.api import PAGE, PASSING, Patience
from cni.agent.nodes.cache import PATH
from cni.agent.nodes.file import SETTLE
from cni.agent.nodes.kubernetes import Pace
from cni.cluster import Node, cluster, describe, read_node
from cni.config import Section
from tests.conftest import ROOT

TEXT = (ROOT / "docs/nodes.md").read_text()
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def test_the_nodes_file_shown_is_a_cluster() -> None:
    nodes = [read_node(section) for section in Section(EXAMPLES[0]).sections("nodes")]
    seen = cluster(nodes, "node1")

    assert [node.name for node in seen.peers] == ["node2"]
    assert not seen.alarms


def test_every_key_of_a_node_is_told() -> None:
    keys = describe(Node("n", (), ()))

    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == set(keys)
    assert len(keys) == len(fields(Node))


def test_the_rights_shown_are_for_nodes_to_be_read() -> None:
    assert EXAMPLES[1]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}
    ]


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    pace, patience = Pace(), Patience()
    *most, last = PASSING

    assert f"{pace.first:g} s, doubled up to {pace.longest:g} s" in TEXT
    assert f"after {pace.healthy:g} s without a failure" in TEXT
    assert f"if the API does not answer within {pace.grace:g} s" in TEXT
    assert f"after {patience.idle + 3 * patience.probe} s (TCP keepalive)" in TEXT
    assert patience.watch * 2 == 600  # ten minutes
    assert f"says {', '.join(map(str, most))} or {last}" in TEXT
    assert f"in pages of {PAGE}" in TEXT
    assert f"`{PATH}`" in TEXT
    assert f"for {SETTLE * 1000:g} ms" in TEXT
