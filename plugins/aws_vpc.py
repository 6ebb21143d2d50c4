"""aws-vpc: a pod with an address of the VPC itself, on a routed veth pair.  No overlay.

In the pod
    169.254.1.1 dev eth0 scope link, default via 169.254.1.1     # and its MAC, for ever
on the host
    10.0.1.23 dev veth… scope link
    512:  from all to 10.0.1.23 lookup main
    1536: from 10.0.1.23 lookup 2             # when the address is on the interface of table 2
The interfaces, their tables and SNAT are the node's: cni/vpc/host.py, which the agent calls.
"""

from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from cni import garbage, pod, routed, veth
from cni.attachment import Attachment
from cni.config import IPAddress
from cni.errors import CniError, Code
from cni.invoke import Delegate
from cni.kernel import forwarding, link, neighbour, route
from cni.kernel.link import Link
from cni.kernel.neighbour import Neighbour
from cni.kernel.netlink import Netlink
from cni.kernel.netlink import Request as Change
from cni.request import Request
from cni.result import DNS, IP, Interface, Result
from cni.rollback import rollback, try_all
from cni.skel import Plugin
from cni.veth import Pair
from cni.vpc import client, pods
from cni.vpc.client import Placement
from cni.vpc.pods import GATEWAYS


@dataclass(frozen=True)
class Network:
    """What the configuration asks for; `mtu` in bytes, 0: that of the VPC."""

    ipam: Delegate
    mtu: int
    dns: DNS | None


def _network(request: Request) -> Network:
    return Network(routed.ipam(request), veth.mtu(request.config), request.dns)


def add(request: Request) -> Result:
    """Give the container a routed veth pair with addresses of the VPC.

    The pair is first: of several ADDs of one attachment it lets one go on, while the agent would
    give all of them the same address, and take it back from the first that fails.
    """
    network, attachment = _network(request), request.attachment
    with rollback() as undo, veth.sockets(request.netns) as (host, container):
        veth.refuse_repeated(host, container, attachment)
        veth.add(host, attachment, request.netns, network.mtu)
        undo(lambda: veth.delete(attachment, request.netns))
        given = network.ipam.add()
        undo(lambda: _take_back(request, network))
        result, placement = _of_host(given), _placement(request, given)
        addresses = [ip.address.ip for ip in result.ips]
        pods.require_not_local(host, addresses)
        veth.take_over(host, attachment, result.addresses)
        forwarding.switch_on(pod.versions(result))
        pair = _pair(host, container, attachment, network.mtu or placement.mtu)
        veth.prepare_host(pair.host.name)
        veth.prepare_container(attachment.ifname, request.netns, pod.versions(result))
        host.do(link.set_up(pair.host.index, pair.host.name))
        pods.claim(attachment, addresses, placement.table)
        undo(lambda: pods.delete(attachment))
        pods.replace(host, pair.host.index, addresses, placement.table)
        container.do(*_in_container(pair, result))
        return pod.with_interfaces(result, routed.ends(request, pair), 1, network.dns)


def _take_back(request: Request, network: Network) -> None:
    """Undo what IPAM gave: the address is out of the kernel before anybody else gets it."""
    try_all((lambda: veth.delete(request.attachment, request.netns), network.ipam.delete))


def _pair(host: Netlink, container: Netlink, attachment: Attachment, mtu: int) -> Pair:
    """Return the pair, with this MTU on both ends unless it is 0."""
    pair = veth.get(host, attachment)
    if mtu in (0, pair.host.mtu):
        return pair
    for rtnl, end in ((host, pair.host), (container, pair.container)):
        rtnl.do(link.set_mtu(end.index, end.name, mtu))
    return veth.get(host, attachment)


def _of_host(given: Result) -> Result:
    """Return IPAM's result with each address alone on the pod's link, behind the host."""
    ips = tuple(IP(ip_interface(ip.address.ip), GATEWAYS[ip.address.version]) for ip in given.ips)
    return replace(given, ips=ips)


def _placement(request: Request, given: Result) -> Placement:
    """Return where the addresses that IPAM gave are.  Raises CniError code 7 when they are not."""
    placement = client.check(request.attachment)
    addresses = {ip.address.ip for ip in given.ips}
    if not addresses or not addresses <= set(placement.addresses):
        msg = "cannot use addresses that the node agent did not give"
        details = f"they are {', '.join(map(str, addresses)) or 'none'}: use aws-vpc-ipam"
        raise CniError(Code.INVALID_CONFIG, msg, details)
    return placement


def _in_container(pair: Pair, result: Result) -> list[Change]:
    """Return the container's end: addresses, the host as a neighbour, routes through it."""
    container, versions = pair.container, pod.versions(result)
    gateways = [GATEWAYS[version] for version in versions]
    return [
        *pod.addresses(container, result, prefix_route=False),
        link.set_up(container.index, container.name),
        # an IPv6 gateway is on the link as it is
        *(_direct(container, one) for one in gateways if one.version == 4),
        *(neighbour.replace(_gateway(pair, version)) for version in versions),
        *pod.routes(container, result, [ip_network(one) for one in gateways]),
    ]


def _direct(container: Link, gateway: IPAddress) -> Change:
    return route.add(route.Route(ip_network(gateway), container.index))


def _gateway(pair: Pair, version: int) -> Neighbour:
    """Return the host as the pod's neighbour: no question is ever asked for its MAC."""
    return Neighbour(pair.container.index, GATEWAYS[version], pair.host.mac)


def delete(request: Request) -> None:
    """Take the attachment out of the kernel, then out of the pool."""
    try_all(
        (
            lambda: pods.delete(request.attachment),
            lambda: veth.delete(request.attachment, request.netns),
            lambda: routed.ipam(request).delete(),
        )
    )


def check(request: Request) -> None:
    """Raise CniError unless container, host and pool are as prevResult says."""
    network = _network(request)
    network.ipam.check()
    result = request.required_prev_result()
    placement = _placement(request, result)
    wanted = pod.container_interface(request, result)
    with veth.sockets(request.netns) as (host, container):
        end = pod.check_link(container, wanted, "veth")
        ips = pod.ips_on(result, wanted)
        pod.check_addresses(container, end, ips)
        pod.check_routes(container, result)
        host_end = _host_end(host, request)
        _check_gateways(container, Pair(host_end, end), pod.versions(result))
        for ip in ips:
            pod.check_host_route(host, host_end, ip.address.ip)
        pods.check(host, [ip.address.ip for ip in ips], placement.table)


def _host_end(host: Netlink, request: Request) -> Link:
    attachment = request.attachment
    return pod.check_link(host, Interface(attachment.host_ifname, attachment.mac("host")), "veth")


def _check_gateways(container: Netlink, pair: Pair, versions: list[int]) -> None:
    """Raise CniError unless the host is the pod's neighbour, under the MAC that it has."""
    known = set(neighbour.list_permanent(container, pair.container.index))
    for version in versions:
        if _gateway(pair, version) not in known:
            gateway, mac = GATEWAYS[version], pair.host.mac
            raise pod.check_failed(f"neighbour {gateway} lladdr {mac} is missing in the container")


def gc(request: Request) -> None:
    """Remove what belongs to no valid attachment of this network."""
    collectors = (pods.collect, veth.collect)
    garbage.collect(request, collectors, lambda: routed.ipam(request).gc())


def status(request: Request) -> None:
    """Raise CniError code 50 or 51 unless ADD can be served: the node agent knows."""
    from cni.agent import state

    _network(request).ipam.status()
    state.check(request.attachment.network)


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)
