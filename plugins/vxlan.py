"""vxlan: a routed veth pair, and the ways to the pods of the other nodes.

The pod has what ptp gives it.  The ways are the node's, not the pod's: ADD makes them, or sees
that the node agent has, and DEL leaves them.  cni/overlay/plan.py tells what they are.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cni import pod, routed
from cni.cluster import Cluster, Node, cluster, read_node, read_nodes
from cni.config import Section
from cni.errors import CniError, Code, invalid_config
from cni.handover import SOCKET
from cni.leases.lock import exclusive
from cni.overlay.apply import Overlay
from cni.overlay.settings import read_settings
from cni.request import Request
from cni.result import Result
from cni.skel import Plugin

log = logging.getLogger(__name__)
UNAVAILABLE: dict[int, Code] = {  # what STATUS says where ADD would say something else
    Code.ALREADY_ATTACHED: Code.UNAVAILABLE,
    Code.TRY_AGAIN: Code.LIMITED_CONNECTIVITY,  # pods that run are cut off from other nodes
}
LOCK_S = 30.0  # a pass over 5,000 peers takes 0.3 s


@dataclass(frozen=True)
class Ways:
    """The ways to the pods of `cluster`; without one, the node agent keeps them."""

    overlay: Overlay
    cluster: Cluster | None

    def ensure(self) -> int:
        """Make them, or see that they are there; return the MTU of pods, in bytes."""
        if self.cluster is None:
            return self.overlay.require()
        directory = os.path.dirname(SOCKET)
        os.makedirs(directory, mode=0o755, exist_ok=True)
        with exclusive(f"{directory}/{self.overlay.settings.device}.lock", LOCK_S):
            report = self.overlay.reconcile(self.cluster, full=True)
        for alarm in report.alarms:
            log.warning("%s", alarm)
        return report.mtu

    def check(self) -> None:
        """Raise CniError code 102 unless they are whole."""
        try:
            if self.cluster is None:
                self.overlay.require()
                return
            rows = self.overlay.difference(self.cluster)
        except CniError as error:
            raise pod.check_failed(error.msg, error.details) from error
        for row in rows:
            if row.wanted != row.found:
                msg = f"{row.kind} {row.wanted or row.found} on the host is "
                msg += "missing" if not row.found else f"{row.found}" if row.wanted else "too much"
                raise pod.check_failed(msg, "ADD of any pod mends it")

    def status(self) -> None:
        """Raise CniError unless ADD could make them, or the node agent has."""
        if self.cluster is None:
            self.overlay.require()
        else:
            self.overlay.require_free(self.cluster)


def _ways(config: Section) -> Ways:
    overlay, nodes = Overlay(read_settings(config)), _nodes(config)
    # the host's name as kubelet takes it
    name = config.string("nodeName") or os.uname().nodename.strip().lower()
    return Ways(overlay, None if nodes is None else cluster(nodes, name))


def _nodes(config: Section) -> Iterable[Node] | None:
    """Return the nodes of the cluster, this one too; None when the configuration names none."""
    path = config.string("peersFile")
    if path and config.get("peers") is not None:
        msg = "cannot use peers and peersFile together"
        raise invalid_config(msg, "say in one place which nodes there are")
    if path:
        return read_nodes(path, "peersFile")
    if config.get("peers") is None:
        return None
    return [read_node(section) for section in config.sections("peers")]


def _network(request: Request) -> routed.Network:
    """Return the pod's network; what goes to other nodes' pods is not masqueraded."""
    network = routed.read(request)
    cluster_cidrs = request.config.networks("clusterCIDRs")
    if network.masquerading and not cluster_cidrs:
        msg = "cannot use ipMasq: clusterCIDRs is missing"
        raise invalid_config(msg, "pods of other nodes would see this node's address")
    return replace(network, inside=cluster_cidrs)


def add(request: Request) -> Result:
    """Give the container a routed veth pair, once the ways to other nodes are there."""
    network, ways = _network(request), _ways(request.config)
    return routed.add(request, replace(network, mtu=ways.ensure()))


def check(request: Request) -> None:
    """Raise CniError unless the attachment and the ways to other nodes are whole."""
    ways = _ways(request.config)
    routed.check(request, _network(request))
    ways.check()


def status(request: Request) -> None:
    """Raise CniError code 50 or 51 unless ADD can be served."""
    from cni.agent import state

    _network(request).ipam.status()
    state.check(request.attachment.network)
    try:
        _ways(request.config).status()
    except CniError as error:
        code = UNAVAILABLE.get(error.code)
        if code is None:
            raise
        raise CniError(code, error.msg, error.details) from error


PLUGIN = Plugin(add=add, delete=routed.delete, check=check, status=status, gc=routed.gc)
