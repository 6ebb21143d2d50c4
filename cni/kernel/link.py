"""Network interfaces (man 8 ip-link, man 7 rtnetlink)."""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from cni.errors import KernelError
from cni.kernel import aside
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    ROUTE,
    Netlink,
    Request,
    attribute,
    attributes,
    integer,
    nested,
    number,
    text,
    wait_for,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWLINKPROP = 108
UP, PROMISC = 0x1, 0x100  # IFF_*
OPER_UP = 6  # IF_OPER_UP: up, with carrier
SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_TXQLEN, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS = 13, 16, 18, 20
IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_PROP_LIST, IFLA_ALT_IFNAME = 28, 29, 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFINFO = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
LINKS = 1  # RTNLGRP_LINK
WITHOUT_STATS = number(IFLA_EXT_MASK, SKIP_STATS)


@dataclass(frozen=True)
class Link:
    """An interface; `peer` is the index of a veth's other end, in that end's namespace.

    `running`: up, and the other side is there; `master` is the index of its bridge, 0 for none.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    running: bool
    promisc: bool
    kind: str
    alias: str
    peer: int
    master: int
    altnames: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """One end of a veth pair to be made; `netns` is a path, empty: here; `master` a bridge."""

    name: str
    mac: str
    netns: str = ""
    master: int = 0


def add_veth(rtnl: Netlink, host: End, container: End, mtu: int, alias: str) -> None:
    """Make both ends, down, in their final namespaces with their final names.

    One request: it makes both ends or nothing, and no interface is ever moved.  `mtu` in bytes,
    0 leaves it to the kernel; `alias` stands at the host's end.
    Raises KernelError (EEXIST) if either name is taken.
    """
    what = f"add veth {host.name} with peer {container.name}"
    netns = os.open(container.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer = IFINFO.pack(0, 0, 0, 0, 0) + _end(container, mtu) + number(IFLA_NET_NS_FD, netns)
        data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer))
        info = attribute(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth") + data)
        # no transmit queue: the veth hands packets over, it never waits for a wire
        attrs = _end(host, mtu) + number(IFLA_TXQLEN, 0) + info
        # the kernel takes no alias when it makes a link
        rtnl.do(to_link(what, RTM_NEWLINK, CREATE | EXCL, attrs), set_alias(host.name, alias))
    finally:
        os.close(netns)


def _end(end: End, mtu: int) -> bytes:
    optional = ((IFLA_MTU, mtu), (IFLA_MASTER, end.master))
    attrs = text(IFLA_IFNAME, end.name) + mac_address(end.mac)
    return attrs + b"".join(number(*attr) for attr in optional if attr[1])


def set_alias(name: str, alias: str) -> Request:
    """Say in the alias of an interface whose it is."""
    attrs = text(IFLA_IFNAME, name) + attribute(IFLA_IFALIAS, alias.encode())
    return to_link(f"name the owner of {name}", RTM_SETLINK, 0, attrs)


def mac_address(mac: str) -> bytes:
    """Return the attribute for a MAC."""
    return attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def set_up(index: int, name: str) -> Request:
    """Bring an interface up."""
    return to_link(f"set {name} up", RTM_NEWLINK, 0, b"", index=index, flags=UP, change=UP)


def set_down(index: int, name: str) -> Request:
    """Take an interface down."""
    return to_link(f"set {name} down", RTM_NEWLINK, 0, b"", index=index, change=UP)


def set_promisc(index: int, name: str) -> Request:
    """Let an interface take every packet."""
    what = f"set {name} promiscuous"
    return to_link(what, RTM_NEWLINK, 0, b"", index=index, flags=PROMISC, change=PROMISC)


def set_address(link: Link) -> Request:
    """Set the MAC that an interface has: from now on it stays, whatever the ports of a bridge.

    The kernel then announces the IP addresses, where arp_notify and ndisc_notify ask for that.
    """
    what = f"set address of {link.name}"
    return to_link(what, RTM_NEWLINK, 0, mac_address(link.mac), index=link.index)


def add_altnames(name: str, altnames: Sequence[str]) -> Request:
    """Give an interface more names; each up to 127 bytes.  EEXIST when one is taken."""
    names = b"".join(text(IFLA_ALT_IFNAME, one) for one in altnames)
    attrs = text(IFLA_IFNAME, name) + nested(IFLA_PROP_LIST, names)
    return to_link(f"add names {' '.join(altnames)} to {name}", RTM_NEWLINKPROP, 0, attrs)


def set_mtu(index: int, name: str, mtu: int) -> Request:
    """Change the MTU of an interface, in bytes."""
    what = f"set the MTU of {name} to {mtu}"
    return to_link(what, RTM_NEWLINK, 0, number(IFLA_MTU, mtu), index=index)


def remove(index: int, name: str) -> Request:
    """Remove an interface, and wait with the kernel until it is freed; see `delete`."""
    return to_link(f"delete link {name}", RTM_DELLINK, 0, b"", index=index)


def get(rtnl: Netlink, name: str) -> Link | None:
    """Return the interface called `name`; None when there is none."""
    attrs = text(IFLA_IFNAME, name) + WITHOUT_STATS
    return _get(rtnl, to_link(f"get link {name}", RTM_GETLINK, 0, attrs))


def get_by_altname(rtnl: Netlink, name: str) -> Link | None:
    """Return the interface that is also called `name`; None when there is none."""
    attrs = text(IFLA_ALT_IFNAME, name) + WITHOUT_STATS
    return _get(rtnl, to_link(f"get link {name}", RTM_GETLINK, 0, attrs))


def get_by_index(rtnl: Netlink, index: int) -> Link | None:
    """Return the interface of that index; None when there is none."""
    request = to_link(f"get link {index}", RTM_GETLINK, 0, WITHOUT_STATS, index=index)
    return _get(rtnl, request)


def _get(rtnl: Netlink, request: Request) -> Link | None:
    try:
        return parse(rtnl.ask(request))
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def parse(payload: bytes) -> Link:
    """Return what we need of an ifinfomsg: it has sixty attributes, and decoding all is slow."""
    _, _, index, flags, _ = IFINFO.unpack_from(payload)
    fields = dict(attributes(payload[IFINFO.size :]))
    info = dict(attributes(fields.get(IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=_text(fields[IFLA_IFNAME]),
        mac=fields.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=integer(fields[IFLA_MTU]),
        up=bool(flags & UP),
        running=fields.get(IFLA_OPERSTATE, b"") == bytes((OPER_UP,)),
        promisc=bool(flags & PROMISC),
        kind=_text(info.get(IFLA_INFO_KIND, b"")),
        alias=_text(fields.get(IFLA_IFALIAS, b"")),
        peer=integer(fields.get(IFLA_LINK)),
        master=integer(fields.get(IFLA_MASTER)),
        altnames=tuple(_text(one) for _, one in attributes(fields.get(IFLA_PROP_LIST, b""))),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def delete(netns: str, name: str) -> bool:
    """Remove the interface called `name`, and the other end of a veth; False: it was gone.

    Returns when both ends, their addresses and routes are gone from every listing.  The kernel
    then waits 10-20 ms for the last packet before it frees them: aside.
    """
    with Netlink(ROUTE, netns) as deleting, Netlink(ROUTE, netns) as news:
        found = get(news, name)
        if found is None:
            return False
        news.join(LINKS)
        request = remove(found.index, name)
        answer = aside.start(partial(_errno, deleting, request))
        try:
            return _is_deleted(request.what, found.index, news, answer)
        finally:
            os.close(answer)


def _errno(rtnl: Netlink, request: Request) -> int:
    """Send the request; return 0, or the errno of the refusal."""
    try:
        rtnl.do(request)
    except KernelError as error:
        return min(error.errno or errno.EIO, 255)
    return 0


def _is_deleted(what: str, index: int, news: Netlink, answer: int) -> bool:
    """Wait for the news that the interface `index` is gone, or for what the child says.

    A bridge that loses a port, which goes on to be an interface, says so in its own family.
    """
    waiting = select.poll()
    for file in (news.fileno(), answer):
        waiting.register(file, select.POLLIN)
    while True:
        ready = {file for file, _ in waiting.poll()}
        if answer in ready:
            number = (os.read(answer, 1) or bytes((errno.EIO,)))[0]
            if number and number != errno.ENODEV:
                raise KernelError(number, what, os.strerror(number))
            return number == 0
        if news.fileno() in ready and any(
            (family, other) == (socket.AF_UNSPEC, index)
            for kind, payload in news.news()
            if kind == RTM_DELLINK
            for family, _, other, *_ in [IFINFO.unpack_from(payload)]
        ):
            return True


def list_all(rtnl: Netlink, master: int = 0) -> Iterator[Link]:
    """Yield every interface, or the ports of the bridge of that index."""
    attrs = WITHOUT_STATS + (number(IFLA_MASTER, master) if master else b"")
    yield from map(parse, list(rtnl.dump(to_link("list links", RTM_GETLINK, 0, attrs))))


def wait_running(rtnl: Netlink, index: int, timeout_s: float) -> bool:
    """Wait until an interface and its other side are up, and its bridge has heard of it.

    False when it is gone, or `timeout_s` have passed.
    """
    found = get_by_index(rtnl, index)  # as a rule it is running by now

    def is_over() -> bool:
        nonlocal found
        found = get_by_index(rtnl, index)
        return found is None or found.running

    if found is not None and not found.running:
        wait_for(LINKS, is_over, timeout_s)
    return found is not None and found.running


def to_link(
    what: str,
    kind: int,
    request_flags: int,
    attrs: bytes,
    *,
    index: int = 0,
    flags: int = 0,
    change: int = 0,
) -> Request:
    """Return one request on links: `kind` is RTM_*, flags and change are IFF_*."""
    message = IFINFO.pack(0, 0, index, flags, change) + attrs
    return Request(what, kind, request_flags, message)
