"""What is wanted beside what the kernel has, for a person to read; nothing is changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cni.cluster import Cluster
from cni.kernel import link
from cni.kernel.link import Link
from cni.kernel.neighbour import Neighbour
from cni.kernel.netlink import Netlink
from cni.kernel.route import Route
from cni.kernel.vxlan import Tunnel
from cni.overlay import device, entries, plan
from cni.overlay.plan import Device, Entries, Underlay, Ways
from cni.overlay.settings import Settings


@dataclass(frozen=True)
class Row:
    """One object, in the words of iproute2; empty text: not wanted, or not there.

    `node` is the peer that it leads to, empty for this node's own and for what leads nowhere.
    """

    node: str
    kind: str  # device, neighbour, fdb or route
    wanted: str
    found: str


def rows(rtnl: Netlink, settings: Settings, cluster: Cluster) -> Iterator[Row]:
    """Yield a row for each object that is wanted, and for each of ours that is not."""
    underlays = device.underlays(rtnl, cluster)
    devices = plan.devices(cluster.own, settings, underlays)
    present = {version: device.get(rtnl, settings.name(version)) for version in (4, 6)}
    # what leads through a device that is not there has an index that no interface has
    links = {version: found[0].index if found else -version for version, found in present.items()}
    names = _Names(rtnl, {links[version]: settings.name(version) for version in links}, underlays)
    for version, found in present.items():
        wanted = devices.get(version)
        if wanted or found:
            shown = _found(rtnl, names, *found) if found else ""
            yield Row("", "device", _wanted(names, wanted) if wanted else "", shown)
    known = entries.read(rtnl, (index for index in links.values() if index > 0))
    for name, way in Ways(settings).to_all(cluster, underlays, links).items():
        yield from _of_tables(names, name, entries.of((way,)), known)
    yield from _of_tables(names, "", Entries(), known)


def _of_tables(names: "_Names", node: str, wanted: Entries, known: Entries) -> Iterator[Row]:
    """Yield rows about `wanted`, which are then no longer in `known`; without node, the rest."""
    for table in entries.TABLES:
        asked, present = table.of(wanted), table.of(known)
        for key in list(asked if node else present):
            one, other = asked.get(key), present.pop(key, None)
            yield Row(node, table.kind, names.show(one), names.show(other))


class _Names:
    """The interfaces' names by index, looked up once."""

    def __init__(
        self, rtnl: Netlink, known: Mapping[int, str], underlays: Mapping[int, Underlay]
    ) -> None:
        self._rtnl = rtnl
        self._names = {one.index: one.name for one in underlays.values()} | dict(known)

    def of(self, index: int) -> str:
        if index not in self._names:
            found = link.get_by_index(self._rtnl, index)
            self._names[index] = found.name if found else f"#{index}"
        return self._names[index]

    def show(self, entry: Neighbour | Route | None) -> str:
        if isinstance(entry, Neighbour):
            return f"{entry.address} lladdr {entry.mac} dev {self.of(entry.ifindex)}"
        if isinstance(entry, Route):
            return f"{entry.dst} via {entry.gateway} dev {self.of(entry.oif)}"
        return ""


def _wanted(names: _Names, wanted: Device) -> str:
    addresses = " ".join(sorted(map(str, wanted.addresses)))
    return (
        f"{wanted.name} up {wanted.mac} mtu {wanted.mtu} {_show(names, wanted.tunnel)} {addresses}"
    )


def _found(rtnl: Netlink, names: _Names, found: Link, tunnel: Tunnel) -> str:
    addresses = " ".join(sorted(map(str, device.addresses(rtnl, found.index))))
    state = "up" if found.up else "down"
    return f"{found.name} {state} {found.mac} mtu {found.mtu} {_show(names, tunnel)} {addresses}"


def _show(names: _Names, tunnel: Tunnel) -> str:
    learning = "" if tunnel.learning else "no"
    return (
        f"id {tunnel.vni} dstport {tunnel.port} local {tunnel.local} "
        f"dev {names.of(tunnel.parent)} {learning}learning"
    )
