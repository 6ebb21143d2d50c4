"""loopback: brings lo up in the container, whatever CNI_IFNAME says."""

from cni.config import IPInterface
from cni.errors import CniError, Code
from cni.kernel import address, link
from cni.kernel.netlink import ROUTE, Netlink
from cni.request import Request
from cni.result import IP, Interface, Result
from cni.skel import Plugin

LO = 1  # the index of lo in every namespace
NO_MAC = "00:00:00:00:00:00"


def add(request: Request) -> Result:
    """Bring lo up; return its addresses, or the previous result when chained."""
    prev_result = request.prev_result()
    with Netlink(ROUTE, request.netns) as container:
        container.do(link.set_up(LO, "lo"))
        addresses = _addresses(container)
    if prev_result is not None:
        return prev_result
    first = [next((one for one in addresses if one.version == v), None) for v in (4, 6)]
    return Result(
        interfaces=(Interface("lo", NO_MAC, request.netns),),
        ips=tuple(IP(one, interface=0) for one in first if one is not None),
    )


def _addresses(container: Netlink) -> list[IPInterface]:
    """Return the addresses of lo.  Raises CniError when one is not a loopback address."""
    addresses = address.get(container, LO)
    for one in addresses:
        if not one.ip.is_loopback:
            msg = f'loopback interface found with non-loopback address "{one}"'
            raise CniError(Code.CHECK_FAILED, msg, f"ip addr del {one} dev lo")
    return addresses


def delete(request: Request) -> None:
    """Take lo down, if the container is still there."""
    if request.netns:
        with Netlink(ROUTE, request.netns) as container:
            container.do(link.set_down(LO, "lo"))


def check(request: Request) -> None:
    """Raise CniError unless lo is up and has loopback addresses only."""
    with Netlink(ROUTE, request.netns) as container:
        found = link.get(container, "lo")
        if found is None or not found.up:
            raise CniError(Code.CHECK_FAILED, "loopback interface is down", "ip link set lo up")
        _addresses(container)


def status(_request: Request) -> None:
    """Be ready: lo needs nothing."""


def gc(_request: Request) -> None:
    """Have nothing to collect: lo goes with its namespace."""


PLUGIN = Plugin(add=add, delete=delete, check=check, status=status, gc=gc)
