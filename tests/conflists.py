"""Conflists: the project's own, and those that other projects ship, to the letter.

| tests/shipped/ | where it comes from |
|---|---|
| 10-containerd-net.conflist | containerd 1.6, script/setup/install-cni |
| 10-crio-bridge.conflist, 11-crio-ipv4-bridge.conflist | CRI-O 1.26 and later, contrib/cni |
| nerdctl-bridge.conflist | what nerdctl 1 writes for its default network |
| nomad.conflist | what Nomad keeps in memory for network mode "bridge", with its defaults |

podman's is read where Debian's package puts it.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.networks import Json

TESTS = Path(__file__).resolve().parent
VPC_PODS = {  # of the conflists of a VPC: two pods of one node
    "aws-vpc": ("10.0.1.11", "10.0.1.21"),  # on the primary ENI, on a secondary one
    "azure": ("10.0.1.11", "10.0.1.12"),
}


@dataclass(frozen=True)
class Conflist:
    """A conflist in a file, and what it promises to pods."""

    path: Path

    @cached_property
    def json(self) -> Json:
        parsed: Json = json.loads(self.path.read_text())
        return parsed

    @property
    def name(self) -> str:
        return str(self.json["name"])

    @property
    def types(self) -> list[str]:
        """Return the programs of the chain, in their order."""
        return [plugin["type"] for plugin in self.json["plugins"]]

    @property
    def interface(self) -> Json:
        """Return the link of the chain that makes the interface: the one with addresses."""
        (found,) = (plugin for plugin in self.json["plugins"] if "ipam" in plugin)
        return dict(found)

    @property
    def reflects(self) -> bool:
        """Tell whether a pod is promised that it reaches itself through a host port.

        A bridge whose packets go through the firewall (sysctl bridge-nf-call-iptables) must send
        them back where they came from.
        """
        return "bridge" not in self.interface or bool(self.interface.get("hairpinMode"))

    @property
    def of_agent(self) -> bool:
        """Tell whether the addresses are those of a VPC, which the node agent gives."""
        return bool(self.interface["ipam"]["type"] == "aws-vpc-ipam")

    @property
    def subnets(self) -> list[str]:
        return [one["subnet"] for (one,) in self.interface["ipam"]["ranges"]]

    @property
    def gateways(self) -> list[str]:
        """Return the gateway in each subnet: the first address of it; of a VPC, the pods'."""
        if self.of_agent:
            return ["169.254.1.1"]
        return [self.pod_address(subnet, 0) for subnet in self.subnets]

    def pod_addresses(self, number: int) -> tuple[str, ...]:
        """Return the addresses of the pod that is the first, the second … to come.

        Of a VPC, those of the tests' world (tests.vpc.nodes).
        """
        if self.of_agent:
            return (VPC_PODS[self.name][number - 1],)
        return tuple(self.pod_address(subnet, number) for subnet in self.subnets)

    @staticmethod
    def pod_address(subnet: str, number: int) -> str:
        return str(ip_network(subnet)[1 + number])


def all_own() -> dict[str, Conflist]:
    """Return the project's conflists by name: `10-kindnet.conflist` is `kindnet`."""
    paths = sorted((TESTS.parent / "conflists").glob("*.conflist"))
    return {path.stem.partition("-")[2]: Conflist(path) for path in paths}


def own() -> dict[str, Conflist]:
    """Return those that need no agent."""
    return {name: one for name, one in all_own().items() if not one.of_agent}


def of_vpc() -> dict[str, Conflist]:
    """Return those whose addresses the node agent gives."""
    return {name: one for name, one in all_own().items() if one.of_agent}


def shipped() -> dict[str, Conflist]:
    """Return the conflists of others by file name."""
    return {path.stem: Conflist(path) for path in sorted((TESTS / "shipped").iterdir())}


PODMAN = Conflist(Path("/etc/cni/net.d/87-podman-bridge.conflist"))


def kindnet(pod_cidrs: list[str], mtu: int = 0) -> dict[str, Any]:
    """Return the list as kind's agent writes it; `mtu` in bytes, 0: the key is left out."""
    conflist: Json = json.loads(own()["kindnet"].path.read_text())
    ptp = conflist["plugins"][0]
    ptp["ipam"] |= {
        "routes": [{"dst": "::/0" if ":" in cidr else "0.0.0.0/0"} for cidr in pod_cidrs],
        "ranges": [[{"subnet": cidr}] for cidr in pod_cidrs],
    }
    del ptp["mtu"]
    if mtu:
        ptp["mtu"] = mtu
    return conflist
