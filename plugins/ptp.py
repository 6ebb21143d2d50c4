"""ptp: a routed veth pair, and nothing else.  The host is the gateway."""

from cni import routed
from cni.request import Request
from cni.result import Result
from cni.skel import Plugin


def add(request: Request) -> Result:
    """Give the container a routed veth pair with the addresses of IPAM."""
    return routed.add(request, routed.read(request))


PLUGIN = Plugin(
    add=add, delete=routed.delete, check=routed.check, status=routed.status, gc=routed.gc
)
