"""A process that does nothing but follow the nodes of an API: `python -m bench.follower URL CA`.

Each line of its output is an object of JSON: what the client costs, then each time nodes are told.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path


def figures() -> dict[str, float]:
    """Return RSS now and at most in MB, seconds of processor time, and what the clock says."""
    status = Path("/proc/self/status").read_text().split()
    rss, peak = (int(status[status.index(key) + 1]) / 1e3 for key in ("VmRSS:", "VmHWM:"))
    return {"rss": rss, "peak": peak, "cpu": time.process_time(), "clock": time.monotonic()}


def tell(**values: float) -> None:
    """Write one line."""
    sys.stdout.write(f"{json.dumps(values)}\n")
    sys.stdout.flush()


def follow(url: str, ca: str) -> None:
    """Write figures before and after the client is loaded, and whenever nodes are told."""
    bare = figures()
    from cni.agent.nodes.access import Access
    from cni.agent.nodes.cache import Cache
    from cni.agent.nodes.kubernetes import KubernetesNodes

    tell(**bare)
    tell(**figures())
    access = Access(url, "agent-token", Path(ca).read_text())

    def changed(nodes: Mapping[str, object]) -> None:
        tell(**figures(), nodes=len(nodes))

    KubernetesNodes(lambda: access, Cache("/dev/null/none")).run(changed, threading.Event())


if __name__ == "__main__":
    follow(*sys.argv[1:])
