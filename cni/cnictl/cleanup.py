"""Taking all of ours from a node that shall do without."""

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cni.agent import lock, state, written
from cni.agent.nodes import cache
from cni.agent.settings import Settings
from cni.bridge import ALIAS
from cni.cnictl import node
from cni.errors import CniError, Code
from cni.install import LIBRARIES, uninstall
from cni.kernel import bridgerules, clusterrules, link, nft, route, rule, ruleset, vpcrules
from cni.kernel.netlink import NETFILTER, ROUTE, Netlink
from cni.overlay.apply import Overlay
from cni.overlay.settings import PROTOCOL
from cni.rollback import try_all
from cni.vpc import host, pods

TABLES = (clusterrules.TABLE, vpcrules.TABLE, ruleset.TABLE, bridgerules.TABLE)
FAMILIES = {nft.INET: "inet", nft.BRIDGE: "bridge"}
POD = re.compile(r"veth[0-9a-f]{11}")  # cni.attachment's host_ifname
PLACES = (Path(state.PATH).parent, Path(cache.PATH).parent)
INDEX = ".pycni"  # cni.leases.index


@dataclass(frozen=True)
class Item:
    """Something of ours: what it is, and what removes it."""

    text: str
    remove: Callable[[], object]


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Keep agents away within the block.  Raises CniError when one runs: it would make all anew."""
    mine = lock.Lock()
    try:
        mine.open()
    except OSError as error:
        raise _runs(str(error)) from error
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            if probe.connect_ex(settings.socket) == 0:
                raise _runs(f"an agent listens at {settings.socket}")
        yield
        Path(lock.PATH).unlink()
        for place in PLACES:
            with suppress(OSError):  # it may have other things in it, or be a mount
                place.rmdir()
    finally:
        mine.close()


def _runs(cause: str) -> CniError:
    msg = f"cannot clean up: {cause}"
    return CniError(Code.TRY_AGAIN, msg, "stop it first: systemctl disable --now pycnid")


def find(settings: Settings, net_d: Path, programs: Path | None, *, leases: bool) -> Iterator[Item]:
    """Yield what there is, in the order in which it is to go: first what brings new pods.

    `programs` is the directory that the programs shall be taken from, if at all.
    """
    conflists = set(written.ours())
    if settings.template and os.path.exists(settings.conflist):
        conflists.add(settings.conflist)
    for path in sorted(conflists):
        yield Item(f"the conflist {path}", partial(os.unlink, path))
    yield from _interfaces()
    yield from _bridges(net_d)
    yield from _overlay(settings)
    yield from _policy()
    yield from _tables()
    for place in PLACES:
        files = [path for path in sorted(place.glob("*")) if str(path) != lock.PATH]
        if files:
            yield Item(f"the files in {place}", partial(try_all, list(map(_removal, files))))
    if leases:
        yield from _leases(net_d)
    if programs and any(programs.glob(f"{LIBRARIES}*")):
        yield Item(f"the programs in {programs}", partial(uninstall, programs))


def _removal(path: Path) -> Callable[[], object]:
    return partial(shutil.rmtree, path) if path.is_dir() else path.unlink


def _interfaces() -> Iterator[Item]:
    with Netlink(ROUTE) as rtnl:
        names = [
            one.name
            for one in link.list_all(rtnl)
            if one.kind == "veth" and POD.fullmatch(one.name)
        ]
    for name in names:
        yield Item(f"the interface {name}: its pod is cut off", partial(link.delete, "", name))


def _bridges(net_d: Path) -> Iterator[Item]:
    """Yield the bridges of networks that we made, and that no one else has a port on."""
    with Netlink(ROUTE) as rtnl:
        found = [link.get(rtnl, name) for name in node.bridges(net_d)]
        for one in found:
            if one is None or one.kind != "bridge" or one.alias != ALIAS:
                continue
            ports = list(link.list_all(rtnl, one.index))
            if all(port.kind == "veth" and POD.fullmatch(port.name) for port in ports):
                yield Item(f"the bridge {one.name}", partial(link.delete, "", one.name))


def _overlay(settings: Settings) -> Iterator[Item]:
    overlay = Overlay(settings.overlay)
    with Netlink(ROUTE) as rtnl:
        names = [settings.overlay.name(version) for version in (4, 6)]
        devices = [name for name in names if link.get(rtnl, name)]
        routes = sum(
            1 for version in (4, 6) for _ in route.list_all(rtnl, version, protocol=PROTOCOL)
        )
    if devices or routes:
        what = [f"the device {name}" for name in devices]
        what += [f"{routes} routes to other nodes' pods"] * bool(routes)
        yield Item(" and ".join(what), overlay.delete)


def _policy() -> Iterator[Item]:
    """Yield the rules and routing tables of a VPC; the interfaces are the cloud's."""
    with Netlink(ROUTE) as rtnl:
        rules = sum(
            1
            for version in (4, 6)
            for one in rule.list_all(rtnl, version)
            if one.protocol == pods.PROTOCOL
        )
        routes = sum(1 for _ in route.list_all(rtnl, 4, route.ANY, protocol=pods.PROTOCOL))
    if rules or routes:
        yield Item(
            f"{rules} rules and {routes} routes of the VPC's routing policy", host.delete_routing
        )


def _tables() -> Iterator[Item]:
    with Netlink(NETFILTER) as netlink:
        there = nft.tables(netlink)
    for table in TABLES:
        if table in there:
            name = f"{FAMILIES[table.family]} {table.name}"
            yield Item(f"the firewall's table {name}", partial(_delete_table, table))


def _delete_table(table: nft.Table) -> None:
    with Netlink(NETFILTER) as netlink:
        nft.commit(netlink, table.delete())


def _leases(net_d: Path) -> Iterator[Item]:
    """Yield the leases of networks whose leases were ours to give."""
    for place in node.data_dirs(net_d):
        for index in sorted((place / INDEX).glob("*/")):
            yield Item(f"the leases in {place / index.name}", partial(_remove_leases, place, index))


def _remove_leases(place: Path, index: Path) -> None:
    shutil.rmtree(place / index.name, ignore_errors=True)
    shutil.rmtree(index)
