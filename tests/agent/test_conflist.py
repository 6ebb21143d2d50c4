"""The conflist that the agent makes of a template, and how it gets to its place."""

import json
import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from cni.agent import conflist
from cni.cluster import Node
from cni.errors import CniError
from tests import faults

V4, V6 = "10.244.1.0/24", "fd00:10:244:1::/64"
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
IPAM: Any = {
    "type": "host-local",
    "ranges": [[{"subnet": "{{PodCIDR}}"}], [{"subnet": "{{PodCIDRv6}}"}]],
    "routes": [*ROUTES, {"dst": "{{ServiceCIDR}}"}],
}
TEMPLATE: Any = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "ptp", "mtu": "{{MTU}}", "ipam": IPAM}, {"type": "portmap"}],
}


def fields(*cidrs: str, mtu: int = 1450) -> conflist.Fields:
    node = Node("node-1", (ip_address("172.18.0.2"),), tuple(map(ip_network, cidrs)))
    return conflist.fields(node, (ip_network("10.244.0.0/16"),), ip_network("10.96.0.0/16"), mtu)


def rendered(template: Any, *cidrs: str) -> Any:
    text = template if isinstance(template, str) else json.dumps(template)
    return json.loads(conflist.render(text, fields(*cidrs)))


@pytest.mark.parametrize(
    ("cidrs", "routes"),
    [((V4,), ROUTES[:1]), ((V6,), ROUTES[1:]), ((V4, V6), ROUTES), ((V6, V4), ROUTES)],
    ids=["IPv4", "IPv6", "both", "IPv6 first"],
)
def test_one_template_serves_every_kind_of_cluster(cidrs: tuple[str, ...], routes: Any) -> None:
    plugin = rendered(TEMPLATE, *cidrs)["plugins"][0]

    assert plugin["ipam"]["ranges"] == [[{"subnet": one}] for one in (V4, V6) if one in cidrs]
    assert plugin["ipam"]["routes"] == [*routes, {"dst": "10.96.0.0/16"}]
    assert plugin["mtu"] == 1450


def test_every_field_has_its_value() -> None:
    names = ["PodCIDR", "PodCIDRv6", "NodeName", "NodeIP", "ClusterCIDR", "ServiceCIDR"]
    plugin = {"type": "x", **{name: f"<{{{{{name}}}}}>" for name in names}}
    text = json.dumps(TEMPLATE | {"plugins": [plugin]}).replace("}]}", ', "mtu": {{MTU}}}]}')

    assert rendered(text, V4, V6)["plugins"][0] == {
        "type": "x",
        "PodCIDR": f"<{V4}>",
        "PodCIDRv6": f"<{V6}>",
        "NodeName": "<node-1>",
        "NodeIP": "<172.18.0.2>",
        "ClusterCIDR": "<10.244.0.0/16>",
        "ServiceCIDR": "<10.96.0.0/16>",
        "mtu": 1450,
    }


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{", "cannot decode the template"),
        ("[]", "cannot decode the template"),
        (TEMPLATE | {"name": "{{NodeNam}}"}, "cannot fill in {{NodeNam}}; fields are PodCIDR,"),
        (TEMPLATE | {"name": "{{PodCIDRv6}}"}, "{{PodCIDRv6}}: this node has no such thing"),
        (TEMPLATE | {"name": "a/b"}, "network name"),
        (TEMPLATE | {"plugins": []}, "no plugins"),
        (TEMPLATE | {"plugins": 1}, "plugins"),
        (TEMPLATE | {"plugins": [{"type": "ptp", "ipam": {"ranges": [{}]}}]}, "ranges"),
        (TEMPLATE | {"plugins": [{"type": "ptp", "ipam": {"ranges": [[1]]}}]}, "ranges"),
        (TEMPLATE | {"plugins": [{"type": "ptp", "ipam": {"routes": [1]}}]}, "routes"),
        (TEMPLATE | {"plugins": [{"type": "ptp", "ipam": 3}]}, "ipam"),
        (TEMPLATE | {"plugins": [{}]}, "type"),
    ],
    ids=str,
)
def test_what_would_be_no_conflist_is_refused(template: Any, said: str) -> None:
    with pytest.raises(CniError) as error:
        rendered(template, V4)

    assert said in str(error.value)


def test_it_is_written_only_when_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "net.d" / "10-x.conflist"

    assert conflist.write(str(path), "one")
    inode = path.stat().st_ino
    assert not conflist.write(str(path), "one")
    assert path.stat().st_ino == inode
    assert conflist.write(str(path), "two")
    assert path.read_text() == "two"


def test_a_runtime_sees_the_old_file_or_the_new_one_wherever_the_writer_dies(
    tmp_path: Path,
) -> None:
    path = tmp_path / "10-x.conflist"
    old, new = "old" * 1000, "new" * 1000
    for count in range(1, faults.LIMIT):
        path.write_text(old)
        child = os.fork()
        if child == 0:
            try:
                faults.stop_at(count, ("cni/agent/conflist.py",), faults.kill)
                conflist.write(str(path), new)
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])

        assert path.read_text() in (old, new)
        assert {one.suffix for one in tmp_path.iterdir()} <= {".conflist", ".new"}
        if not killed:
            break
    assert path.read_text() == new
    assert count > 5
