"""The role masq: what the node's own firewall table says of this cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from cni.agent.settings import VXLAN, Settings
from cni.cluster import Cluster
from cni.kernel.clusterrules import Wanted, declare
from cni.kernel.declared import Keeper
from cni.kernel.netlink import NETFILTER, Netlink
from cni.kernel.ruleset import MAPS
from cni.overlay.settings import DIRECT


@dataclass(frozen=True)
class Report:
    """What a pass did: rules and elements `wanted`, how many it changed, alarms."""

    wanted: int
    repairs: Mapping[str, int]
    alarms: tuple[str, ...]


class Masquerade:
    """The table, in the network namespace of the calling thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._table = settings, Keeper()
        self._alarms: tuple[str, ...] = ()

    def reconcile(self, cluster: Cluster, *, full: bool) -> Report:
        """Make the table what the cluster asks for.  Raises KernelError."""
        repairs = self._table.reconcile(declare(plan(cluster, self._settings)), full=full)
        if full:
            self._alarms = tuple(_doubles(cluster))
        return Report(self._table.count, repairs, self._alarms)


def plan(cluster: Cluster, settings: Settings) -> Wanted:
    """Return what the table must say."""
    nodes = (cluster.own, *cluster.peers)
    tunnel = settings.overlay
    wraps = VXLAN in settings.roles and tunnel.mode != DIRECT
    return Wanted(
        pods=cluster.own.pod_cidrs,
        cluster=(
            *settings.cluster_cidrs,
            *settings.excluded,
            *(cidr for node in nodes for cidr in node.pod_cidrs),
        ),
        nodes=tuple(address for node in nodes for address in node.addresses),
        port=tunnel.port if wraps else 0,
        devices=tuple(tunnel.name(version) for version in (4, 6)) if wraps else (),
        fully_random=settings.fully_random,
    )


def _doubles(cluster: Cluster) -> list[str]:
    """Return an alarm when networks masquerade their pods themselves: then other pods see it."""
    with Netlink(NETFILTER) as netlink:
        addresses = [
            ip_address(element.key)
            for maps in MAPS.values()
            for element in maps["masquerade"].elements(netlink)
        ]
    found = [one for one in addresses if any(one in cidr for cidr in cluster.own.pod_cidrs)]
    if not found:
        return []
    text = "their network masquerades them too, also to other pods: set its ipMasq to false"
    return [f"{len(found)} addresses of pods, {found[0]} for one: {text}"]
