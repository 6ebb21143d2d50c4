"""The node's conflist: a template with what the node is in its fields.

    {{PodCIDR}} {{PodCIDRv6}} {{NodeName}} {{NodeIP}} {{ClusterCIDR}} {{ServiceCIDR}} {{MTU}}

One template serves every kind of cluster: of `ipam`, ranges whose field has no value on this
node are left out, and so are default routes of an IP version without a range.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cni.cluster import Node
from cni.config import IPNetwork, Section, decode
from cni.errors import invalid_config
from cni.runtime import conflist

FIELD = re.compile(r'("?)\{\{(\w+)\}\}("?)')  # a number's quotes go with it
NUMBER = "MTU"
DEFAULTS = {"0.0.0.0/0": 4, "::/0": 6}
Json = dict[str, Any]
Fields = Mapping[str, str]  # empty: the node has no such thing


def fields(
    own: Node, cluster_cidrs: tuple[IPNetwork, ...], service_cidr: IPNetwork | None, mtu: int
) -> Fields:
    """Return the values of all fields; `mtu` in bytes."""
    return {
        "PodCIDR": str(own.pod_cidr(4) or ""),
        "PodCIDRv6": str(own.pod_cidr(6) or ""),
        "NodeName": own.name,
        "NodeIP": str(own.addresses[0]),
        "ClusterCIDR": str(cluster_cidrs[0]) if cluster_cidrs else "",
        "ServiceCIDR": str(service_cidr or ""),
        "MTU": str(mtu),
    }


def render(template: str, values: Fields) -> str:
    """Return the conflist as text.  Raises CniError when it would be none."""

    def value(match: re.Match[str]) -> str:
        name = match[2]
        if name not in values:
            msg = f"cannot fill in {{{{{name}}}}}"
            raise invalid_config(msg, f"fields are {', '.join(values)}")
        if not values[name]:
            return match[0]
        return values[name] if name == NUMBER else f"{match[1]}{values[name]}{match[3]}"

    document = decode(FIELD.sub(value, template).encode(), "the template")
    for plugin in Section(document).sections("plugins"):
        _keep_to_the_node(plugin.section("ipam").values)
    text = json.dumps(document, indent=2) + "\n"
    if left := FIELD.search(text):
        raise invalid_config(f"cannot fill in {{{{{left[2]}}}}}: this node has no such thing")
    conflist.from_text(text.encode())
    return text


def _keep_to_the_node(ipam: Json) -> None:
    """Leave out ranges that the node does not have, and default routes of their IP version."""
    section = Section(ipam)
    sets = section.array("ranges")
    if not all(isinstance(each, list) for each in sets):
        raise section.refuse("ranges", "a list of lists of ranges")
    sets = [[one for one in each if not FIELD.search(json.dumps(one))] for each in sets]
    ranges = [one for each in sets for one in Section({"ranges": each}).sections("ranges")]
    subnets = [one for one in (*ranges, section) if one.get("subnet") is not None]
    versions = {one.network("subnet").version for one in subnets}
    if sets:
        ipam["ranges"] = [each for each in sets if each]
    routes = section.sections("routes")
    if routes:
        kept = (one for one in routes if DEFAULTS.get(one.string("dst")) in versions | {None})
        ipam["routes"] = [one.values for one in kept]


def write(path: str, text: str) -> bool:
    """Put the file in place in one step, unless it is there as it is; tell whether it was not.

    Its first name is one that no runtime reads.  Raises OSError.
    """
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        if file.read() == text:
            return False
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    new = os.path.join(directory, f".{name}.new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    return True
