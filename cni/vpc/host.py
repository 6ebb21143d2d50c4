"""What a node of a VPC must have in the kernel besides its pods; the node agent calls this.

    report = ensure(VpcHost(primary=Eni(…), secondary=(Eni(…), …), vpc_cidrs=(…), policy=…))
at the start, after each change and from time to time: it reads all, changes what differs, and says
what that was.  Addresses of an ENI that is not in `report.enis` are not to be given to pods.  An
ENI that VpcHost does not name any more loses its table and rule.

    primary      up, MTU, rp_filter loose; its addresses and routes are left alone
    secondary    up, MTU, only the ENI's own address, no route to its subnet in main, and
                 table 2: 10.0.1.1 dev eth1 scope link; default via 10.0.1.1 dev eth1
                 32765: from <the ENI's own address> lookup 2
    1024         from all fwmark 0x80/0x80 lookup main
    nf_tables    cni/kernel/vpcrules.py
    and rules of pods (512, 1536) go with them, and come back when somebody has flushed them
cni/vpc/plan.py says what is wanted.  Addresses of pods are on no interface: cni/vpc/pods.py.
"""

from collections import Counter
from dataclasses import dataclass

from cni.config import IPInterface
from cni.errors import CniError, Code, KernelError
from cni.kernel import address, forwarding, link, route, rule, sysctl, vpcrules
from cni.kernel.declared import Keeper
from cni.kernel.link import Link
from cni.kernel.netlink import ROUTE, Netlink
from cni.kernel.route import Route
from cni.vpc import plan, pods
from cni.vpc.plan import FROM_ENI, MARKED, Eni, VpcHost
from cni.vpc.pods import PROTOCOL

STACKED = ("vlan", "macvlan", "ipvlan", "macvtap", "bridge")  # they may have the MAC of another
KERNEL = 2  # RTPROT_KERNEL
LOOSE = 2  # rp_filter: the source must be reachable, by whatever interface


@dataclass(frozen=True)
class Report:
    """What a pass did: objects `wanted`, how many it changed by kind, what it could not do.

    `enis` are those, by name, whose pods can talk.
    """

    wanted: int
    repairs: dict[str, int]
    alarms: tuple[str, ...]
    enis: frozenset[str]


def ensure(host: VpcHost) -> Report:
    """Make the node what `host` says.  Raises CniError without the primary, and KernelError."""
    one = _Pass(host)
    with Netlink(ROUTE) as rtnl:
        name = one.primary(rtnl)
        for eni in host.secondary:
            one.secondary(rtnl, eni)
        one.clear_tables(rtnl)
        one.rules(rtnl)
    forwarding.switch_on((4,))
    keeper = Keeper()
    one.repairs.update(keeper.reconcile(vpcrules.declare(plan.firewall(host, name)), full=True))
    return Report(one.wanted + keeper.count, dict(one.repairs), tuple(one.alarms), one.enis)


def delete_routing() -> None:
    """Take rules and routes from the node, those of pods too; interfaces stay as they are."""
    with Netlink(ROUTE) as rtnl:
        found = [one for version in (4, 6) for one in rule.list_all(rtnl, version)]
        rule.change(rtnl, [one for one in found if one.protocol == PROTOCOL], ())
        for one in list(route.list_all(rtnl, 4, route.ANY, protocol=PROTOCOL)):
            rtnl.do(route.delete(one))


def _find(rtnl: Netlink, mac: str) -> Link | None:
    """Return the interface of that MAC; not one that is stacked on it, or below it.

    Azure's accelerated networking has a second one of the same MAC, subordinate to the first.
    """
    for one in link.list_all(rtnl):
        if one.mac == mac.casefold() and not one.master and one.kind not in STACKED:
            return one
    return None


class _Pass:
    """One pass: what it changed, by kind, and the ENIs that are in order."""

    def __init__(self, host: VpcHost) -> None:
        self._host = host
        self.wanted = 0
        self.repairs: Counter[str] = Counter()
        self.alarms: list[str] = []
        self.enis: frozenset[str] = frozenset()

    def primary(self, rtnl: Netlink) -> str:
        """Put the primary in order; return the name of its interface."""
        eni = self._host.primary
        found = _find(rtnl, eni.mac)
        if found is None:
            msg = f"cannot find the primary interface: none has the MAC {eni.mac} of {eni.name}"
            raise CniError(Code.UNAVAILABLE, msg, "is this the node that the cloud says?")
        self._link(rtnl, found)
        # what comes in for a pod may have its way back by another interface
        key = f"ipv4/conf/{found.name}/rp_filter"
        tight = sysctl.read(key) != str(LOOSE)
        if tight:
            sysctl.write(key, str(LOOSE))
        self._count("sysctl", 1, int(tight))
        self.enis |= {eni.name}
        return found.name

    def secondary(self, rtnl: Netlink, eni: Eni) -> None:
        """Put a secondary ENI in order; what cannot be is told, and the others go on."""
        found = _find(rtnl, eni.mac)
        if found is None:
            self.alarms.append(f"{eni.name} has no interface yet: none has the MAC {eni.mac}")
            return
        try:
            self._link(rtnl, found)
            self._addresses(rtnl, eni, found)
            self._routes(rtnl, eni, found)
        except KernelError as error:
            self.alarms.append(f"{eni.name} cannot be used: {error}")
            return
        self.enis |= {eni.name}

    def _link(self, rtnl: Netlink, found: Link) -> None:
        mtu = self._host.policy.mtu
        changes = []
        if mtu and found.mtu != mtu:
            changes.append(link.set_mtu(found.index, found.name, mtu))
        if not found.up:
            changes.append(link.set_up(found.index, found.name))
        rtnl.do(*changes)
        self._count("link", 1, len(changes))

    def _addresses(self, rtnl: Netlink, eni: Eni, found: Link) -> None:
        """Leave the ENI's own address alone on it: others there are a pod's, or will be."""

        def present() -> list[IPInterface]:
            return [one for one in address.get(rtnl, found.index) if one.version == 4]

        others = [one for one in present() if one != eni.address]
        for one in others:
            rtnl.do(address.delete(found.index, found.name, one))
        missing = eni.address not in present()  # it may go along with another
        if missing:
            rtnl.do(address.add(found.index, found.name, eni.address, prefix_route=False))
        self._count("address", 1, len(others) + missing)
        # packets to the subnet leave by the primary, whatever put the address here
        made = [
            one
            for one in route.list_all(rtnl, 4, protocol=KERNEL)
            if one.oif == found.index and one.dst == eni.address.network
        ]
        rtnl.do(*map(route.delete, made))
        self._count("route", 0, len(made))

    def _routes(self, rtnl: Netlink, eni: Eni, found: Link) -> None:
        """Make the ENI's table hold its two routes and nothing else."""
        wanted = plan.routes(eni, found.index)
        known = set(map(_key, wanted))
        present = set(map(_key, route.list_all(rtnl, 4, eni.table)))
        missing = [one for one in wanted if _key(one) not in present]
        rtnl.do(*map(route.replace, missing))
        others = [one for one in route.list_all(rtnl, 4, eni.table) if _key(one) not in known]
        rtnl.do(*map(route.delete, others))
        self._count("route", len(wanted), len(missing) + len(others))

    def clear_tables(self, rtnl: Netlink) -> None:
        """Remove the routes of ENIs that are gone from VpcHost, but not from the node."""
        tables = {eni.table for eni in self._host.secondary}
        present = list(route.list_all(rtnl, 4, route.ANY, protocol=PROTOCOL))
        others = [one for one in present if one.table not in tables]
        rtnl.do(*map(route.delete, others))
        self._count("route", 0, len(others))

    def rules(self, rtnl: Netlink) -> None:
        """Make the node's rules as planned, and those of pods: of living ones, no others."""
        wanted = plan.rules(self._host)
        present = [
            one
            for one in rule.list_all(rtnl, 4)
            if one.protocol == PROTOCOL and one.priority in (MARKED, FROM_ENI)
        ]
        others = [one for one in present if one not in wanted]
        missing = [one for one in wanted if one not in present]
        gone, lacking = pods.compare(rtnl)
        rule.change(rtnl, [*others, *gone], [*missing, *lacking])
        self._count("rule", len(wanted), len(others) + len(missing) + len(gone) + len(lacking))

    def _count(self, kind: str, wanted: int, changed: int) -> None:
        self.wanted += wanted
        if changed:
            self.repairs[kind] += changed


def _key(one: Route) -> tuple[object, ...]:
    """Return what makes a route of an ENI's table the one that is wanted."""
    return one.dst, one.oif, one.gateway, one.protocol, one.priority
