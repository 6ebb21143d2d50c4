"""A first invocation of each program, in namespaces of its own, before anybody asks.

What Python and pyroute2 make up at first use (message tables, patterns, imports within functions)
is then there for every worker: that saves a fifth of an ADD.
"""

import ctypes
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cni import skel
from cni.kernel.netlink import close_lingering
from cni.kernel.netns import CLONE_NEWNET

log = logging.getLogger(__name__)
NAME = "pycni-rehearsal"
SUBNETS = ("192.0.2.0/24", "2001:db8::/64")  # for documents: RFC 5737, RFC 3849
PORTS = [{"hostPort": 1, "containerPort": 1, "protocol": kind} for kind in ("tcp", "udp")]


def rehearse() -> None:
    """Run ADD, CHECK and DEL of what pods need; what fails is told, and no harm."""
    leases = tempfile.mkdtemp(prefix=f"{NAME}-")
    try:
        with _namespaces() as netns:
            _play(leases, netns)
    except (OSError, ValueError) as error:
        log.warning("the first invocations will be slower: %s", error)
    finally:
        shutil.rmtree(leases, ignore_errors=True)


@contextmanager
def _namespaces() -> Iterator[str]:
    """Be in a network namespace that nobody knows; yield the path of another one."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.unshare(CLONE_NEWNET))
        container = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(libc.unshare(CLONE_NEWNET))
            yield f"/proc/self/fd/{container}"
        finally:
            close_lingering()
            os.close(container)
            _check(libc.setns(home, CLONE_NEWNET))
    finally:
        os.close(home)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _play(leases: str, netns: str) -> None:
    ranges = [[{"subnet": subnet}] for subnet in SUBNETS]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = {"type": "host-local", "dataDir": leases, "ranges": ranges, "routes": routes}
    common: dict[str, Any] = {"cniVersion": "1.1.0", "name": NAME}
    interface = {**common, "type": "ptp", "ipMasq": True, "ipam": ipam}
    chained = {**common, "type": "portmap", "runtimeConfig": {"portMappings": PORTS}}
    result = json.loads(_call("ptp", "ADD", interface, netns))
    for verb in ("ADD", "CHECK", "DEL"):
        _call("portmap", verb, {**chained, "prevResult": result}, netns)
    for verb in ("CHECK", "DEL"):
        _call("ptp", verb, {**interface, "prevResult": result}, netns)
    for verb in ("ADD", "DEL"):
        _call("loopback", verb, {**common, "type": "loopback"}, netns)
    bridge = {**interface, "type": "bridge", "isGateway": True}
    result = json.loads(_call("bridge", "ADD", bridge, netns))
    for verb in ("CHECK", "DEL"):
        _call("bridge", verb, {**bridge, "prevResult": result}, netns)


def _call(program: str, verb: str, conf: dict[str, Any], netns: str) -> str:
    """Return what `program` prints.  Raises ValueError when it refuses."""
    own = sys.executable if getattr(sys, "frozen", False) else sys.argv[0]
    env = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": NAME,
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": os.path.dirname(own),
    }
    output, status = skel.run(program, env, lambda: json.dumps(conf).encode())
    if status:
        message = f"{program} {verb}: {output}"
        raise ValueError(message)
    return output
