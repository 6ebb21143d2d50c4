"""What a node of a VPC must have in the kernel besides its pods: a pure function of its ENIs."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, ip_network

from cni.config import IPNetwork
from cni.kernel.route import MAIN, Route
from cni.kernel.rule import Rule
from cni.kernel.vpcrules import Wanted
from cni.vpc.pods import PROTOCOL
from cni.vpc.policy import Policy

MARKED, FROM_ENI = 1024, 32765  # priorities, as the Amazon VPC CNI has them
DEFAULT = ip_network("0.0.0.0/0")


@dataclass(frozen=True)
class Eni:
    """A network interface of the node: `name` is eni-…, `mac` says which of the kernel's it is.

    `address` is its own, with the prefix length of its subnet; `device` its number on the
    instance, 0: the primary.
    """

    name: str
    mac: str
    device: int
    address: IPv4Interface

    @property
    def table(self) -> int:
        """Return the number of its routing table; the primary's is main."""
        return self.device + 1 if self.device else MAIN

    @property
    def gateway(self) -> IPv4Address:
        """Return the subnet's router: the first address after the network's, in every VPC."""
        return self.address.network.network_address + 1


@dataclass(frozen=True)
class VpcHost:
    """A node: its ENIs for pods, and the CIDRs of its VPC.  In Azure, all is on the primary."""

    primary: Eni
    secondary: tuple[Eni, ...] = ()
    vpc_cidrs: tuple[IPNetwork, ...] = ()
    policy: Policy = field(default_factory=Policy)


def rules(host: VpcHost) -> list[Rule]:
    """Return the rules of the routing policy that are the node's own."""
    policy = host.policy
    found = []
    if policy.node_ports or not policy.external_snat:
        mark = policy.mark
        found.append(Rule(4, MARKED, mark=mark, mask=mark, protocol=PROTOCOL))
    for eni in host.secondary:
        own = ip_network(eni.address.ip)
        found.append(Rule(4, FROM_ENI, eni.table, src=own, protocol=PROTOCOL))
    return found


def routes(eni: Eni, index: int) -> list[Route]:
    """Return all that is in the routing table of a secondary ENI, the interface `index`.

    In their order: the gateway is reached by the first.
    """
    direct = Route(ip_network(eni.gateway), index, table=eni.table, protocol=PROTOCOL)
    default = Route(DEFAULT, index, gateway=eni.gateway, table=eni.table, protocol=PROTOCOL)
    return [direct, default]


def firewall(host: VpcHost, name: str) -> Wanted:
    """Return what the firewall's table says; `name` is the interface of the primary."""
    policy = host.policy
    return Wanted(
        primary=name,
        address=host.primary.address.ip,
        vpc=host.vpc_cidrs,
        excluded=policy.excluded,
        snat=not policy.external_snat,
        random=policy.random,
        node_ports=policy.node_ports,
        mark=policy.mark,
    )
