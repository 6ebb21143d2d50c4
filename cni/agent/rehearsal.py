"""A first invocation of each program, in namespaces of its own, before anybody asks.

What Python and pyroute2 make up at first use (message tables, patterns, imports within functions)
is then there for every worker: that saves a fifth of an ADD.  A second one, by workers, tells
which pages workers write to (cni/agent/pages.py).
"""

import ctypes
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cni import skel
from cni.agent import pages
from cni.agent.observe import observe
from cni.kernel.netlink import close_lingering
from cni.kernel.netns import CLONE_NEWNET

log = logging.getLogger(__name__)
NAME = "pycni-rehearsal"
SUBNETS = ("192.0.2.0/24", "2001:db8::/64")  # for documents: RFC 5737, RFC 3849
PORTS = [{"hostPort": 1, "containerPort": 1, "protocol": kind} for kind in ("tcp", "udp")]


Json = dict[str, Any]
Call = Callable[[str, str, Json, str], str]  # program, verb, configuration, netns -> what it prints


def rehearse() -> None:
    """Run ADD, CHECK and DEL of what pods need; what fails is told, and no harm."""
    _perform(_call)


def watch() -> list[pages.Range]:
    """Do it again, by workers, and return the memory that many of them write to."""
    written: list[set[int]] = []

    def call(program: str, verb: str, conf: Json, netns: str) -> str:
        output, found = observe(program, _environment(verb, netns), _stdin(conf))
        written.append(found)
        return output

    _perform(call)
    return pages.often(written)


def _perform(call: Call) -> None:
    leases = tempfile.mkdtemp(prefix=f"{NAME}-")
    try:
        with _namespaces() as netns:
            _play(leases, netns, call)
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


def _play(leases: str, netns: str, call: Call) -> None:
    ranges = [[{"subnet": subnet}] for subnet in SUBNETS]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = {"type": "host-local", "dataDir": leases, "ranges": ranges, "routes": routes}
    common: Json = {"cniVersion": "1.1.0", "name": NAME}
    interface = {**common, "type": "ptp", "ipMasq": True, "ipam": ipam}
    chained = {**common, "type": "portmap", "runtimeConfig": {"portMappings": PORTS}}
    result = json.loads(call("ptp", "ADD", interface, netns))
    for verb in ("ADD", "CHECK", "DEL"):
        call("portmap", verb, {**chained, "prevResult": result}, netns)
    for verb in ("CHECK", "DEL"):
        call("ptp", verb, {**interface, "prevResult": result}, netns)
    for verb in ("ADD", "DEL"):
        call("loopback", verb, {**common, "type": "loopback"}, netns)
    bridge = {**interface, "type": "bridge", "isGateway": True}
    result = json.loads(call("bridge", "ADD", bridge, netns))
    for verb in ("CHECK", "DEL"):
        call("bridge", verb, {**bridge, "prevResult": result}, netns)


def _call(program: str, verb: str, conf: Json, netns: str) -> str:
    """Return what `program` prints.  Raises ValueError when it refuses."""
    output, status = skel.run(program, _environment(verb, netns), lambda: _stdin(conf))
    if status:
        message = f"{program} {verb}: {output}"
        raise ValueError(message)
    return output


def _stdin(conf: Json) -> bytes:
    return json.dumps(conf).encode()


def _environment(verb: str, netns: str) -> dict[str, str]:
    own = sys.executable if getattr(sys, "frozen", False) else sys.argv[0]
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": NAME,
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": os.path.dirname(own),
    }
