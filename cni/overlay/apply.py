"""The kernel of this node, brought to what the cluster asks for.

A full pass reads all that is ours in the kernel; a quick one trusts what the last pass left, so
the change of one node among thousands costs a few requests.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cni.cluster import Cluster
from cni.errors import CniError, Code
from cni.kernel.netlink import ROUTE, Netlink
from cni.overlay import device, difference, entries, plan
from cni.overlay.difference import Row
from cni.overlay.plan import Entries, Underlay, Ways
from cni.overlay.settings import DIRECT, Settings

VERSIONS = (4, 6)


@dataclass(frozen=True)
class Report:
    """What a pass did: the objects `wanted` in the kernel, how many it changed by kind, alarms.

    The kinds are device, address, neighbour, fdb, route and sysctl; `alarms` has the cluster's too.
    `mtu` is what the node's pods should have, in bytes.
    """

    wanted: int
    repairs: Mapping[str, int]
    alarms: tuple[str, ...]
    mtu: int


class Overlay:
    """The ways to other nodes' pods, in the network namespace of the calling thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._ways = Ways(settings)
        self._known: Entries | None = None

    def reconcile(self, cluster: Cluster, *, full: bool) -> Report:
        """Bring the kernel to what `cluster` asks for; only a `full` pass reads what is there.

        Raises CniError or KernelError when that cannot be: as much of it as can be is done then,
        what works stays as it is, and the next pass is a full one.
        """
        known, self._known = None if full else self._known, None
        repairs: Counter[str] = Counter()
        with Netlink(ROUTE) as rtnl:
            underlays = device.underlays(rtnl, cluster)
            links, lost = self._ensure_devices(rtnl, cluster, underlays, repairs)
            ways = self._ways.to_all(cluster, underlays, links)
            wanted = entries.of(ways.values())
            if known is None or lost:
                known = entries.read(rtnl, links.values())
            blocked = entries.apply(rtnl, entries.compare(wanted, known), repairs)
            self._remove_devices(rtnl, links, repairs)
            alarms = [*entries.blocked_alarms(rtnl, blocked)]
        if not blocked:
            self._known = wanted
        alarms += (alarm for way in ways.values() for alarm in way.alarms)
        alarms += plan.mtu_alarms(self.settings, underlays)
        if links:
            filtering = [self.settings.name(version) for version in links]
            filtering += [underlays[4].name] if 4 in underlays else []
            repairs.update(sysctl=device.loosen_filters(filtering))
            alarms += device.filter_alarms(filtering)
        return Report(
            wanted.count() + len(links),
            +repairs,
            (*cluster.alarms, *alarms),
            plan.pod_mtu(cluster.own, self.settings, underlays),
        )

    def _ensure_devices(
        self,
        rtnl: Netlink,
        cluster: Cluster,
        underlays: Mapping[int, Underlay],
        repairs: Counter[str],
    ) -> tuple[dict[int, int], bool]:
        """Return the devices' indices by IP version, and whether one of them lost its entries."""
        links, lost = {}, False
        for version, wanted in plan.devices(cluster.own, self.settings, underlays).items():
            ensured = device.ensure(rtnl, wanted)
            links[version], lost = ensured.index, lost or ensured.lost
            repairs.update(device=ensured.mended, address=ensured.addresses)
        return links, lost

    def _remove_devices(
        self, rtnl: Netlink, kept: Mapping[int, int], repairs: Counter[str]
    ) -> None:
        """Remove the devices that are not `kept`: no route leads through them any more."""
        names = [self.settings.name(version) for version in VERSIONS if version not in kept]
        for name in (*names, device.TRIAL):
            repairs.update(device=device.remove(rtnl, name))

    def difference(self, cluster: Cluster) -> list[Row]:
        """Return each object that is wanted, or ours, beside what the kernel has."""
        with Netlink(ROUTE) as rtnl:
            return list(difference.rows(rtnl, self.settings, cluster))

    def require(self) -> int:
        """Return the MTU of pods by devices that another process keeps; 0: the kernel's own.

        Raises CniError code 11 unless they are there, and up.
        """
        if self.settings.mode == DIRECT:
            return self.settings.mtu
        names = [self.settings.name(version) for version in VERSIONS]
        with Netlink(ROUTE) as rtnl:
            found = [one for one in (device.get(rtnl, name) for name in names) if one]
        down = [one.name for one, _ in found if not one.up]
        if down or not found:
            msg = "cannot reach other nodes: "
            msg += f"{' and '.join(down)} is down" if down else f"{names[0]} is missing"
            raise CniError(Code.TRY_AGAIN, msg, "the node agent makes and mends it: does it run?")
        mtu = min(one.mtu for one, _ in found)
        return min(self.settings.mtu or mtu, mtu)

    def require_free(self, cluster: Cluster) -> None:
        """Raise CniError when a pass could not make the devices; nothing is changed."""
        with Netlink(ROUTE) as rtnl:
            underlays = device.underlays(rtnl, cluster)
            for wanted in plan.devices(cluster.own, self.settings, underlays).values():
                device.require_free(rtnl, wanted)

    def delete(self) -> None:
        """Remove all that is ours in the kernel; it may be gone."""
        self._known = None
        with Netlink(ROUTE) as rtnl:
            ours = entries.read(rtnl, ())
            entries.apply(rtnl, entries.compare(Entries(), ours), Counter())
            self._remove_devices(rtnl, {}, Counter())
