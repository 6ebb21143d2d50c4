"""The result of ADD, read and written in every SPEC version (CNI SPEC, "Success").

Inside the suite there is one form, that of 1.1.0.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from cni import versions
from cni.config import IPAddress, IPInterface, IPNetwork, Section
from cni.errors import CniError, Code

Json = dict[str, Any]
LEGACY = ("0.1.0", "0.2.0")
WITH_IP_VERSION = ("0.3.0", "0.3.1", "0.4.0")


@dataclass(frozen=True)
class Interface:
    """An interface; `sandbox` is the netns path, empty on the host.  `mtu` in bytes, 0: unsaid."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True)
class IP:
    """An address; `interface` is an index into `Result.interfaces`, None when unknown."""

    address: IPInterface
    gateway: IPAddress | None = None
    interface: int | None = None


@dataclass(frozen=True)
class Route:
    """A route of the container; gw None: the gateway of the address of that family."""

    dst: IPNetwork
    gw: IPAddress | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True)
class DNS:
    """resolv.conf for the container."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What ADD made."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IP, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: DNS = field(default_factory=DNS)

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        """Return the addresses with their prefix lengths, in their order."""
        return tuple(ip.address for ip in self.ips)


# reading


def read_result(values: Json, default_version: str) -> Result:
    """Return the result in `values`, of its own cniVersion or else `default_version`.

    Raises CniError: code 1 for a version that nobody knows, 6 for what cannot be decoded.
    """
    section = Section(values, "result")
    try:
        version = section.string("cniVersion") or default_version or versions.DEFAULT
        if version not in versions.SUPPORTED:
            raise _unknown_version(version)
        return _read_legacy(section) if version in LEGACY else _read(section)
    except CniError as error:
        if error.code == Code.INCOMPATIBLE_VERSION:
            raise
        msg = f"cannot decode the result: {error.msg}"
        raise CniError(Code.DECODING_FAILURE, msg, error.details) from error


def _unknown_version(version: str) -> CniError:
    msg = f"cannot convert a result of CNI version {version[:50]!r}"
    return CniError(Code.INCOMPATIBLE_VERSION, msg, f"known: {', '.join(versions.SUPPORTED)}")


def _read(section: Section) -> Result:
    return Result(
        interfaces=tuple(_read_interface(one) for one in section.sections("interfaces")),
        ips=tuple(_read_ip(one) for one in section.sections("ips")),
        routes=tuple(read_route(one) for one in section.sections("routes")),
        dns=read_dns(section.section("dns")),
    )


def _read_interface(section: Section) -> Interface:
    return Interface(
        name=section.string("name"),
        mac=section.string("mac"),
        sandbox=section.string("sandbox"),
        mtu=section.integer("mtu"),
        socket_path=section.string("socketPath"),
        pci_id=section.string("pciID"),
    )


def _read_ip(section: Section) -> IP:
    return IP(
        address=section.interface("address"),
        gateway=section.address("gateway"),
        interface=section.integer_or_none("interface"),
    )


def read_route(section: Section) -> Route:
    """Return the route in a configuration or a result."""
    return Route(
        dst=section.network("dst"),
        gw=section.address("gw"),
        mtu=section.unsigned("mtu"),
        advmss=section.unsigned("advmss"),
        priority=section.unsigned("priority"),
        table=section.unsigned_or_none("table"),
        scope=section.unsigned_or_none("scope", bits=8),
    )


def read_dns(section: Section) -> DNS:
    """Return the `dns` object of a configuration or a result."""
    return DNS(
        nameservers=section.strings("nameservers"),
        domain=section.string("domain"),
        search=section.strings("search"),
        options=section.strings("options"),
    )


def _read_legacy(section: Section) -> Result:
    """Read ip4 and ip6 of 0.1.0 and 0.2.0: no interfaces, the routes beside their address."""
    halves = [section.section(key) for key in ("ip4", "ip6") if section.get(key) is not None]
    return Result(
        ips=tuple(IP(half.interface("ip"), half.address("gateway")) for half in halves),
        routes=tuple(read_route(route) for half in halves for route in half.sections("routes")),
        dns=read_dns(section.section("dns")),
    )


# writing


def render(result: Result, version: str) -> Json:
    """Return `result` as JSON values of SPEC `version`.

    Raises CniError code 1 if that version cannot say it: 0.1.0 and 0.2.0 need an address.
    """
    if version in LEGACY:
        return _render_legacy(result, version)
    if version not in versions.SUPPORTED:
        raise _unknown_version(version)
    old = version in WITH_IP_VERSION
    lists = {
        "interfaces": [_render_interface(one, old=old) for one in result.interfaces],
        "ips": [_render_ip(one, old=old) for one in result.ips],
        "routes": [render_route(one) for one in result.routes],
    }
    present = {key: values for key, values in lists.items() if values}
    dns = render_dns(result.dns)
    if old:
        return {"cniVersion": version, **present, "dns": dns}
    values = {"cniVersion": version, **({"dns": dns} if dns else {}), **present}
    # the reference prints it through a map: keys in alphabetical order, at every level
    ordered: Json = json.loads(json.dumps(values, sort_keys=True))
    return ordered


def dump(values: Json) -> str:
    """Return `values` as the reference prints them: four spaces, no newline at the end."""
    return json.dumps(values, indent=4, ensure_ascii=False)


def _render_interface(interface: Interface, *, old: bool) -> Json:
    fields: Json = {"name": interface.name}
    if not old:
        fields |= {"mtu": interface.mtu}
    fields |= {"mac": interface.mac, "sandbox": interface.sandbox}
    if not old:
        fields |= {"socketPath": interface.socket_path, "pciID": interface.pci_id}
    return {"name": interface.name} | {key: value for key, value in fields.items() if value}


def _render_ip(ip: IP, *, old: bool) -> Json:
    fields: Json = {"version": str(ip.address.version)} if old else {}
    if ip.interface is not None:
        fields["interface"] = ip.interface
    fields["address"] = str(ip.address)
    if ip.gateway is not None:
        fields["gateway"] = str(ip.gateway)
    return fields


def render_route(route: Route) -> Json:
    """Return the JSON of a route; what is unsaid is absent."""
    fields: Json = {"dst": str(route.dst)}
    if route.gw is not None:
        fields["gw"] = str(route.gw)
    for key in ("mtu", "advmss", "priority"):
        if getattr(route, key):
            fields[key] = getattr(route, key)
    for key in ("table", "scope"):  # 0 says something here
        if getattr(route, key) is not None:
            fields[key] = getattr(route, key)
    return fields


def render_dns(dns: DNS) -> Json:
    """Return the JSON of resolv.conf; what is empty is absent."""
    fields: Json = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return {key: value for key, value in fields.items() if value}


def _render_legacy(result: Result, version: str) -> Json:
    halves = {f"ip{family}": _render_half(result, family) for family in (4, 6)}
    present = {key: half for key, half in halves.items() if half}
    if not present:
        msg = f"cannot convert the result to CNI version {version}: no valid IP addresses"
        raise CniError(Code.INCOMPATIBLE_VERSION, msg, "use cniVersion 0.3.0 or newer")
    return {"cniVersion": version, **present, "dns": render_dns(result.dns)}


def _render_half(result: Result, family: int) -> Json:
    """Return ip4 or ip6: the first address of that family, and the routes of that family."""
    ip = next((one for one in result.ips if one.address.version == family), None)
    if ip is None:
        return {}
    fields: Json = {"ip": str(ip.address)}
    if ip.gateway is not None:
        fields["gateway"] = str(ip.gateway)
    routes = [render_route(route) for route in result.routes if route.dst.version == family]
    if routes:
        fields["routes"] = routes
    return fields
