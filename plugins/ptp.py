"""ptp: a routed veth pair, and nothing else.  The host is the gateway."""

from cni import routed
from cni.request import Request
from cni.result import Result
from cni.skel import Plugin


def add(request: Request) -> Result:
    """Give the container a routed veth pair with the addresses of IPAM."""
    return routed.add(request, routed.read(request))


def check(request: Request) -> None:
    """Raise CniError unless container, host, firewall and IPAM are as prevResult says."""
    routed.check(request, routed.read(request))


def status(request: Request) -> None:
    """Raise CniError code 50 or 51 unless ADD can be served: IPAM knows, and the node agent."""
    from cni.agent import state

    routed.read(request).ipam.status()
    state.check(request.attachment.network)


PLUGIN = Plugin(add=add, delete=routed.delete, check=check, status=status, gc=routed.gc)
