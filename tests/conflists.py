"""The project's conflists, with the addresses of a test in them."""

import json
from pathlib import Path
from typing import Any

KINDNET = Path(__file__).resolve().parent.parent / "conflists/10-kindnet.conflist"


def kindnet(pod_cidrs: list[str], mtu: int = 0) -> dict[str, Any]:
    """Return the list as kind's agent writes it; `mtu` in bytes, 0: the key is left out."""
    conflist: dict[str, Any] = json.loads(KINDNET.read_text())
    ptp = conflist["plugins"][0]
    ptp["ipam"] |= {
        "routes": [{"dst": "::/0" if ":" in cidr else "0.0.0.0/0"} for cidr in pod_cidrs],
        "ranges": [[{"subnet": cidr}] for cidr in pod_cidrs],
    }
    del ptp["mtu"]
    if mtu:
        ptp["mtu"] = mtu
    return conflist
