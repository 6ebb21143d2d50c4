"""A routed veth pair: the host is the gateway, there is no bridge and no subnet on a link.

In the container, `10.244.0.5/24` with gateway .1 becomes
    10.244.0.1 dev eth0 scope link src 10.244.0.5
    10.244.0.0/24 via 10.244.0.1 dev eth0 src 10.244.0.5, and IPAM's routes
and on the host, for every pod
    10.244.0.1/32 on the veth, 10.244.0.5 dev veth… scope link
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

from cni import garbage, invoke, masquerade, pod, veth
from cni.config import IPInterface, IPNetwork
from cni.errors import invalid_config
from cni.invoke import Delegate
from cni.kernel import address, forwarding, link, route
from cni.kernel.netlink import Request as Change
from cni.request import Request
from cni.result import DNS, Interface, Result
from cni.rollback import rollback, try_all
from cni.veth import Pair


@dataclass(frozen=True)
class Network:
    """What the configuration asks for; `mtu` in bytes, 0 leaves it to the kernel.

    Packets to networks `inside` are not masqueraded, besides those to the address's own subnet.
    """

    ipam: Delegate
    masquerading: bool
    mtu: int
    dns: DNS | None
    inside: tuple[IPNetwork, ...] = ()

    def masqueraded(self, addresses: Iterable[IPInterface]) -> list[IPInterface]:
        """Return the addresses with the prefix lengths of the networks that they are inside of."""
        return [self._within(address) for address in addresses]

    def _within(self, address: IPInterface) -> IPInterface:
        for network in self.inside:
            if address.ip in network:
                return ip_interface((address.ip, network.prefixlen))
        return address


def read(request: Request) -> Network:
    """Return what the configuration asks for.  Raises CniError before anything is done."""
    config = request.config
    mtu, masquerading = veth.mtu(config), masquerade.is_wanted(config)
    return Network(ipam(request), masquerading, mtu, request.dns)


def ipam(request: Request) -> Delegate:
    """Return the program that gives addresses.  Raises CniError code 7 when none is named."""
    found = invoke.ipam(request)
    if found is None:
        msg = "cannot use the network configuration: ipam.type is missing"
        raise invalid_config(msg, 'pods need an IPAM program, such as "host-local"')
    return found


def add(request: Request, network: Network) -> Result:
    """Give the container a routed veth pair with the addresses of IPAM."""
    attachment, delegate = request.attachment, network.ipam
    with rollback() as undo, veth.sockets(request.netns) as (host, container):
        veth.refuse_repeated(host, container, attachment)
        result = delegate.add()
        undo(lambda: veth.give_back(attachment, delegate.delete))
        pod.require_addresses(result, delegate.name)
        pod.require_gateways(result, delegate.name)
        veth.take_over(host, attachment, result.addresses)
        forwarding.switch_on(pod.versions(result))
        veth.add(host, attachment, request.netns, network.mtu)
        undo(lambda: veth.delete(attachment, request.netns))
        pair = veth.get(host, attachment)
        veth.prepare_host(pair.host.name)
        veth.prepare_container(attachment.ifname, request.netns, pod.versions(result))
        host.do(*_on_host(pair, result))
        container.do(*_in_container(pair, result))
        if network.masquerading:
            masquerade.add(attachment, network.masqueraded(result.addresses))
            undo(lambda: masquerade.delete(attachment))
        return pod.with_interfaces(result, ends(request, pair), 1, network.dns)


def ends(request: Request, pair: Pair) -> tuple[Interface, Interface]:
    """Return both ends as a result tells of them: the host's, the container's."""
    host, container = pair.host, pair.container
    return (
        Interface(host.name, host.mac, mtu=host.mtu),
        Interface(container.name, container.mac, request.netns, container.mtu),
    )


def _on_host(pair: Pair, result: Result) -> list[Change]:
    """Return the host's end: each gateway once, and a route to each address."""
    name, index = pair.host.name, pair.host.index
    gateways = dict.fromkeys(ip_interface(ip.gateway) for ip in result.ips if ip.gateway)
    return [
        *(address.add(index, name, gateway) for gateway in gateways),
        link.set_up(index, name),
        *(route.replace(route.Route(ip_network(ip.address.ip), index)) for ip in result.ips),
    ]


def _in_container(pair: Pair, result: Result) -> list[Change]:
    """Return the container's end: addresses, the way to each gateway, the rest through it."""
    container = pair.container
    changes = [
        *pod.addresses(container, result, prefix_route=False),
        link.set_up(container.index, container.name),
    ]
    wanted: dict[object, Change] = {}
    reached = []
    for ip in result.ips:
        gateway, subnet, src = ip.gateway, ip.address.network, ip.address.ip
        if gateway is None:
            continue
        reached.append(ip_network(gateway))
        direct = route.Route(ip_network(gateway), container.index, src=src)
        wanted.setdefault(direct.dst, route.add(direct))
        if subnet.prefixlen < subnet.max_prefixlen:
            through = route.Route(subnet, container.index, gateway=gateway, src=src)
            wanted.setdefault(subnet, route.add(through))
    said = {one.dst for one in result.routes}
    changes += [change for dst, change in wanted.items() if dst not in said]
    return changes + pod.routes(container, result, reached)


def delete(request: Request) -> None:
    """Take the attachment out of the kernel, then out of IPAM's store."""
    try_all(
        (
            lambda: veth.delete(request.attachment, request.netns),
            lambda: masquerade.delete(request.attachment),
            lambda: ipam(request).delete(),
        )
    )


def check(request: Request, network: Network) -> None:
    """Raise CniError unless container, host, firewall and IPAM are as prevResult says."""
    network.ipam.check()
    result = request.required_prev_result()
    wanted = pod.container_interface(request, result)
    with veth.sockets(request.netns) as (host, container):
        end = pod.check_link(container, wanted, "veth")
        ips = pod.ips_on(result, wanted)
        pod.check_addresses(container, end, ips)
        pod.check_routes(container, result)
        host_end = link.get_by_index(host, end.peer)
        if host_end is None or host_end.kind != "veth":
            raise pod.check_failed(f"the host's end of {end.name} is missing")
        pod.check_link(host, Interface(host_end.name), "veth")
        for ip in ips:
            pod.check_host_route(host, host_end, ip.address.ip)
    if network.masquerading:
        addresses = network.masqueraded(ip.address for ip in ips)
        masquerade.check(request.attachment, addresses)


def gc(request: Request) -> None:
    """Remove what belongs to no valid attachment of this network."""
    collectors = (veth.collect, masquerade.collect)
    garbage.collect(request, collectors, lambda: ipam(request).gc())


def status(request: Request) -> None:
    """Raise CniError code 50 or 51 unless ADD can be served: IPAM knows."""
    read(request).ipam.status()
