"""bridge: a veth pair whose host end is a port of a bridge, which is the pods' gateway if wanted.

On the host
    cni0: bridge, with each gateway's address and its subnet (isGateway)
    veth… master cni0
and in the container, for `10.1.2.5/24`
    10.1.2.0/24 dev eth0 (the kernel's), and IPAM's routes
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from cni import bridge, invoke, masquerade, pod, veth
from cni.bridge import Bridge, Undo
from cni.config import IPInterface, Section
from cni.errors import CniError, Code, invalid_config
from cni.invoke import Delegate
from cni.kernel import link, netns
from cni.kernel.bridge import Port, set_port
from cni.kernel.link import Link
from cni.kernel.netlink import ROUTE, Netlink
from cni.kernel.netlink import Request as Change
from cni.names import check_ifname
from cni.request import Request
from cni.result import LEGACY, Interface, Result, Route
from cni.rollback import rollback, try_all
from cni.skel import Plugin
from cni.veth import Pair

DEFAULT_BRIDGE = "cni0"
DEFAULT_ROUTE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True)
class Config:
    """The plugin's keys; `mac` is the container's, empty: one of ours."""

    bridge: str
    mtu: int
    promisc: bool
    is_gateway: bool
    is_default_gateway: bool
    force_address: bool
    masquerade: bool
    port: Port
    mac: str
    dad: bool
    container_up: bool


def _config(request: Request) -> Config:
    """Return the configuration.  Raises CniError code 2 or 7."""
    config = request.config
    is_default_gateway = config.boolean("isDefaultGateway")
    hairpin, promisc = config.boolean("hairpinMode"), config.boolean("promiscMode")
    if hairpin and promisc:
        msg = "cannot set hairpin mode and promiscuous mode at the same time"
        raise invalid_config(msg, "remove hairpinMode or promiscMode")
    disabled = config.boolean("disableContainerInterface")
    if disabled and config.section("ipam").string("type"):
        msg = "cannot use IPAM when DisableContainerInterface flag is set"
        raise invalid_config(msg, "remove ipam or disableContainerInterface")
    return Config(
        bridge=_bridge_name(config),
        mtu=veth.mtu(config),
        promisc=promisc,
        is_gateway=is_default_gateway or config.boolean("isGateway"),
        is_default_gateway=is_default_gateway,
        force_address=config.boolean("forceAddress"),
        masquerade=masquerade.is_wanted(config),
        port=Port(hairpin, config.boolean("portIsolation")),
        mac="",
        dad=config.boolean("enabledad"),
        container_up=not disabled,
    )


def _bridge_name(config: Section) -> str:
    name = config.string("bridge", DEFAULT_BRIDGE)
    try:
        check_ifname(name)
    except CniError as error:
        raise config.refuse("bridge", f"a name of an interface: {error.msg}") from error
    return name


def add(request: Request) -> Result:
    """Give the container a port of the bridge, and the addresses of IPAM if there is one."""
    config, attachment, dns = _config(request), request.attachment, request.dns
    with rollback() as undo, veth.sockets(request.netns) as (host, container):
        veth.refuse_repeated(host, container, attachment)
        result = _lease(request, config, undo)
        veth.take_over(host, attachment, result.addresses)
        wanted = _bridge(config, result)
        with netns.shared():
            device, made = bridge.ensure(host, wanted, undo)
            old = _clashing(host, device, wanted, config)
            port = set_port(attachment.host_ifname, config.port)
            veth.add(host, attachment, request.netns, config.mtu, port, master=device.index)
            undo(lambda: veth.delete(attachment, request.netns))
        pair = veth.get(host, attachment, config.mac)
        if made:
            bridge.take_in_survivors(host, device, attachment.network, config.port)
        _set_up(request, config, pair, result, host, container)
        if config.masquerade:
            masquerade.add(attachment, result.addresses)
            undo(lambda: masquerade.delete(attachment))
        if config.container_up:
            bridge.wait_for_port(host, pair.host)
            container.do(link.set_address(pair.container))
        result = pod.with_interfaces(result, _interfaces(request, host, device, pair), 2, dns)
        # last, since pods share them: what fails before does not touch them
        veth.forward(one.version for one in wanted.gateways)
        bridge.set_gateways(host, device, wanted, old)
        return result


def _lease(request: Request, config: Config, undo: Undo) -> Result:
    """Return IPAM's result, with the gateways and default routes of the configuration.

    Without IPAM there are no addresses; a result of the first versions is nothing but those.
    """
    ipam = invoke.ipam(request)
    if ipam is not None:
        result = ipam.add()
        undo(ipam.delete)
        pod.require_addresses(result, ipam.name)
        return _with_gateways(config, result)
    version = request.cni_version
    if version in LEGACY:
        msg = f"cannot convert the result to CNI version {version}: no valid IP addresses"
        details = "use cniVersion 0.3.0 or newer, or an IPAM program"
        raise CniError(Code.INCOMPATIBLE_VERSION, msg, details)
    return Result()


def _with_gateways(config: Config, result: Result) -> Result:
    """Return IPAM's result with the gateways and default routes that the configuration adds."""
    ips = tuple(
        replace(ip, gateway=ip.gateway or ip.address.network.network_address + 1)
        if config.is_gateway
        else ip
        for ip in result.ips
    )
    routes = list(result.routes)
    if config.is_default_gateway:
        for ip in ips:
            default = DEFAULT_ROUTE[ip.address.version]
            if all(one.dst != default for one in routes):
                routes.append(Route(default, ip.gateway))
    return replace(result, ips=ips, routes=tuple(routes))


def _bridge(config: Config, result: Result) -> Bridge:
    gateways = [
        ip_interface(f"{ip.gateway}/{ip.address.network.prefixlen}")
        for ip in result.ips
        if config.is_gateway
    ]
    return Bridge(
        config.bridge,
        config.mtu,
        config.promisc,
        filters_vlans=False,
        gateways=tuple(dict.fromkeys(gateways)),
    )


def _clashing(host: Netlink, device: Link, wanted: Bridge, config: Config) -> list[IPInterface]:
    """Return the addresses that forceAddress takes off the bridge; without it, refuse them."""
    old = bridge.clashing(host, device, wanted)
    if old and not config.force_address:
        msg = f'"{wanted.name}" already has an IP address different from {wanted.gateways[0]}'
        has = ", ".join(map(str, old))
        details = f"it has {has}: use another bridge or subnet, or set forceAddress"
        raise CniError(Code.ALREADY_ATTACHED, msg, details)
    return old


def _set_up(
    request: Request,
    config: Config,
    pair: Pair,
    result: Result,
    host: Netlink,
    container: Netlink,
) -> None:
    """Bring both ends up, with all that the container needs."""
    veth.prepare_host(pair.host.name)
    host.do(link.set_up(pair.host.index, pair.host.name))
    if config.container_up:
        versions = pod.versions(result)
        veth.prepare_container(pair.container.name, request.netns, versions, dad=config.dad)
        container.do(*_in_container(config, pair, result))


def _in_container(config: Config, pair: Pair, result: Result) -> list[Change]:
    end = pair.container
    return [
        *pod.addresses(end, result, prefix_route=True, dad=config.dad),
        link.set_up(end.index, end.name),
        *pod.routes(end, result, [address.network for address in result.addresses]),
    ]


def _interfaces(request: Request, host: Netlink, device: Link, pair: Pair) -> list[Interface]:
    now = link.get_by_index(host, device.index) or device
    near, far = pair.host, pair.container
    return [
        Interface(now.name, now.mac, mtu=now.mtu),
        Interface(near.name, near.mac, mtu=near.mtu),
        Interface(far.name, far.mac, request.netns, far.mtu),
    ]


def delete(request: Request) -> None:
    """Take the attachment out of the kernel, then out of IPAM's store.  The bridge stays."""
    try_all(
        (
            lambda: veth.delete(request.attachment, request.netns),
            lambda: masquerade.delete(request.attachment),
            lambda: _with_ipam(request, Delegate.delete),
        )
    )


def _with_ipam(request: Request, verb: Callable[[Delegate], None]) -> None:
    ipam = invoke.ipam(request)
    if ipam is not None:
        verb(ipam)


def check(request: Request) -> None:
    """Raise CniError unless container, host, firewall and IPAM are as prevResult says."""
    config = _config(request)
    _with_ipam(request, Delegate.check)
    result = request.required_prev_result()
    wanted = pod.container_interface(request, result)
    ips = pod.ips_on(result, wanted)
    with veth.sockets(request.netns) as (host, container):
        end = pod.check_link(container, wanted, "veth", up=config.container_up)
        pod.check_addresses(container, end, ips)
        pod.check_routes(container, result)
        _check_host(host, config, result, end)
    if config.masquerade:
        masquerade.check(request.attachment, [ip.address for ip in ips])


def _check_host(host: Netlink, config: Config, result: Result, end: Link) -> None:
    """Raise CniError unless the bridge is as the network wants it, and `end` leads to a port."""
    said = next((one for one in result.interfaces if one.name == config.bridge), None)
    device = pod.check_link(host, said or Interface(config.bridge), "bridge")
    near = link.get_by_index(host, end.peer)
    if near is None or near.kind != "veth":
        raise pod.check_failed(f"the host's end of {end.name} is missing")
    pod.check_link(host, Interface(near.name), "veth")
    bridge.check_port(host, near, device, config.port)
    bridge.check_gateways(host, device, _bridge(config, result))
    if config.promisc and not device.promisc:
        raise pod.check_failed(f"bridge {device.name} is not promiscuous")


def status(request: Request) -> None:
    """Raise CniError code 50 or 51 unless ADD can be served: the name is free for a bridge."""
    config = _config(request)
    with Netlink(ROUTE) as host:
        try:
            bridge.get(host, config.bridge)
        except CniError as error:
            raise CniError(Code.UNAVAILABLE, error.msg, error.details) from error
    _with_ipam(request, Delegate.status)


def gc(request: Request) -> None:
    """Remove what belongs to no valid attachment of this network."""
    network, valid = request.attachment.network, request.valid_owners()
    if valid is None:
        return
    try_all(
        (
            lambda: veth.collect(network, valid),
            lambda: masquerade.collect(network, valid),
            lambda: _with_ipam(request, Delegate.gc),
        )
    )


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)
