"""What ADD prints for the configurations of `confs`: to the letter, keys in their order.

The order is that of the reference library: alphabetical from 1.0.0 on, and before that the one
in which the SPEC shows the keys.  The text is JSON with four spaces and no newline at the end.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests import lab
from tests.conformance.confs import LEGACY, NETNS, OLD

Json = dict[str, Any]
Form = Callable[[], Json]


def text(program: str, version: str) -> str:
    """Return what `program` prints for a configuration of `version`."""
    form = 0 if version in LEGACY else 1 if version in OLD else 2
    values = _FORMS[program][form]()
    return json.dumps({"cniVersion": version, **values}, indent=4, ensure_ascii=False)


# loopback


def _lo_legacy() -> Json:
    return {"ip4": {"ip": "127.0.0.1/8"}, "ip6": {"ip": "::1/128"}, "dns": {}}


def _lo_old() -> Json:
    return {
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": NETNS}],
        "ips": [
            {"version": "4", "interface": 0, "address": "127.0.0.1/8"},
            {"version": "6", "interface": 0, "address": "::1/128"},
        ],
        "dns": {},
    }


def _lo() -> Json:
    return {
        "interfaces": [{"mac": "00:00:00:00:00:00", "name": "lo", "sandbox": NETNS}],
        "ips": [
            {"address": "127.0.0.1/8", "interface": 0},
            {"address": "::1/128", "interface": 0},
        ],
    }


# host-local: no interfaces, and no dns of the configuration


def _lease_legacy() -> Json:
    return {
        "ip4": {"ip": "10.1.2.2/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "ip6": {
            "ip": "fd00:1:2::2/64",
            "gateway": "fd00:1:2::1",
            "routes": [{"dst": "fd00::/8", "gw": "fd00:1:2::ffff"}],
        },
        "dns": {},
    }


def _lease_old() -> Json:
    return {
        "ips": [
            {"version": "4", "address": "10.1.2.2/24", "gateway": "10.1.2.1"},
            {"version": "6", "address": "fd00:1:2::2/64", "gateway": "fd00:1:2::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd00::/8", "gw": "fd00:1:2::ffff"}],
        "dns": {},
    }


def _lease() -> Json:
    return {
        "ips": [
            {"address": "10.1.2.2/24", "gateway": "10.1.2.1"},
            {"address": "fd00:1:2::2/64", "gateway": "fd00:1:2::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd00::/8", "gw": "fd00:1:2::ffff"}],
    }


# ptp and bridge: names and MACs are those of the links in the kernel

DNS = {"nameservers": ["192.0.2.1"], "search": ["a", "é"]}


def _links(*kinds: str) -> list[Json]:
    """Return the host's links of these kinds, one of each, and the container's."""
    links: list[tuple[Json, Json]]
    links = [(lab.ip(f"link show type {kind}")[0], {}) for kind in kinds]
    links.append((lab.ip("link show eth0", netns="pod")[0], {"sandbox": NETNS}))
    return [{"name": one["ifname"], "mac": one["address"]} | more for one, more in links]


def _veth_legacy(lease: Form = _lease_legacy) -> Json:
    return lease() | {"dns": DNS}


def _veth_old(*kinds: str, given: Form = _lease_old) -> Json:
    links, lease = _links(*kinds), given()
    return {
        "interfaces": links,
        "ips": [
            {"version": ip["version"], "interface": len(links) - 1} | ip  # where the key stands
            for ip in lease["ips"]
        ],
        "routes": lease["routes"],
        "dns": DNS,
    }


def _veth(*kinds: str, given: Form = _lease, mtu: int = 1500) -> Json:
    links, lease = _links(*kinds), given()
    return {
        "dns": DNS,
        "interfaces": [dict(sorted({**link, "mtu": mtu}.items())) for link in links],
        "ips": [ip | {"interface": len(links) - 1} for ip in lease["ips"]],
        "routes": lease["routes"],
    }


# aws-vpc and its IPAM: addresses alone, behind the host


def _alone_legacy() -> Json:
    return {
        "ip4": {"ip": "10.1.2.2/32", "gateway": "169.254.1.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "ip6": {"ip": "fd00:1:2::2/128", "gateway": "fe80::1", "routes": [{"dst": "::/0"}]},
        "dns": {},
    }


def _alone_old() -> Json:
    return {
        "ips": [
            {"version": "4", "address": "10.1.2.2/32", "gateway": "169.254.1.1"},
            {"version": "6", "address": "fd00:1:2::2/128", "gateway": "fe80::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        "dns": {},
    }


def _alone() -> Json:
    return {
        "ips": [
            {"address": "10.1.2.2/32", "gateway": "169.254.1.1"},
            {"address": "fd00:1:2::2/128", "gateway": "fe80::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }


# portmap: the previous result


def _chained_legacy() -> Json:
    return {"ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1"}, "dns": {}}


def _chained_old() -> Json:
    ip = {"version": "4", "interface": 0, "address": "10.1.2.3/24", "gateway": "10.1.2.1"}
    return {"interfaces": [{"name": "eth0", "sandbox": NETNS}], "ips": [ip], "dns": {}}


def _chained() -> Json:
    ip = {"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 0}
    return {"interfaces": [{"name": "eth0", "sandbox": NETNS}], "ips": [ip]}


_FORMS: dict[str, tuple[Form, ...]] = {
    "loopback": (_lo_legacy, _lo_old, _lo),
    "host-local": (_lease_legacy, _lease_old, _lease),
    "ptp": (_veth_legacy, partial(_veth_old, "veth"), partial(_veth, "veth")),
    "vxlan": (_veth_legacy, partial(_veth_old, "veth"), partial(_veth, "veth")),
    "bridge": (
        _veth_legacy,
        partial(_veth_old, "bridge", "veth"),
        partial(_veth, "bridge", "veth"),
    ),
    "aws-vpc": (
        partial(_veth_legacy, _alone_legacy),
        partial(_veth_old, "veth", given=_alone_old),
        partial(_veth, "veth", given=_alone, mtu=9001),
    ),
    "aws-vpc-ipam": (_alone_legacy, _alone_old, _alone),
    "portmap": (_chained_legacy, _chained_old, _chained),
}
