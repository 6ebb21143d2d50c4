"""What is read of the Kubernetes API's objects: of a Node of ten kilobytes, ten words.

Sources: the API reference (core/v1 Node; meta/v1 ListMeta, Status, WatchEvent).
"""

import json
from dataclasses import dataclass
from typing import Any

from cni.cluster import Node, is_node_address, one_a_version
from cni.config import IPAddress, Section
from cni.errors import invalid_config
from cni.names import IDENTIFIER

# Names of keys, at any depth.  All else is dropped while it is parsed: a page of 500 nodes would
# take 25 MB for a moment, and Python gives little of that back to the system.
KEPT = {
    *("metadata", "name", "resourceVersion", "creationTimestamp", "items", "continue"),
    *("spec", "podCIDR", "podCIDRs"),
    *("status", "addresses", "address", "conditions", "type"),
    *("object", "code", "message"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A node, and what tells which of two nodes with one pod CIDR is the one that lives.

    `rank` sorts: ready nodes before others, older ones before younger.
    """

    node: Node
    rank: tuple[bool, str, str]


def decode(text: bytes) -> Section:
    """Return the JSON object in `text`, with the keys in KEPT.  Raises ValueError."""
    value = json.loads(text, object_hook=_keep)
    if not isinstance(value, dict):
        message = f"it is a {type(value).__name__}"
        raise ValueError(message)  # noqa: TRY004  # to the caller it is JSON of the wrong kind
    return Section(value)


def _keep(value: dict[str, Any]) -> dict[str, Any]:
    return {key: value[key] for key in value if key in KEPT}


def name(item: Section) -> str:
    """Return the name of a Node.  Raises CniError when it has none."""
    metadata = item.section("metadata")
    text = metadata.string("name")
    if not IDENTIFIER.fullmatch(text):
        raise metadata.refuse("name", "the name of a node")
    return text


def version(item: Section) -> str:
    """Return the resourceVersion of an object or list.  Raises CniError when it has none."""
    metadata = item.section("metadata")
    text = metadata.string("resourceVersion")
    if not text:
        raise metadata.refuse("resourceVersion", "told")
    return text


def entry(item: Section) -> Entry:
    """Return what a Node says of itself.  Raises CniError when it is no Node."""
    spec, metadata = item.section("spec"), item.section("metadata")
    networks = spec.networks("podCIDRs")
    if not networks and spec.string("podCIDR"):
        networks = (spec.network("podCIDR"),)
    node = Node(name(item), one_a_version(_addresses(item)), one_a_version(networks))
    return Entry(node, (not _ready(item), metadata.string("creationTimestamp"), node.name))


def _addresses(item: Section) -> list[IPAddress]:
    found = []
    for one in item.section("status").sections("addresses"):
        if one.string("type") == "InternalIP":
            address = one.address("address")
            if address is None:
                raise invalid_config(f"cannot use {one.path('address')}: it is empty")
            if is_node_address(address):
                found.append(address)
    return found


def _ready(item: Section) -> bool:
    return any(
        one.string("type") == "Ready" and one.string("status") == "True"
        for one in item.section("status").sections("conditions")
    )
