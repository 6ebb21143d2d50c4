"""A pod's ways on the host: a route to each address, and the rules of the routing policy.

    512:  from all to 10.0.1.23 lookup main       # 10.0.1.23 dev veth… scope link
    1536: from 10.0.1.23 lookup 2                 # leaves by its interface; not on the primary
The kernel takes the route along with the veth, but not the rules, and a rule has no room for a
name: whose they are is noted in our firewall table, which lives as long as they do.
"""

import dataclasses
import operator
import time
from collections.abc import Collection, Container, Iterable
from functools import partial
from ipaddress import ip_address, ip_network

from cni.attachment import Attachment, network_key
from cni.config import IPAddress
from cni.errors import CniError, Code
from cni.kernel import address, link, route, rule
from cni.kernel.netlink import ROUTE, Netlink
from cni.kernel.route import MAIN
from cni.kernel.rule import Rule
from cni.pod import check_failed

TO_POD, FROM_POD = 512, 1536  # priorities, as the Amazon VPC CNI has them
PROTOCOL = 112  # of our rules and of the routes of ENIs (`ip rule`, "proto 112")
MOMENT = 0.1  # seconds, in which an ADD or a DEL is well over
METRICS = (0, 1024)  # of a route that nobody gave one: IPv4, IPv6 (IP6_RT_PRIO_USER)
GATEWAYS = {4: ip_address("169.254.1.1"), 6: ip_address("fe80::1")}  # of pods, on their own link


def rules(addresses: Iterable[IPAddress], table: int) -> list[Rule]:
    """Return the rules for the addresses of a pod whose packets leave by `table`."""
    found = []
    for one in addresses:
        host = ip_network(one)
        found.append(Rule(one.version, TO_POD, dst=host, protocol=PROTOCOL))
        if table != MAIN:
            found.append(Rule(one.version, FROM_POD, table, src=host, protocol=PROTOCOL))
    return found


def require_not_local(host: Netlink, addresses: Collection[IPAddress]) -> None:
    """Raise CniError code 101 when the host itself has one of `addresses`."""
    for index, one in address.list_all(host):
        if one.ip in addresses:
            found = link.get_by_index(host, index)
            name = found.name if found else f"interface {index}"
            msg = f"cannot use address {one.ip}: {name} of the host has it"
            details = "addresses of pods stay off the host's interfaces: stop what configures them"
            raise CniError(Code.ALREADY_ATTACHED, msg, details)


def claim(attachment: Attachment, addresses: Iterable[IPAddress], table: int) -> None:
    """Note whose the rules for `addresses` are; before they are made."""
    from cni.kernel import firewall

    firewall.claim(attachment, addresses, table)


def replace(host: Netlink, veth: int, addresses: Collection[IPAddress], table: int) -> None:
    """Make the routes to `addresses` by the interface `veth`, and their rules.

    All others for these addresses go, whoever made them: those of an earlier pod would send the
    packets of this one elsewhere.  Raises CniError when they come back at once.
    """
    _replace_routes(host, veth, addresses)
    wanted = rules(addresses, table)
    found = _rules_of(host, addresses)
    if not _same(found, wanted):
        rule.change(host, found, wanted)
        found = _rules_of(host, addresses)
    if not _same(found, wanted):
        msg = f"cannot keep others away from the rules of {', '.join(map(str, addresses))}"
        raise CniError(Code.KERNEL_REFUSED, msg, f"there is {_text(found)}: who makes these?")


def _replace_routes(host: Netlink, veth: int, addresses: Collection[IPAddress]) -> None:
    wanted = [route.Route(ip_network(one), veth) for one in addresses]
    host.do(*map(route.replace, wanted))
    for one in _routes_to(host, addresses):
        if one.oif != veth or one.priority not in METRICS:
            host.do(route.delete(one))


def _routes_to(host: Netlink, addresses: Collection[IPAddress]) -> list[route.Route]:
    networks = {ip_network(one) for one in addresses}
    versions = {one.version for one in addresses}
    return [
        one
        for version in sorted(versions)
        for one in route.list_all(host, version)
        if one.dst in networks
    ]


def _rules_of(host: Netlink, addresses: Collection[IPAddress]) -> list[Rule]:
    """Return the rules for one of `addresses` that stand where ours do."""
    networks = {ip_network(one) for one in addresses}
    versions = {one.version for one in addresses}
    return [
        one
        for version in sorted(versions)
        for one in rule.list_all(host, version)
        if (one.priority == TO_POD and one.dst in networks)
        or (one.priority == FROM_POD and one.src in networks)
    ]


def _same(found: list[Rule], wanted: list[Rule]) -> bool:
    return len(found) == len(wanted) and set(found) == set(wanted)


def _text(found: Iterable[Rule]) -> str:
    return "; ".join(map(rule.describe, found)) or "none"


def delete(attachment: Attachment) -> None:
    """Remove the attachment's rules; its routes go with its veth."""
    from cni.kernel import firewall

    owner = attachment.owner
    with Netlink(ROUTE) as host:
        addresses = set(firewall.claimed(owner, partial(operator.eq, owner)))
        # the note may be gone: somebody emptied the firewall
        addresses |= _routed_by(host, attachment.host_ifname)
        rule.change(host, _rules_of(host, addresses), ())
    firewall.remove(attachment, firewall.TABLES)


def _routed_by(host: Netlink, name: str) -> set[IPAddress]:
    """Return the addresses that are routed by the interface `name`; none when it is gone."""
    veth = link.get(host, name)
    if veth is None:
        return set()
    return {
        one.dst.network_address
        for version in (4, 6)
        for one in route.list_all(host, version)
        if one.oif == veth.index and one.dst.prefixlen == one.dst.max_prefixlen
    }


def collect(network: str, valid: Container[str]) -> None:
    """Remove the rules of attachments of `network` whose owner is not `valid`."""
    from cni.kernel import firewall

    addresses = firewall.claimed(f"{network_key(network)}/", lambda owner: owner not in valid)
    with Netlink(ROUTE) as host:
        rule.change(host, _rules_of(host, addresses), ())
    firewall.collect(network, valid, firewall.TABLES)


def compare(host: Netlink) -> tuple[list[Rule], list[Rule]]:
    """Return our rules of pods that are gone, and those that pods lack: somebody flushes rules.

    A pod that comes or goes lacks some for a moment: after a while they are looked at again.
    """
    gone, lacking = _compare(host)
    if lacking:
        time.sleep(MOMENT)
        gone, again = _compare(host)
        lacking = [one for one in lacking if one in again]
    return gone, lacking


def _compare(host: Netlink) -> tuple[list[Rule], list[Rule]]:
    from cni.kernel import firewall

    claimed = firewall.claimed("", lambda _: True)
    present = [one for version in (4, 6) for one in rule.list_all(host, version)]
    # a pod is here while a route leads to it: ADD makes that first, DEL removes the rules first
    reached = {one.dst for version in (4, 6) for one in route.list_all(host, version)}
    gone = [
        one
        for one in present
        if one.protocol == PROTOCOL
        and one.priority in (TO_POD, FROM_POD)
        and (one.dst or one.src) not in reached
    ]
    # a rule is there whoever made it: the kernel would not take it twice
    known = {dataclasses.replace(one, protocol=PROTOCOL) for one in present}
    living = [pod for pod in claimed.items() if ip_network(pod[0]) in reached]
    wanted = [one for address, table in living for one in rules([address], table)]
    return gone, [one for one in wanted if one not in known]


def check(host: Netlink, addresses: Collection[IPAddress], table: int) -> None:
    """Raise CniError code 102 unless the rules for `addresses` are exactly those of `table`."""
    found, wanted = _rules_of(host, addresses), rules(addresses, table)
    if not _same(found, wanted):
        missing = [one for one in wanted if one not in found]
        extra = [one for one in found if one not in wanted]
        words = [f"{_text(missing)} is missing"] if missing else []
        words += [f"{_text(extra or found)} is too much"] if extra or not missing else []
        raise check_failed(f"the rules on the host are not the pod's: {', '.join(words)}")
