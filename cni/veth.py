"""A pod's veth pair: one end in the container, one on the host (man 4 veth).

The host's end is named after the attachment and carries its owner as alias (`ip link` shows
it), so that DEL and GC find it without the container's namespace.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cni.attachment import Attachment, network_key
from cni.config import IPInterface, Section
from cni.errors import CniError, Code
from cni.kernel import link, netns, route, sysctl
from cni.kernel.link import End, Link
from cni.kernel.netlink import ROUTE, Netlink
from cni.request import Request as Invocation

MTU_MIN, MTU_MAX = 68, 65535  # of a veth


@dataclass(frozen=True)
class Pair:
    """Both ends; indices are those of their own namespaces."""

    host: Link
    container: Link


def mtu(config: Section) -> int:
    """Return the key mtu: bytes, 0 leaves it to the kernel.  Raises CniError code 7."""
    value = config.integer("mtu")
    if value and not MTU_MIN <= value <= MTU_MAX:
        raise config.refuse("mtu", f"{MTU_MIN} to {MTU_MAX} bytes, or 0 for the kernel's default")
    return value


def mac(request: Invocation) -> str:
    """Return the MAC that the runtime wants for the container's end; empty when it wants none.

    runtimeConfig goes before args, and that before CNI_ARGS (CNI CONVENTIONS).
    """
    values = (
        (request.runtime_config, "mac"),
        (request.config.section("args").section("cni"), "mac"),
        (Section({"MAC": request.arguments("MAC").get("MAC")}, "CNI_ARGS"), "MAC"),
    )
    section, key = next((one for one in values if one[0].string(one[1])), values[0])
    text = section.string(key)
    octets = re.sub("[:.-]", "", text)
    if text and not re.fullmatch("[0-9a-fA-F][02468aceACE][0-9a-fA-F]{10}", octets):
        raise section.refuse(key, "the MAC of one interface: six octets, the first of them even")
    return bytes.fromhex(octets).hex(":")


@contextmanager
def sockets(container_netns: str) -> Iterator[tuple[Netlink, Netlink]]:
    """Yield rtnetlink sockets on the host and in the container."""
    with Netlink(ROUTE) as host, Netlink(ROUTE, container_netns) as container:
        yield host, container


def refuse_repeated(host: Netlink, container: Netlink, attachment: Attachment) -> None:
    """Raise CniError code 101 if the attachment, or another interface of its name, is there."""
    ifname = attachment.ifname
    if link.get(container, ifname) is not None:
        msg = f"cannot add {ifname} to container {attachment.container_id}: {ifname} exists there"
        raise CniError(Code.ALREADY_ATTACHED, msg, "DEL the attachment first")
    if link.get(host, attachment.host_ifname) is not None:
        msg = f"cannot add {ifname} to container {attachment.container_id}: its host end exists"
        details = f"{attachment.host_ifname} leads to another namespace; DEL the attachment first"
        raise CniError(Code.ALREADY_ATTACHED, msg, details)


def add(
    host: Netlink,
    attachment: Attachment,
    container_netns: str,
    mtu: int,
    *,
    mac: str = "",
    master: int = 0,
) -> None:
    """Make the pair, both ends down; `mtu` in bytes, 0 leaves it to the kernel.

    `mac` is the container's, `master` the index of the host end's bridge.
    """
    link.add_veth(
        host,
        End(attachment.host_ifname, attachment.mac("host"), master=master),
        End(attachment.ifname, mac or attachment.mac("container"), container_netns),
        mtu,
        attachment.owner,
    )


def get(host: Netlink, attachment: Attachment, mac: str = "") -> Pair:
    """Return the pair that `add` made; the host's end tells all of the other."""
    near = link.get(host, attachment.host_ifname)
    if near is None:
        msg = f"cannot find veth {attachment.host_ifname} after making it"
        raise CniError(Code.KERNEL_REFUSED, msg)
    mac = mac or attachment.mac("container")
    return Pair(near, replace(near, index=near.peer, name=attachment.ifname, mac=mac))


def prepare_container(
    ifname: str, container_netns: str, versions: Iterable[int], *, dad: bool = False
) -> None:
    """Set what must stand before the interface comes up, for the IP `versions` in use.

    The kernel then announces the addresses (gratuitous ARP, unsolicited NA) and link-local
    ones need no duplicate detection (unless `dad`), which takes 1-2 s.
    """
    with netns.entered(container_netns):
        if 4 in versions:
            sysctl.write_if_there(f"ipv4/conf/{ifname}/arp_notify", "1")
        if 6 in versions:
            for name in ("lo", ifname):
                sysctl.enable_ipv6(name)
            settings = {"keep_addr_on_down": "1", "ndisc_notify": "1"}
            settings |= {"accept_dad": "1", "enhanced_dad": "1"} if dad else {"accept_dad": "0"}
            for key, value in settings.items():
                sysctl.write_if_there(f"ipv6/conf/{ifname}/{key}", value)


def prepare_host(name: str) -> None:
    """Set what must stand before the host's end comes up."""
    for key in ("accept_ra", "accept_dad"):
        sysctl.write_if_there(f"ipv6/conf/{name}/{key}", "0")


def delete(attachment: Attachment, container_netns: str) -> None:
    """Remove the pair; it may be gone.

    By the host's end first: that needs no namespace.  A pair that the reference plugins made
    has another name there, so its end in the container is looked for too; that of another
    attachment stays, which the ADD was refused for.
    """
    if link.delete("", attachment.host_ifname) or not container_netns:
        return
    with sockets(container_netns) as (host, container):
        found = link.get(container, attachment.ifname)
        if found is None or found.kind != "veth" or _is_attachments(host, found):
            return
    link.delete(container_netns, attachment.ifname)


def give_back(attachment: Attachment, delete_lease: Callable[[], None]) -> None:
    """Free the lease of an ADD that failed, unless the pair is there and has its address.

    It is that of another ADD of the attachment, if IPAM gave the same to both: `onDuplicate`
    `reuse`, or fixed addresses.
    """
    with Netlink(ROUTE) as host:
        if link.get(host, attachment.host_ifname) is None:
            delete_lease()


def _is_attachments(host: Netlink, end: Link) -> bool:
    """Tell whether the other end of a container's pair says whose it is, as `add` lets it."""
    other = link.get_by_index(host, end.peer)
    return other is not None and other.peer == end.index and _is_owner(other.alias)


def _is_owner(alias: str) -> bool:
    return alias.count("/") == 2


def collect(network: str, valid: Container[str]) -> None:
    """Remove the pairs of `network` whose owner is not `valid`."""
    with Netlink(ROUTE) as host:
        found = of_network(host, network)
    for one in found:
        if one.alias not in valid:
            link.delete("", one.name)


def of_network(host: Netlink, network: str) -> list[Link]:
    """Return the host's ends of the pairs of `network`."""
    prefix = f"{network_key(network)}/"
    return [one for one in link.list_all(host) if one.alias.startswith(prefix)]


def take_over(host: Netlink, attachment: Attachment, addresses: Iterable[IPInterface]) -> None:
    """Delete what holds one of `addresses` still; refuse when another network has it.

    IPAM gave the address to us, so a veth of this network that has it is one that DEL missed.
    """
    from cni.kernel import firewall

    ips = [one.ip for one in addresses]
    for ip in ips:
        found = route.match(host, ip)
        if found is not None and found.dst.prefixlen == ip.max_prefixlen:
            delete_stale(host, attachment, found.oif, str(ip))
    firewall.evict(attachment, ips)


def delete_stale(host: Netlink, attachment: Attachment, index: int, address: str) -> None:
    """Remove the veth `index` if a lost attachment of the network left it, as it holds `address`.

    Raises CniError code 101 when another network's attachment has it.  A veth that is not ours
    stays: the route to the address is replaced, nothing else.
    """
    found = link.get_by_index(host, index)
    if found is None or found.kind != "veth" or not found.alias:
        return
    owner = found.alias
    if owner == attachment.owner:
        return  # another ADD of it has come in between: one of us is refused
    if owner.startswith(f"{network_key(attachment.network)}/"):
        link.delete("", found.name)
    elif _is_owner(owner):
        msg = f"cannot use address {address}: {found.name} of {owner} has it"
        details = "two networks share a range: give each its own, or DEL that attachment"
        raise CniError(Code.ALREADY_ATTACHED, msg, details)
