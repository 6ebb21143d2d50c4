"""Neighbours, FDB entries and routes: read from the kernel, compared, and changed.

Neighbours and FDB entries are ours by the device they are on, routes by their protocol number.
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from cni.kernel import fdb, neighbour, route
from cni.kernel.netlink import TOGETHER, Netlink, Request
from cni.kernel.route import Route
from cni.overlay.plan import Entries, Way
from cni.overlay.settings import PROTOCOL

GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV)  # what is to be deleted is not there


class Table(NamedTuple):
    """A kind of entries: which they are, and the requests about one."""

    kind: str
    of: Callable[[Entries], dict[Any, Any]]
    add: Callable[[Any], Request]
    replace: Callable[[Any], Request]
    delete: Callable[[Any], Request]


# In the order in which a peer is added: behind a route alone, the kernel would ask for a MAC.
TABLES = (
    Table(
        "neighbour",
        lambda entries: entries.neighbours,
        neighbour.replace,
        neighbour.replace,
        neighbour.delete,
    ),
    Table("fdb", lambda entries: entries.fdb, fdb.replace, fdb.replace, fdb.delete),
    Table("route", lambda entries: entries.routes, route.add, route.replace, route.delete),
)


class Change(NamedTuple):
    """What is to be done about one entry, and which refusals say that it is done already."""

    kind: str
    entry: Any
    request: Request
    fine: tuple[int, ...] = ()


def of(ways: Iterable[Way]) -> Entries:
    """Return all entries of `ways`."""
    found = Entries()
    for way in ways:
        found.add_neighbours(way.neighbours)
        found.add_fdb(way.fdb)
        found.add_routes(way.routes)
    return found


def read(rtnl: Netlink, links: Iterable[int]) -> Entries:
    """Return the kernel's entries that are ours; `links` are the indices of our devices."""
    found = Entries()
    for index in links:
        found.add_neighbours(neighbour.list_permanent(rtnl, index))
        found.add_fdb(fdb.list_permanent(rtnl, index))
    for version in (4, 6):
        found.add_routes(route.list_all(rtnl, version, protocol=PROTOCOL))
    return found


def compare(wanted: Entries, known: Entries) -> Iterator[Change]:
    """Yield what makes `wanted` of `known`: first all that is to be, then what is not."""
    for table in TABLES:
        present = table.of(known)
        for key, one in table.of(wanted).items():
            old = present.get(key)
            if old is None:
                yield Change(table.kind, one, table.add(one))
            elif old != one:
                yield Change(table.kind, one, table.replace(one))
    for table in reversed(TABLES):
        asked = table.of(wanted)
        for key, one in table.of(known).items():
            if key not in asked:
                yield Change(table.kind, one, table.delete(one), GONE)


def apply(rtnl: Netlink, changes: Iterator[Change], made: Counter[str]) -> list[Change]:
    """Make `changes`, count them by kind; return those that stand in the way of others' routes.

    Raises the first refusal of any other kind, after all have been tried.
    """
    blocked, refused = [], []
    while some := list(islice(changes, TOGETHER)):
        refusals = rtnl.do_each([change.request for change in some])
        made.update(one.kind for n, one in enumerate(some) if n not in refusals)
        for position, error in refusals.items():
            if error.errno == errno.EEXIST:
                blocked.append(some[position])
            elif error.errno not in some[position].fine:
                refused.append(error)
    if refused:
        raise refused[0]
    return blocked


def blocked_alarms(rtnl: Netlink, blocked: Iterable[Change]) -> Iterator[str]:
    """Yield who holds the place of our routes.

    The kernel's list of IPv6 routes misses some while others go: those are there, and ours.
    """
    routes = [change.entry for change in blocked if isinstance(change.entry, Route)]
    versions = {one.dst.version for one in routes}
    present = {one.dst: one for version in versions for one in route.list_all(rtnl, version)}
    for one in routes:
        other = present.get(one.dst)
        if other == one:
            continue
        whose = f"protocol {other.protocol}, via {other.gateway}" if other else "another program"
        yield f"cannot add route {one.dst} via {one.gateway}: there is one already ({whose})"
