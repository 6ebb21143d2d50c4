"""Who is a peer of whom, and why another is none."""

import json
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.cluster import Node, cluster, describe, read_node, read_nodes
from cni.config import Section
from cni.errors import CniError, Code
from tests.unit.results import EXAMPLES


def node(name: str, addresses: str, networks: str) -> Node:
    return Node(
        name, tuple(map(ip_address, addresses.split())), tuple(map(ip_network, networks.split()))
    )


OWN = node("n1", "10.0.0.1 fd00::1", "10.244.1.0/24 fd00:10:244:1::/64")
PEER = node("n2", "10.0.0.2 fd00::2", "10.244.2.0/24 fd00:10:244:2::/64")


def refusals(*others: Node) -> tuple[str, ...]:
    """Return the alarms for nodes beside OWN and PEER, who must be the only peer."""
    seen = cluster([OWN, PEER, *others], "n1")
    assert seen.peers == (PEER,)
    return seen.alarms


def test_peers_are_all_others_by_name() -> None:
    third = node("n0", "10.0.0.3", "10.244.3.0/24")

    seen = cluster([PEER, OWN, third], "n1")
    assert seen.own == OWN
    assert seen.peers == (third, PEER)
    assert not seen.alarms


def test_a_node_tells_its_address_and_pod_cidr_by_ip_version() -> None:
    assert PEER.address(4) == ip_address("10.0.0.2")
    assert PEER.pod_cidr(6) == ip_network("fd00:10:244:2::/64")
    assert node("n3", "10.0.0.3", "").address(6) is None
    assert node("n3", "10.0.0.3", "").pod_cidr(4) is None


@pytest.mark.parametrize(
    ("networks", "cause"),
    [
        ("10.244.1.0/24", "overlaps that of node n1"),
        ("10.244.1.128/25", "overlaps that of node n1"),
        ("10.244.2.0/24", "overlaps that of node n2"),
        ("10.244.2.5/32", "overlaps that of node n2"),
        ("10.244.0.0/16", "10.244.0.0/16 overlaps that of node"),
        ("10.244.9.0/24 fd00:10:244:2::/64", "overlaps that of node n2"),
        ("fd00:10:244:1:2::/80", "overlaps that of node n1"),
        ("fd00:10:244::/48", "overlaps that of node"),
        ("0.0.0.0/0", "holds the address 10.0.0.9 of a node"),
        ("10.0.0.0/30", "holds the address 10.0.0.1 of a node"),
        ("10.0.0.8/29", "holds the address 10.0.0.9 of a node"),
        ("10.0.0.2/31", "holds the address 10.0.0.2 of a node"),
        ("fd00::2/128", "holds the address fd00::2 of a node"),
        ("", "it has no pod CIDR"),
    ],
)
def test_a_pod_cidr_in_use_elsewhere_is_refused(networks: str, cause: str) -> None:
    (alarm,) = refusals(node("n9", "10.0.0.9", networks))

    assert alarm.startswith("cannot use node n9 as a peer: ")
    assert cause in alarm


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1", "10.0.0.9 fd00::1"])
def test_a_peer_with_the_own_address_is_refused(address: str) -> None:
    (alarm,) = refusals(node("n9", address, "10.244.9.0/24"))

    assert "this node's own" in alarm


@pytest.mark.parametrize(
    ("address", "other"), [("10.244.1.9", "n1"), ("10.244.2.9", "n2"), ("fd00:10:244:2::9", "n2")]
)
def test_a_peer_in_the_pod_cidr_of_another_is_refused(address: str, other: str) -> None:
    """What is sent to it would go to that one."""
    (alarm,) = refusals(node("n9", address, "10.244.9.0/24"))

    assert f"its address {address} lies in a pod CIDR of node {other}" in alarm


def test_a_peer_without_address_is_refused() -> None:
    assert refusals(node("n9", "", "10.244.9.0/24")) == (
        "cannot use node n9 as a peer: it has no address",
    )


def test_of_two_nodes_with_one_pod_cidr_the_first_is_the_peer() -> None:
    """kubernetes/kubernetes#127792: a pod CIDR was given out twice."""
    first, second = (node(name, f"10.0.0.{i}", "10.244.7.0/24") for i, name in ((8, "z"), (9, "a")))

    assert cluster([first, second, OWN], "n1").peers == (first,)
    assert cluster([second, OWN, first], "n1").peers == (second,)


def test_the_own_pod_cidr_is_the_own_wherever_the_own_node_stands() -> None:
    thief = node("n0", "10.0.0.9", "10.244.1.0/24")

    assert not cluster([thief, OWN], "n1").peers


def test_a_refused_node_takes_nothing_from_others() -> None:
    refused = node("n8", "10.0.0.8", "10.244.1.0/24 fd00:10:244:9::/64")
    good = node("n9", "10.0.0.9", "fd00:10:244:9::/64")

    assert cluster([OWN, refused, good], "n1").peers == (good,)


def test_two_nodes_of_one_name_are_no_two_peers() -> None:
    twin = node("n2", "10.0.0.7", "10.244.7.0/24")

    (alarm,) = refusals(twin)
    assert "another one has its name" in alarm


@pytest.mark.parametrize(
    ("nodes", "cause"),
    [
        ([PEER], "cannot find node n1"),
        ([], "cannot find node n1"),
        ([PEER, node("n1", "10.0.0.1", "")], "no pod CIDR yet"),
        ([PEER, node("n1", "", "10.244.1.0/24")], "no address yet"),
    ],
)
def test_there_is_no_cluster_before_the_own_node_is_complete(nodes: list[Node], cause: str) -> None:
    with pytest.raises(CniError, match=cause) as refused:
        cluster(nodes, "n1")

    assert refused.value.code == Code.TRY_AGAIN


NETWORKS = st.builds(
    lambda bits, length: ip_network((0x0AF40000 | bits, length), strict=False),
    st.integers(0, 0xFFFF),
    st.integers(16, 32),
)


@EXAMPLES
@given(st.lists(NETWORKS, max_size=12))
def test_peers_never_overlap_and_no_peer_is_refused_for_nothing(networks: list[Any]) -> None:
    own = node("own", "10.0.0.1", "10.9.9.0/24")
    nodes = [
        Node(f"n{i:02}", (ip_address("10.0.1.1") + i,), (one,)) for i, one in enumerate(networks)
    ]

    seen = cluster([own, *nodes], "own")
    kept: list[Node] = []
    for one in nodes:  # what it must be, told the slow way
        if not any(one.pod_cidrs[0].overlaps(other.pod_cidrs[0]) for other in kept):
            kept.append(one)
    assert list(seen.peers) == kept
    assert len(seen.alarms) == len(nodes) - len(kept)


def test_a_large_cluster_costs_little() -> None:
    nodes = [
        Node(
            f"n{i}",
            (ip_address("10.0.0.0") + i,),
            (ip_network((0x64000000 + (i << 8), 24)), ip_network(((0xFD << 120) + (i << 64), 64))),
        )
        for i in range(1, 5001)
    ]

    before = time.process_time()
    seen = cluster(nodes, "n7")
    assert len(seen.peers) == 4999
    # comparing each with each takes minutes
    assert time.process_time() - before < 5


def test_an_entry_of_a_nodes_file_is_a_node_and_back() -> None:
    assert read_node(Section(describe(PEER))) == PEER
    assert read_node(Section({"name": "n3"})) == Node("n3", (), ())
    assert read_node(Section({"Name": "n3", "podcidrs": ["10.1.2.3/24"]})).pod_cidrs == (
        ip_network("10.1.2.0/24"),
    )


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ({}, "name null"),
        ({"name": 7}, "name 7"),
        ({"name": "a b"}, 'name "a b"'),
        ({"name": "n", "addresses": "10.0.0.1"}, "addresses"),
        ({"name": "n", "addresses": [1]}, r"addresses\[0\] 1"),
        ({"name": "n", "addresses": [""]}, r"addresses\[0\]"),
        ({"name": "n", "addresses": ["10.0.0.1", "ten"]}, r'addresses\[1\] "ten"'),
        ({"name": "n", "addresses": ["10.0.0.1", "10.0.0.2"]}, "at most one of each IP version"),
        ({"name": "n", "addresses": ["127.0.0.1"]}, "other nodes can reach"),
        ({"name": "n", "addresses": ["fe80::1"]}, "other nodes can reach"),
        ({"name": "n", "addresses": ["::"]}, "other nodes can reach"),
        ({"name": "n", "podCIDRs": ["10.1.0.0"]}, r'podCIDRs\[0\] "10.1.0.0"'),
        ({"name": "n", "podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}, "at most one"),
        ({"name": "n", "podCIDRs": {"a": 1}}, "podCIDRs"),
    ],
)
def test_an_entry_of_the_wrong_kind_is_refused_by_name(entry: dict[str, Any], cause: str) -> None:
    with pytest.raises(CniError, match=cause) as refused:
        read_node(Section(entry))

    assert refused.value.code == Code.INVALID_CONFIG


YAML = """
nodes:
  - name: n1   # this one
    addresses: [10.0.0.1, 'fd00::1']
    podCIDRs: [10.244.1.0/24, 'fd00:10:244:1::/64']
  - {name: 2024-01-01}
"""


@pytest.mark.parametrize(
    "text",
    [
        YAML,
        YAML.replace("nodes:\n", ""),
        json.dumps({"nodes": [describe(OWN), {"name": "2024-01-01"}]}),
        json.dumps([describe(OWN), {"name": "2024-01-01"}]),
    ],
    ids=["YAML", "YAML list", "JSON", "JSON list"],
)
def test_a_nodes_file_is_json_or_yaml_by_its_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "nodes").write_text(text)

    assert read_nodes(str(tmp_path / "nodes")) == (OWN, Node("2024-01-01", (), ()))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", "no list of nodes"),
        (b"nodes:", "no list of nodes"),
        (b"7", "no list of nodes"),
        (b"[7]", "nodes"),
        (b'[{"name": "a"', "line 1, column"),
        (b"a: b: c", "line 1, column 5"),
        (b"\xff\xfe", "decode"),
        (b"[" * 100_000, "decode"),
        (b"- " * 100_000, "decode"),
        (b"&a [*a]", "decode"),
        (b"- !!python/object/new:os.system ['true']", "decode"),
        (b"- name: a\n- name: a", "node a occurs twice"),
        (b"- name: a\n- name: b\n  addresses: [x]", r'nodes\[1\].addresses\[0\] "x"'),
    ],
)
def test_a_nodes_file_with_errors_is_refused_with_its_name_and_place(
    tmp_path: Path, text: bytes, cause: str
) -> None:
    path = tmp_path / "nodes"
    path.write_bytes(text)

    with pytest.raises(CniError, match=cause) as refused:
        read_nodes(str(path))

    assert str(path) in str(refused.value)


def test_a_nodes_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CniError, match=f"cannot read nodes file {tmp_path}/x: No such file"):
        read_nodes(str(tmp_path / "x"))
