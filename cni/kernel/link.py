"""Network interfaces (man 8 ip-link, man 7 rtnetlink)."""

import errno
import os
import select
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from cni.errors import KernelError
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    ROUTE,
    Netlink,
    Request,
    attribute,
    attributes,
    number,
    text,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
UP = 0x1  # IFF_UP
SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_TXQLEN, IFLA_LINKINFO = 1, 3, 4, 5, 13, 18
IFLA_IFALIAS, IFLA_NET_NS_FD, IFLA_EXT_MASK = 20, 28, 29
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFINFO = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
LINKS = 1  # RTNLGRP_LINK
WITHOUT_STATS = number(IFLA_EXT_MASK, SKIP_STATS)


@dataclass(frozen=True)
class Link:
    """An interface; `peer` is the index of a veth's other end, in that end's namespace."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    kind: str
    alias: str
    peer: int


@dataclass(frozen=True)
class End:
    """One end of a veth pair to be made; `netns` is a path, empty: here."""

    name: str
    mac: str
    netns: str = ""


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
        named = text(IFLA_IFNAME, host.name) + attribute(IFLA_IFALIAS, alias.encode())
        rtnl.do(
            _request(what, RTM_NEWLINK, CREATE | EXCL, attrs),
            _request(f"name the owner of {host.name}", RTM_SETLINK, 0, named),
        )
    finally:
        os.close(netns)


def _end(end: End, mtu: int) -> bytes:
    mac = attribute(IFLA_ADDRESS, bytes.fromhex(end.mac.replace(":", "")))
    return text(IFLA_IFNAME, end.name) + mac + (number(IFLA_MTU, mtu) if mtu else b"")


def set_up(index: int, name: str) -> Request:
    """Bring an interface up."""
    return _request(f"set {name} up", RTM_NEWLINK, 0, b"", index=index, flags=UP, change=UP)


def set_down(index: int, name: str) -> Request:
    """Take an interface down."""
    return _request(f"set {name} down", RTM_NEWLINK, 0, b"", index=index, change=UP)


def get(rtnl: Netlink, name: str) -> Link | None:
    """Return the interface called `name`; None when there is none."""
    attrs = text(IFLA_IFNAME, name) + WITHOUT_STATS
    return _get(rtnl, _request(f"get link {name}", RTM_GETLINK, 0, attrs))


def get_by_index(rtnl: Netlink, index: int) -> Link | None:
    """Return the interface of that index; None when there is none."""
    request = _request(f"get link {index}", RTM_GETLINK, 0, WITHOUT_STATS, index=index)
    return _get(rtnl, request)


def _get(rtnl: Netlink, request: Request) -> Link | None:
    try:
        return _link(rtnl.ask(request))
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def _link(payload: bytes) -> Link:
    """Return what we need of an ifinfomsg: it has sixty attributes, and decoding all is slow."""
    _, _, index, flags, _ = IFINFO.unpack_from(payload)
    fields = dict(attributes(payload[IFINFO.size :]))
    info = dict(attributes(fields.get(IFLA_LINKINFO, b"")))
    peer = fields.get(IFLA_LINK)
    return Link(
        index=index,
        name=_text(fields[IFLA_IFNAME]),
        mac=fields.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=int.from_bytes(fields[IFLA_MTU], sys.byteorder),
        up=bool(flags & UP),
        kind=_text(info.get(IFLA_INFO_KIND, b"")),
        alias=_text(fields.get(IFLA_IFALIAS, b"")),
        peer=int.from_bytes(peer, sys.byteorder) if peer else 0,
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def delete(netns: str, name: str) -> bool:
    """Remove the interface called `name`, and the other end of a veth; False: it was gone.

    Returns when both ends, their addresses and routes are gone from every listing.  The kernel
    then waits 10-20 ms for the last packet before it frees them; a child of ours waits with it.
    """
    with Netlink(ROUTE, netns) as rtnl, Netlink(ROUTE, netns) as news:
        found = get(rtnl, name)
        if found is None:
            return False
        news.join(LINKS)
        request = _request(f"delete link {name}", RTM_DELLINK, 0, b"", index=found.index)
        answer, answering = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            _delete_in_child(rtnl, request, answering)
        os.close(answering)
        try:
            return _is_deleted(request.what, found.index, news, answer)
        finally:
            os.close(answer)


def _delete_in_child(rtnl: Netlink, request: Request, answering: int) -> NoReturn:
    """Send the request, say its errno, and end; nobody waits for our standard streams."""
    number = errno.EIO
    try:
        for stream in (0, 1, 2):
            with suppress(OSError):
                os.close(stream)
        rtnl.do(request)
        number = 0
    except KernelError as error:
        number = error.errno or errno.EIO
    finally:
        with suppress(OSError):
            os.write(answering, bytes((min(number, 255),)))
        os._exit(0)


def _is_deleted(what: str, index: int, news: Netlink, answer: int) -> bool:
    """Wait for the news that the interface `index` is gone, or for what the child says."""
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
            kind == RTM_DELLINK and IFINFO.unpack_from(payload)[2] == index
            for kind, payload in news.news()
        ):
            return True


def aliases(rtnl: Netlink) -> Iterator[tuple[str, str]]:
    """Yield (name, alias) of every interface that has an alias."""
    request = _request("list links", RTM_GETLINK, 0, WITHOUT_STATS)
    for payload in list(rtnl.dump(request)):
        link = _link(payload)
        if link.alias:
            yield link.name, link.alias


def _request(
    what: str,
    kind: int,
    request_flags: int,
    attrs: bytes,
    *,
    index: int = 0,
    flags: int = 0,
    change: int = 0,
) -> Request:
    return Request(what, kind, request_flags, IFINFO.pack(0, 0, index, flags, change) + attrs)
