"""bridge: a veth pair whose host end is a port of a bridge, which is the pods' gateway if wanted.

On the host
    cni0: the bridge, with each gateway's address and its subnet (isGateway)
    veth… master cni0
and in the container, for `10.1.2.5/24`
    10.1.2.0/24 dev eth0 (the kernel's), and IPAM's routes
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cni import bridge, garbage, gateways, invoke, macspoof, masquerade, pod, veth, vlan
from cni.bridge import Bridge, Undo
from cni.config import Section
from cni.errors import CniError, Code, invalid_config
from cni.invoke import Delegate
from cni.kernel import forwarding, link, netns
from cni.kernel.bridge import Port, set_port, set_vlans
from cni.kernel.link import Link
from cni.kernel.netlink import ROUTE, Netlink
from cni.names import check_ifname
from cni.request import Request
from cni.result import DNS, IP, LEGACY, Interface, Result
from cni.rollback import rollback, try_all
from cni.skel import Plugin
from cni.veth import Pair

DEFAULT_BRIDGE = "cni0"
CONTAINER = 2  # the number of the container's end in a result: bridge, host's end, container's


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
    check_mac: bool
    dad: bool
    container_up: bool
    dns: DNS | None


def _config(request: Request) -> Config:
    """Return the configuration.  Raises CniError code 2, 4 or 7."""
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
    is_gateway = config.boolean("isGateway") or is_default_gateway
    vlans = vlan.read(config)
    return Config(
        bridge=_bridge_name(config, vlans.access if is_gateway else 0),
        mtu=veth.mtu(config),
        promisc=promisc,
        is_gateway=is_gateway,
        is_default_gateway=is_default_gateway,
        force_address=config.boolean("forceAddress"),
        masquerade=masquerade.is_wanted(config),
        port=Port(hairpin, config.boolean("portIsolation"), vlans),
        mac=veth.mac(request),
        check_mac=config.boolean("macspoofchk"),
        dad=config.boolean("enabledad"),
        container_up=not disabled,
        dns=request.dns,
    )


def _bridge_name(config: Section, access: int) -> str:
    """Return the bridge's name, which the gateways of the VLAN `access` have theirs of."""
    name = config.string("bridge", DEFAULT_BRIDGE)
    try:
        check_ifname(name)
        if access:
            check_ifname(f"{name}.{access}")
    except CniError as error:
        raise config.refuse("bridge", f"the name of an interface: {error.msg}") from error
    return name


def add(request: Request) -> Result:
    """Give the container a port of the bridge, and the addresses of IPAM if there is one."""
    config, attachment = _config(request), request.attachment
    with rollback() as undo, veth.sockets(request.netns) as (host, container):
        veth.refuse_repeated(host, container, attachment)
        result = _lease(request, config, undo)
        wanted = _bridge(config, attachment.network, result.ips)
        bridge.take_over(host, wanted, attachment, result.addresses)
        with netns.shared():
            device = bridge.ensure(host, wanted, undo)
            gateway = vlan.ensure_gateway(host, device, wanted, undo)
            late = gateways.changes(host, gateway, wanted.gateways, force=config.force_address)
            veth.add(
                host,
                attachment,
                request.netns,
                config.mtu,
                mac=config.mac,
                master=device.index,
            )
            undo(lambda: veth.delete(attachment, request.netns))
            host.do(
                set_port(attachment.host_ifname, config.port),
                bridge.add_names(wanted, attachment, result.addresses),
            )
        pair = veth.get(host, attachment, config.mac)
        if config.check_mac:
            macspoof.add(attachment, pair.container.mac)
            undo(lambda: macspoof.delete(attachment))
        _set_up(request, config, pair, result, (host, container))
        if config.masquerade:
            masquerade.add(attachment, result.addresses)
            undo(lambda: masquerade.delete(attachment))
        if config.container_up:
            bridge.wait_for_port(host, pair.host)
        if result.ips:
            pod.announce(container, request.netns, pair.container, dad=config.dad)
        device = bridge.there(link.get_by_index(host, device.index), config.bridge)
        result = pod.with_interfaces(
            result, _interfaces(request, device, gateway, pair), CONTAINER, config.dns
        )
        # last, since all pods share them: what fails before does not touch them
        forwarding.switch_on(one.version for one in wanted.gateways)
        gateways.change(host, device, late)
        return result


def _lease(request: Request, config: Config, undo: Undo) -> Result:
    """Return IPAM's result, with the gateways and default routes of the configuration.

    Without IPAM there are no addresses; a result of the first versions is nothing but those.
    """
    ipam, version = invoke.ipam(request), request.cni_version
    if ipam is not None:
        result = ipam.add()
        undo(lambda: veth.give_back(request.attachment, ipam.delete))
        pod.require_addresses(result, ipam.name)
        if config.is_gateway:
            result = gateways.named(result, default=config.is_default_gateway)
        return result
    if version in LEGACY:
        msg = f"cannot convert the result to CNI version {version}: no valid IP addresses"
        details = "use cniVersion 0.3.0 or newer, or an IPAM program"
        raise CniError(Code.INCOMPATIBLE_VERSION, msg, details)
    return Result()


def _bridge(config: Config, network: str, ips: Iterable[IP]) -> Bridge:
    wanted = gateways.of(ips) if config.is_gateway else ()
    return Bridge(config.bridge, network, config.mtu, config.promisc, config.port, wanted)


def _set_up(
    request: Request, config: Config, pair: Pair, result: Result, sockets: tuple[Netlink, Netlink]
) -> None:
    """Bring both ends up, with all that they need."""
    host, container = sockets
    near, far = pair.host, pair.container
    veth.prepare_host(near.name)
    up = link.set_up(near.index, near.name)
    vlan.do(host, near.name, *set_vlans(near.index, near.name, config.port.vlans), up)
    if config.container_up:
        veth.prepare_container(far.name, request.netns, pod.versions(result), dad=config.dad)
        container.do(
            *pod.addresses(far, result, prefix_route=True, dad=config.dad),
            link.set_up(far.index, far.name),
            *pod.routes(far, result, [one.network for one in result.addresses]),
        )


def _interfaces(request: Request, device: Link, gateway: Link, pair: Pair) -> Iterator[Interface]:
    """Yield the bridge, the host's end, the container's, and what has the gateways in a VLAN."""
    near, far = pair.host, pair.container
    yield Interface(device.name, device.mac, mtu=device.mtu)
    yield Interface(near.name, near.mac, mtu=near.mtu)
    yield Interface(far.name, far.mac, request.netns, far.mtu)
    if gateway.index != device.index:
        yield Interface(gateway.name, gateway.mac, mtu=gateway.mtu)


def delete(request: Request) -> None:
    """Take the attachment out of the kernel, then out of IPAM's store.  The bridge stays."""
    try_all(
        (
            lambda: veth.delete(request.attachment, request.netns),
            lambda: masquerade.delete(request.attachment),
            lambda: macspoof.delete(request.attachment),
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
    interface = pod.container_interface(request, result)
    ips = pod.ips_on(result, interface)
    wanted = _bridge(config, request.attachment.network, ips)
    with veth.sockets(request.netns) as (host, container):
        end = pod.check_link(container, interface, "veth", up=config.container_up)
        pod.check_addresses(container, end, ips)
        pod.check_routes(container, result)
        bridge.check(host, wanted, result)
        _check_port(host, wanted, end)
    if config.masquerade:
        masquerade.check(request.attachment, [ip.address for ip in ips])
    if config.check_mac:
        macspoof.check(request.attachment, end.mac)


def _check_port(host: Netlink, wanted: Bridge, end: Link) -> None:
    """Raise CniError unless the container's `end` leads to such a port of the bridge."""
    near = link.get_by_index(host, end.peer)
    if near is None or near.kind != "veth":
        raise pod.check_failed(f"the host's end of {end.name} is missing")
    pod.check_link(host, Interface(near.name), "veth")
    bridge.check_port(host, near, wanted)
    vlan.check(host, near, wanted)


def status(request: Request) -> None:
    """Raise CniError code 50 or 51 unless ADD can be served.

    The bridge's name must be free for a bridge; IPAM knows, and the node agent.
    """
    from cni.agent import state

    config = _config(request)
    with Netlink(ROUTE) as host:
        try:
            bridge.get(host, config.bridge)
        except CniError as error:
            raise CniError(Code.UNAVAILABLE, error.msg, error.details) from error
    _with_ipam(request, Delegate.status)
    state.check(request.attachment.network)


def gc(request: Request) -> None:
    """Remove what belongs to no valid attachment of this network."""
    collectors = (veth.collect, masquerade.collect, macspoof.collect)
    garbage.collect(request, collectors, lambda: _with_ipam(request, Delegate.gc))


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)
