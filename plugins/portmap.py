"""portmap: traffic to a port of the host goes to the pod.  Chained behind the interface's plugin.

The mappings are elements of our nf_tables maps (`cni.kernel.firewall`); without mappings
nothing is loaded and nothing is asked.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from cni import garbage
from cni.config import IPAddress, IPInterface, Section
from cni.errors import CniError, Code, invalid_config
from cni.request import Request
from cni.result import IP, Result
from cni.rollback import rollback, try_all
from cni.skel import Plugin

if TYPE_CHECKING:
    from cni.kernel.firewall import Port
    from cni.kernel.nftmap import Element

log = logging.getLogger(__name__)
PROTOCOLS = ("tcp", "udp", "sctp")
PORT_MAX = 65535
MARK_BIT = 13  # of the packet mark: 0x2000, the reference's default
EVERYBODY = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True)
class Mapping:
    """One entry of runtimeConfig.portMappings; host_ip None: every address of the host."""

    protocol: str
    host_port: int
    container_port: int
    host_ip: IPAddress | None
    version: int | None  # the only IP version it is meant for


@dataclass(frozen=True)
class Config:
    """The plugin's keys."""

    mappings: tuple[Mapping, ...]
    snat: bool
    masquerade_all: bool
    mark_bit: int


def _config(request: Request) -> Config:
    """Return the configuration; what nf_tables maps cannot do is refused by name."""
    config = request.config
    backend = config.string("backend")
    if backend not in ("", "iptables", "nftables"):
        msg = f'unrecognized backend "{backend[:50]}"'
        raise CniError(Code.UNSUPPORTED_FIELD, msg, "backend is iptables or nftables")
    _refuse_unsupported(config)
    bit = config.integer_or_none("markMasqBit")
    if bit is not None and not 0 <= bit <= 31:
        raise invalid_config("MasqMarkBit must be between 0 and 31", f"markMasqBit is {bit}")
    entries = request.runtime_config.sections("portMappings")
    return Config(
        _without_conflicts([_mapping(entry) for entry in entries]),
        config.boolean("snat", default=True),
        config.boolean("masqAll"),
        MARK_BIT if bit is None else bit,
    )


def _refuse_unsupported(config: Section) -> None:
    if chain := config.string("externalSetMarkChain"):
        if config.get("markMasqBit") is not None:
            raise invalid_config("Cannot specify externalSetMarkChain and markMasqBit")
        msg = f"cannot use externalSetMarkChain {chain[:50]!r}: it is a chain of iptables"
        details = "set markMasqBit to the bit that the chain sets (KUBE-MARK-MASQ: 14)"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, details)
    for key in ("conditionsV4", "conditionsV6"):
        if conditions := config.strings(key):
            msg = f"cannot use {key} {' '.join(conditions)[:100]!r}: ports are in maps, not rules"
            details = f"remove {key}; hostIP limits a mapping to one address of the host"
            raise CniError(Code.UNSUPPORTED_FIELD, msg, details)


def _mapping(entry: Section) -> Mapping:
    host_port, container_port = entry.integer("hostPort"), entry.integer("containerPort")
    if not 0 < host_port <= PORT_MAX:
        raise invalid_config(f"Invalid host port number: {host_port}", f"{entry.where}.hostPort")
    if not 0 < container_port <= PORT_MAX:
        msg = f"Invalid container port number: {container_port}"
        raise invalid_config(msg, f"{entry.where}.containerPort")
    protocol = entry.string("protocol").casefold() or "tcp"
    if protocol not in PROTOCOLS:
        msg = f"cannot use {entry.where}.protocol {protocol[:50]!r}"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, f"it must be one of {', '.join(PROTOCOLS)}")
    host_ip = entry.address("hostIP")
    version = host_ip.version if host_ip else None
    if host_ip is not None and host_ip.is_unspecified:
        host_ip = None
    return Mapping(protocol, host_port, container_port, host_ip, version)


def _without_conflicts(mappings: list[Mapping]) -> tuple[Mapping, ...]:
    """Return each mapping once.  Raises CniError when one host port leads to two places."""
    targets: dict[tuple[object, ...], int] = {}
    for one in mappings:
        key = (one.protocol, one.host_port, one.host_ip, one.version)
        if targets.setdefault(key, one.container_port) != one.container_port:
            msg = f"cannot map host port {one.host_port}/{one.protocol} twice"
            raise invalid_config(msg, f"to {targets[key]} and to {one.container_port}")
    return tuple(dict.fromkeys(mappings))


def add(request: Request) -> Result:
    """Map the ports; return the previous result as it is."""
    result = request.required_prev_result()
    config = _config(request)
    addresses = _addresses(request, result)
    if not config.mappings or not addresses:
        return result
    from cni.kernel import firewall

    with rollback() as undo:
        firewall.map_ports(request.attachment, _ports(config, addresses))
        undo(lambda: firewall.remove(request.attachment, firewall.PORTS))
        _forget_udp(_udp_ports(config.mappings))
        if config.snat:
            _let_localhost_through(addresses)
    return result


def _addresses(request: Request, result: Result) -> list[IPInterface]:
    """Return the container's first IPv4 and first IPv6 address."""
    ours = [ip.address for ip in result.ips if _is_ours(request, result, ip)]
    first = (next((one for one in ours if one.version == version), None) for version in (4, 6))
    return [one for one in first if one is not None]


def _is_ours(request: Request, result: Result, ip: IP) -> bool:
    """Tell whether an address is on the attachment's interface; without an index it is."""
    if ip.interface is None or not 0 <= ip.interface < len(result.interfaces):
        return True
    interface = result.interfaces[ip.interface]
    return interface.name == request.attachment.ifname and bool(interface.sandbox)


def _ports(config: Config, addresses: Iterable[IPInterface]) -> "list[Port]":
    from cni.kernel.firewall import Port

    ports = []
    for address in addresses:
        subnet = EVERYBODY[address.version] if config.masquerade_all else address.network
        ports += [
            Port(
                mapping.protocol,
                mapping.host_ip,
                mapping.host_port,
                address.ip,
                mapping.container_port,
                subnet if config.snat else None,
                config.mark_bit,
            )
            for mapping in config.mappings
            if mapping.version in (None, address.version)
        ]
    return ports


def _let_localhost_through(addresses: Iterable[IPInterface]) -> None:
    """Let packets from 127.0.0.1 leave to the pod; without that it cannot use the host port."""
    from cni.kernel import link, route, sysctl
    from cni.kernel.netlink import ROUTE, Netlink

    with Netlink(ROUTE) as host:
        for address in addresses:
            found = route.match(host, address.ip) if address.version == 4 else None
            device = link.get_by_index(host, found.oif) if found else None
            if device is not None:
                sysctl.write_if_there(f"ipv4/conf/{device.name}/route_localnet", "1")


def _udp_ports(mappings: Iterable[Mapping]) -> frozenset[int]:
    return frozenset(one.host_port for one in mappings if one.protocol == "udp")


def _forget_udp(ports: frozenset[int]) -> None:
    """Forget the flows to UDP `ports`, so that the next packet finds the pod of today."""
    if not ports:
        return
    from cni.kernel import conntrack

    for version in (4, 6):
        try:
            conntrack.forget_udp(version, ports)
        except OSError as error:
            log.warning("cannot flush connections of UDP ports %s: %s", sorted(ports), error)


def _forget_elements(elements: "Iterable[Element]") -> None:
    from cni.kernel import firewall

    ports = map(firewall.host_port, elements)
    _forget_udp(frozenset(port for protocol, port in ports if protocol == firewall.UDP))


def delete(request: Request) -> None:
    """Remove the attachment's ports, whatever the runtime says that they were."""
    from cni.kernel import firewall, leftovers

    attachment = request.attachment
    try_all(
        (
            lambda: _forget_elements(firewall.remove(attachment, firewall.PORTS)),
            lambda: leftovers.delete_ports(attachment),
        )
    )


def check(request: Request) -> None:
    """Raise CniError unless every mapping is in the firewall."""
    result = request.required_prev_result()
    config = _config(request)
    if not config.mappings:
        return
    from cni.kernel import firewall, leftovers

    ports = _ports(config, _addresses(request, result))
    missing = firewall.missing_ports(request.attachment, ports)
    targets = {port.address for port in ports}
    if missing and not leftovers.has_ports(request.attachment, targets):
        msg = f"host ports are incomplete: {', '.join(missing)} is missing"
        raise CniError(Code.CHECK_FAILED, msg, "DEL and ADD the attachment again")


def status(request: Request) -> None:
    """Raise CniError code 50 when the kernel has no nf_tables for us."""
    _config(request)
    from cni.kernel import firewall

    try:
        firewall.probe()
    except OSError as error:
        msg = f"cannot map ports: {error}"
        details = "the kernel needs CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT"
        raise CniError(Code.UNAVAILABLE, msg, details) from error


def gc(request: Request) -> None:
    """Remove the ports of this network that belong to no valid attachment."""
    garbage.collect(request, (_collect,))


def _collect(network: str, valid: frozenset[str]) -> None:
    from cni.kernel import firewall

    _forget_elements(firewall.collect(network, valid, firewall.PORTS))


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)
