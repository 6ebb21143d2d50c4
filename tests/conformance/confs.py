"""The smallest useful configuration of each program, in every version of the SPEC."""

from collections.abc import Iterable, Iterator
from itertools import cycle, product
from typing import Any, TypeVar

from cni.programs import PROGRAMS
from cni.versions import NEWEST, SUPPORTED
from tests.lab import Suite
from tests.vpc.agent import place

Case = TypeVar("Case")
Json = dict[str, Any]
LEGACY = SUPPORTED[:2]  # results with ip4 and ip6
OLD = SUPPORTED[2:5]  # ips[] have a version, and dns is always there
NETNS = "/run/netns/pod"
ADDRESS = {"address": "10.1.2.3/24", "gateway": "10.1.2.1"}
SUBNETS = ("10.1.2.0/24", "fd00:1:2::/64")


def conf(program: str, version: str = NEWEST, **keys: Any) -> Json:
    """Return a configuration of `program`; a version of "" leaves cniVersion out."""
    given: Json = {"cniVersion": version} if version else {}
    return given | {"name": "net", "type": program} | _OWN[program](version) | keys


def prev_result(version: str = NEWEST) -> Json:
    """Return the result of a plugin before ours, with one address."""
    if version in ("", *LEGACY):
        return {"ip4": {"ip": ADDRESS["address"], "gateway": ADDRESS["gateway"]}}
    ip: Json = ADDRESS | {"interface": 0}
    if version in OLD:
        ip["version"] = "4"
    return {"interfaces": [{"name": "eth0", "sandbox": NETNS}], "ips": [ip]}


def ipam(version: str = NEWEST) -> Json:
    """Return a host-local section; each version has leases of its own."""
    return {
        "type": "host-local",
        "dataDir": f"/run/leases/{version}",
        "ranges": [[{"subnet": subnet}] for subnet in SUBNETS],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd00::/8", "gw": "fd00:1:2::ffff"}],
    }


def places() -> list[Json]:
    """Return what the node agent has for pods: addresses of the same subnets."""
    return [place(f"10.1.2.{number}", ipv6=[f"fd00:1:2::{number}"]) for number in (2, 3, 4)]


def some(suite: Suite, cases: Iterable[Case]) -> list[Case]:
    """Return all cases, and for the frozen programs, which are the same code, every third."""
    return list(cases)[:: 1 if suite.imported else 3]


def in_turn(cases: Iterable[Case]) -> Iterator[tuple[str, Case]]:
    """Yield each case with the program whose turn it is: what reads it is the same in all."""
    return zip(cycle(PROGRAMS), cases, strict=False)


def on_programs(suite: Suite, cases: Iterable[Case]) -> Iterator[tuple[str, Case]]:
    """Yield each case with each program; the frozen ones, all one file, take turns."""
    return product(PROGRAMS, cases) if suite.imported else in_turn(cases)


def _loopback(_version: str) -> Json:
    return {}


def _with_ipam(version: str) -> Json:
    return {"ipam": ipam(version), "dns": {"nameservers": ["192.0.2.1"], "search": ["a", "é"]}}


def _direct(version: str) -> Json:
    """Return a vxlan that needs no device: the agent's routes would lead to other nodes."""
    return _with_ipam(version) | {"mode": "direct"}


def _of_agent(_version: str) -> Json:
    dns = {"nameservers": ["192.0.2.1"], "search": ["a", "é"]}
    return {"ipam": {"type": "aws-vpc-ipam"}, "dns": dns}


def _portmap(version: str) -> Json:
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    return {"runtimeConfig": {"portMappings": ports}, "prevResult": prev_result(version)}


_OWN = {
    "loopback": _loopback,
    "ptp": _with_ipam,
    "vxlan": _direct,
    "bridge": _with_ipam,
    "aws-vpc": _of_agent,
    "aws-vpc-ipam": _of_agent,
    "host-local": _with_ipam,
    "portmap": _portmap,
}
