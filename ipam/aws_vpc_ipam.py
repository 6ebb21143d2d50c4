"""aws-vpc-ipam: addresses of the VPC, from the pool that the node agent keeps warm.

The pool is the agent's (its role vpc); this program asks it over a socket and calls no cloud.
DEL and GC work with the agent away: they leave word, and it does the rest when it is back.
"""

from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

from cni.config import IPAddress, IPInterface
from cni.errors import CniError, Code
from cni.request import Request
from cni.result import DNS, IP, Result, Route, read_dns, read_route
from cni.skel import Plugin
from cni.vpc import client, released
from cni.vpc.client import AwayError, Placement, RefusedError
from cni.vpc.pods import GATEWAYS

ADDRESSING = ("host", "subnet")
EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True)
class Settings:
    """The `ipam` section; see docs/plugins/aws-vpc-ipam.md."""

    addressing: str
    routes: tuple[Route, ...] | None  # None: a default route
    dns: DNS
    requested: IPAddress | None


def add(request: Request) -> Result:
    """Have an address assigned; an attachment that asks again gets the same one."""
    settings, attachment = _settings(request), request.attachment
    try:
        return _result(settings, client.add(attachment, settings.requested))
    except BaseException as error:
        unheard = isinstance(error, AwayError) and not error.heard
        if not (unheard or isinstance(error, RefusedError)):  # an address is given, or may be yet
            released.add(attachment)
        raise


def delete(request: Request) -> None:
    """Release what the attachment holds, whatever the configuration says by now."""
    try:
        client.delete(request.attachment)
    except AwayError:
        released.add(request.attachment)


def check(request: Request) -> None:
    """Raise CniError unless the attachment holds what prevResult says."""
    held = client.check(request.attachment).addresses
    result = request.prev_result()
    ips = [ip.address.ip for ip in result.ips] if result else []
    if ips and not set(held) <= set(ips):
        msg = f"address {', '.join(map(str, held))} is not what the attachment was given"
        details = f"its result says {', '.join(map(str, ips))}: DEL and ADD it again"
        raise CniError(Code.CHECK_FAILED, msg, details)


def status(request: Request) -> None:
    """Raise CniError code 50 unless the agent can serve ADD."""
    try:
        _settings(request)
        client.status(request.attachment.network)
    except CniError as error:
        if error.code == Code.LIMITED_CONNECTIVITY:
            raise
        raise CniError(Code.UNAVAILABLE, error.msg, error.details) from error


def gc(request: Request) -> None:
    """Release what no valid attachment of this network holds."""
    valid = request.valid_attachments()
    if valid is None:
        return
    try:
        client.gc(request.attachment.network, valid)
    except AwayError:
        released.add_gc(request.attachment.network, valid)


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)


def _settings(request: Request) -> Settings:
    ipam = request.config.section("ipam")
    addressing = ipam.string("addressing", ADDRESSING[0])
    if addressing not in ADDRESSING:
        msg = f"cannot use ipam.addressing {addressing[:50]!r}"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, f"it must be {' or '.join(ADDRESSING)}")
    routes = [read_route(one) for one in ipam.sections("routes")]
    return Settings(
        addressing=addressing,
        routes=None if ipam.get("routes") is None else tuple(routes),
        dns=read_dns(ipam.section("dns")),
        requested=_requested(request),
    )


def _requested(request: Request) -> IPAddress | None:
    """Return the address that the runtime or the user asks for (CNI CONVENTIONS, "ips")."""
    asked = [*request.config.section("args").section("cni").strings("ips")]
    asked += request.runtime_config.strings("ips")
    asked += request.arguments("IP").values()
    addresses = []
    for text in asked:
        try:
            addresses.append(ip_interface(text).ip)
        except ValueError as error:
            msg = f"cannot use the requested address {text[:50]!r}"
            raise CniError(Code.UNSUPPORTED_FIELD, msg, "it must be an IP address") from error
    if len(set(addresses)) > 1:
        msg = f"cannot give {', '.join(map(str, addresses))}: a pod has one address of the VPC"
        raise CniError(Code.UNSUPPORTED_FIELD, msg, "ask for one")
    return addresses[0] if addresses else None


def _result(settings: Settings, placement: Placement) -> Result:
    ips = tuple(_ip(settings, placement, address) for address in placement.addresses)
    routes = settings.routes
    if routes is None:
        routes = tuple(Route(EVERYWHERE[ip.address.version]) for ip in ips)
    return Result(ips=ips, routes=routes, dns=settings.dns)


def _ip(settings: Settings, placement: Placement, address: IPAddress) -> IP:
    """Return an address with its gateway.

    The subnet's own is for pods that are on a link with it: a host that gave that address to
    itself, as a pod's gateway, would lose its own way out.
    """
    subnet = placement.subnet
    if settings.addressing == "subnet" and subnet is not None and address in subnet:
        return IP(_with_prefix(address, subnet.prefixlen), placement.gateway)
    return IP(_with_prefix(address, address.max_prefixlen), GATEWAYS[address.version])


def _with_prefix(address: IPAddress, length: int) -> IPInterface:
    return ip_interface((address, length))
