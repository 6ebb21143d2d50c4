"""What a node has: attachments in the runtimes' cache, and host-local's leases.

The two are compared, since each outlives the other's loss: a lease without an attachment is
an address that nobody gives back, an attachment without a namespace one that nobody deleted.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cni.cnictl.screen import Screen
from cni.config import Section
from cni.errors import CniError
from cni.kernel import netns
from cni.leases.store import Store
from cni.runtime import conflist
from cni.runtime.cache import Cache, Entry
from cni.runtime.conflist import ConfList

DATA_DIR = "/var/lib/cni/networks"  # host-local's default
BRIDGE = "cni0"  # bridge's default
OK, NETNS_GONE, NETNS_UNKNOWN = "ok", "netns is gone", "netns unknown"
ATTACHED, UNATTACHED = "attached", "no attachment"


@dataclass(frozen=True)
class Attached:
    """An attachment that some runtime has cached."""

    network: str
    container_id: str
    ifname: str
    addresses: list[str]
    netns: str
    state: str


@dataclass(frozen=True)
class Lease:
    """An address that host-local has given away."""

    network: str
    address: str
    container_id: str
    ifname: str
    data_dir: str
    state: str


@dataclass(frozen=True)
class Node:
    """All of it; `unreadable` are files of the cache that are no entries."""

    attachments: list[Attached]
    leases: list[Lease]
    unreadable: list[str]

    def json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def look(net_d: Path) -> Node:
    """Return what this node has; `net_d` tells more directories of leases."""
    cache = Cache()
    entries = list(cache.entries())
    owners = {
        (one.network, one.container_id, one.ifname) for one in (each.attachment for each in entries)
    }
    leases = [lease for place in _places(entries, net_d) for lease in _leases(place, owners)]
    return Node(
        [_attached(one) for one in entries], leases, [str(one) for one in cache.unreadable()]
    )


def show(screen: Screen, node: Node) -> None:
    """Print it."""
    if node.attachments:
        columns = ("NETWORK", "CONTAINER", "IFNAME", "ADDRESSES", "NETNS", "STATE")
        rows = (
            (
                one.network,
                one.container_id,
                one.ifname,
                " ".join(one.addresses),
                one.netns,
                one.state,
            )
            for one in node.attachments
        )
        screen.table(columns, rows)
    else:
        screen.line("no attachments")
    screen.line()
    if node.leases:
        columns = ("NETWORK", "LEASE", "CONTAINER", "IFNAME", "DATA DIR", "STATE")
        rows = (
            (one.network, one.address, one.container_id, one.ifname, one.data_dir, one.state)
            for one in node.leases
        )
        screen.table(columns, rows)
    else:
        screen.line("no leases")
    for path in node.unreadable:
        screen.line(f"not readable as a cached result: {path}")


def _attached(entry: Entry) -> Attached:
    path = entry.netns or _sandbox(entry)
    state = NETNS_UNKNOWN if not path else OK if netns.exists(path) else NETNS_GONE
    one = entry.attachment
    return Attached(
        one.network, one.container_id, one.ifname, _addresses(entry.result), path, state
    )


def _sandbox(entry: Entry) -> str:
    """Return the netns that the result tells of: libcni before 1.2 kept it nowhere else."""
    with suppress(CniError):
        for interface in Section(entry.result).sections("interfaces"):
            if interface.string("sandbox"):
                return interface.string("sandbox")
    return ""


def _addresses(result: dict[str, Any]) -> list[str]:
    """Return the addresses of a result of any version."""
    section = Section(result)
    with suppress(CniError):
        legacy = [section.section(key).string("ip") for key in ("ip4", "ip6")]
        return [one for one in legacy if one] + [
            ip.string("address") for ip in section.sections("ips")
        ]
    return []


def data_dirs(net_d: Path) -> list[Path]:
    """Return where leases may be, each place once."""
    return _places(list(Cache().entries()), net_d)


def bridges(net_d: Path) -> list[str]:
    """Return the names of the bridges that networks of this node have, each once."""
    found = []
    for plugin in _plugins(Cache().entries(), net_d):
        with suppress(CniError):
            if plugin.string("type") == "bridge":
                found.append(plugin.string("bridge", BRIDGE))
    return list(dict.fromkeys(found))


def _places(entries: Iterable[Entry], net_d: Path) -> list[Path]:
    found = [Path(DATA_DIR)]
    for plugin in _plugins(entries, net_d):
        with suppress(CniError):
            ipam = plugin.section("ipam")
            if ipam.string("type") == "host-local" and ipam.string("dataDir"):
                found.append(Path(ipam.string("dataDir")))
    return list(dict.fromkeys(found))


def _plugins(entries: Iterable[Entry], net_d: Path) -> Iterator[Section]:
    """Yield what the conflists say to plugins: those of attachments, and those in `net_d`."""
    for network in (*_cached_conflists(entries), *conflist.load_all(net_d)):
        yield from map(Section, network.plugins)


def _cached_conflists(entries: Iterable[Entry]) -> Iterator[ConfList]:
    for entry in entries:
        with suppress(CniError):
            yield conflist.from_text(entry.config)


def _leases(place: Path, owners: set[tuple[str, str, str]]) -> Iterator[Lease]:
    """Yield the leases under `place` of every network, by address."""
    for directory in sorted(place.glob("[!.]*/")):
        network = directory.name
        leases = list(Store(str(place), network).leases())
        for address, owner in sorted(leases, key=lambda one: (one[0].version, one[0])):
            if owner.ifname:
                held = (network, *owner) in owners
            else:  # the oldest format: it holds for any interface
                held = (network, owner.container_id) in {one[:2] for one in owners}
            state = ATTACHED if held else UNATTACHED
            yield Lease(network, str(address), *owner, str(place), state)
