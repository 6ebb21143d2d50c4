"""Attachments in our nf_tables tables: each is elements of maps (`ruleset`, `bridgerules`).

Each element's comment is its owner, so that DEL and GC need no memory (`Attachment.owner`).
"""

import errno
import logging
import operator
import struct
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from cni.attachment import Attachment, network_key
from cni.config import IPAddress, IPInterface, IPNetwork
from cni.errors import KernelError
from cni.kernel import bridgerules, nft, nftmap, ruleset
from cni.kernel.netlink import Netlink, Request
from cni.kernel.nftmap import Element, Map
from cni.kernel.ruleset import MAPS, PROTOCOLS

log = logging.getLogger(__name__)
MASQUERADE = tuple(MAPS[version]["masquerade"] for version in (4, 6))
TABLES = tuple(MAPS[version]["tables"] for version in (4, 6))
PORTS = tuple(
    one
    for maps in MAPS.values()
    for kind, one in maps.items()
    if kind not in ("masquerade", "tables")
)
HAIRPIN = {  # the map that has marks for the ports of another
    maps[f"{prefix}ports"]: maps[f"{prefix}hairpin"]
    for maps in MAPS.values()
    for prefix in ("", "hostip_")
}
MACS = (bridgerules.MACS, bridgerules.PORTS)
UDP = PROTOCOLS["udp"]
FIXED = {  # what marks that a table's fixed rules are in place, and what makes them
    one.TABLE: (one.MARKER, one.fixed) for one in (ruleset, bridgerules)
}
TRIES = 5  # others change the same table; every try is one atomic transaction


@dataclass(frozen=True)
class Port:
    """A host port and where it leads; `subnet` is the pod's, whose hairpin traffic is masqueraded.

    subnet None: nobody's; 0.0.0.0/0 or ::/0: everybody's.  `mark_bit` 0-31 is the bit of the
    packet mark that says so between the two hooks.
    """

    protocol: str
    host_ip: IPAddress | None
    host_port: int
    address: IPAddress
    port: int
    subnet: IPNetwork | None
    mark_bit: int


@dataclass(frozen=True)
class _Entry:
    """An element that ought to be there, and the chain that it jumps to."""

    map: Map
    key: bytes
    data: bytes
    chain: str = ""
    rules: Callable[[], list[Request]] = list


# what an attachment asks for


def masquerade(attachment: Attachment, addresses: Iterable[IPInterface]) -> None:
    """Let `addresses` leave with the host's address, but within their own subnet and multicast.

    An element that another owner left for the same address is replaced.
    """
    _put(attachment, [_masquerade_entry(address) for address in addresses])


def map_ports(attachment: Attachment, ports: Iterable[Port]) -> None:
    """Send host ports to pods.  What another owner left for the same port is replaced."""
    _put(attachment, [entry for port in ports for entry in _port_entries(port)])


def claim(attachment: Attachment, addresses: Iterable[IPAddress], table: int) -> None:
    """Note that the rules for `addresses`, which may lead to the routing `table`, are its own.

    A rule has no room for a name.  What another owner left for the same address is replaced.
    """
    data = nftmap.constant(nftmap.DATA, struct.pack(">I", table))  # as nft(8) shows it
    entries = [_Entry(MAPS[one.version]["tables"], one.packed, data) for one in addresses]
    _put(attachment, entries)


def claimed(text: str, wanted: Callable[[str], bool]) -> dict[IPAddress, int]:
    """Return what `claim` noted for owners that begin with `text`, if `wanted`: address, table."""
    with nft.socket() as netlink:
        found = [element for _, element in _find(netlink, TABLES, text, wanted)]
    return {ip_address(one.key): struct.unpack(">I", one.data)[0] for one in found}


def check_mac(attachment: Attachment, mac: str) -> None:
    """Let the host's end of a pair on a bridge take in packets from `mac` only."""
    _put(attachment, _mac_entries(attachment, mac))


def missing_mac_check(attachment: Attachment, mac: str) -> list[str]:
    """Return what `check_mac` made and is not there any more, in words."""
    return _missing(attachment, _mac_entries(attachment, mac))


def missing_masquerade(attachment: Attachment, addresses: Iterable[IPInterface]) -> list[str]:
    """Return what `masquerade` made and is not there any more, in words."""
    return _missing(attachment, [_masquerade_entry(address) for address in addresses])


def missing_ports(attachment: Attachment, ports: Iterable[Port]) -> list[str]:
    """Return what `map_ports` made and is not there any more, in words."""
    return _missing(attachment, [entry for port in ports for entry in _port_entries(port)])


def remove(attachment: Attachment, maps: Iterable[Map]) -> list[Element]:
    """Remove the attachment's elements of `maps`; return those of the last try."""
    return _remove(maps, attachment.owner, lambda owner: owner == attachment.owner)


def collect(network: str, valid: Container[str], maps: Iterable[Map]) -> list[Element]:
    """Remove the elements of `network` whose owner is not `valid`; return them."""
    return _remove(maps, f"{network_key(network)}/", lambda owner: owner not in valid)


def evict(attachment: Attachment, addresses: Iterable[IPAddress]) -> None:
    """Remove all elements of others that stand for one of `addresses`.

    IPAM has given the address to `attachment`, so the one that had it is gone; its DEL was
    lost, or was another program's that does not know our table.
    """
    packed = {address.packed for address in addresses}
    with nft.socket() as netlink:
        if ruleset.TABLE not in nft.tables(netlink):
            return
        owners = {
            element.comment
            for one in (*MASQUERADE, *HAIRPIN)
            for element in one.elements(netlink, *packed)
            if {element.key, element.data[:-4]} & packed and element.comment != attachment.owner
        }
    for owner in owners:
        log.warning("removing what %s has left: its address is given again", owner)
        _remove((*MASQUERADE, *PORTS), owner, partial(operator.eq, owner))


def probe() -> None:
    """Raise KernelError when the kernel does not let us use nf_tables."""
    with nft.socket() as netlink:
        ruleset.TABLE.chain_exists(netlink, ruleset.MARKER)


def host_port(element: Element) -> tuple[int, int]:
    """Return (protocol number, host port) of an element of a port map."""
    return element.key[-8], struct.unpack(">H", element.key[-4:-2])[0]


# elements


def _masquerade_entry(address: IPInterface) -> _Entry:
    chain = ruleset.leaving_name(address.network)
    return _Entry(
        MAPS[address.version]["masquerade"],
        address.ip.packed,
        nftmap.verdict(nft.JUMP, chain),
        chain,
        partial(ruleset.leaving, address.network),
    )


def _mac_entries(attachment: Attachment, mac: str) -> list[_Entry]:
    name = attachment.host_ifname
    return [
        _Entry(bridgerules.MACS, bridgerules.mac_key(name, mac), nftmap.verdict(nft.ACCEPT)),
        _Entry(bridgerules.PORTS, bridgerules.port_key(name), nftmap.verdict(nft.DROP)),
    ]


def _port_entries(port: Port) -> list[_Entry]:
    version = port.address.version
    # fields of a concatenation are padded to 4 bytes
    key = bytes((PROTOCOLS[port.protocol], 0, 0, 0)) + struct.pack(">HH", port.host_port, 0)
    prefix = ""
    if port.host_ip is not None:
        prefix, key = "hostip_", port.host_ip.packed + key
    target = nftmap.constant(nftmap.DATA, port.address.packed + struct.pack(">HH", port.port, 0))
    entries = [_Entry(MAPS[version][f"{prefix}ports"], key, target)]
    if (subnet := port.subnet) is not None:
        chain = ruleset.marking_name(subnet, port.mark_bit)
        hairpin = MAPS[version][f"{prefix}hairpin"]
        marking = partial(ruleset.marking, subnet, port.mark_bit)
        entries.append(_Entry(hairpin, key, nftmap.verdict(nft.JUMP, chain), chain, marking))
    return entries


def _put(attachment: Attachment, entries: list[_Entry]) -> None:
    """Add `entries`, in place of what has their keys: one transaction."""
    if not entries:
        return
    owner = attachment.owner
    stale: list[Request] = []
    with nft.socket() as netlink:
        for left in reversed(range(TRIES)):
            adds = [one.map.add_element(one.key, one.data, owner) for one in entries]
            try:
                nft.commit(netlink, *_missing_rules(netlink, entries), *stale, *adds)
                return
            except KernelError as error:
                if error.errno not in (errno.EEXIST, errno.ENOENT) or not left:
                    raise
            stale = _stale(netlink, entries, owner)


def _stale(netlink: Netlink, entries: list[_Entry], owner: str) -> list[Request]:
    """Return what removes the elements that stand where `entries` want to.

    A port's mark goes with it: the new one may want none.
    """
    deletes = []
    wanted: dict[Map, set[bytes]] = {}
    for entry in entries:
        for one in (entry.map, HAIRPIN.get(entry.map, entry.map)):
            wanted.setdefault(one, set()).add(entry.key)
    for one, keys in wanted.items():
        for element in one.elements(netlink, *keys):
            if element.key in keys:
                if element.comment != owner:
                    log.warning("%s: %s loses its place to %s", one.name, element.comment, owner)
                deletes.append(one.delete_element(element.key))
    return deletes


def _missing(attachment: Attachment, entries: list[_Entry]) -> list[str]:
    with nft.socket() as netlink:
        words = [f"chain {request.what}" for request in _missing_rules(netlink, entries)][:1]
        for one in {entry.map for entry in entries}:
            elements = one.elements(netlink, attachment.owner.encode())
            found = {element.key for element in elements if element.comment == attachment.owner}
            wanted = {entry.key for entry in entries if entry.map == one}
            words += [f"element {key.hex()} of {one.name}" for key in sorted(wanted - found)]
    return words


def _remove(maps: Iterable[Map], text: str, wanted: Callable[[str], bool]) -> list[Element]:
    with nft.socket() as netlink:
        there = nft.tables(netlink)
        maps = [one for one in maps if one.table in there]
        for left in reversed(range(TRIES)):
            found = _find(netlink, maps, text, wanted)
            if not found:
                return []
            try:
                deletes = [one.delete_element(element.key) for one, element in found]
                nft.commit(netlink, *deletes)
                return [element for _, element in found]
            except KernelError as error:
                if error.errno != errno.ENOENT or not left:
                    raise
    return []


def _find(
    netlink: Netlink, maps: Iterable[Map], text: str, wanted: Callable[[str], bool]
) -> list[tuple[Map, Element]]:
    """Return the elements whose owner begins with `text`, if it is `wanted`."""
    return [
        (one, element)
        for one in maps
        for element in one.elements(netlink, text.encode())
        if element.comment.startswith(text) and wanted(element.comment)
    ]


def _missing_rules(netlink: Netlink, entries: list[_Entry]) -> list[Request]:
    """Return what makes the fixed rules, and the chains of `entries`, unless they are there."""
    requests: list[Request] = []
    bare = set()
    for table in {one.map.table for one in entries}:
        marker, fixed = FIXED[table]
        if not table.chain_exists(netlink, marker):
            bare.add(table)
            requests += fixed()
    chains = {(one.map.table, one.chain): one.rules for one in entries if one.chain}
    for (table, chain), rules in chains.items():
        if table in bare or not table.chain_exists(netlink, chain):
            requests += rules()
    return requests
