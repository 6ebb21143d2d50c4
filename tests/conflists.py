"""Network configuration lists as the networks of the field write them."""

from typing import Any


def kindnet(pod_cidrs: list[str], mtu: int = 0) -> dict[str, Any]:
    """Return the list that kind's agent writes; `mtu` in bytes, 0: the key is left out."""
    ptp: dict[str, Any] = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni-ipam-state",
            "routes": [{"dst": "::/0" if ":" in cidr else "0.0.0.0/0"} for cidr in pod_cidrs],
            "ranges": [[{"subnet": cidr}] for cidr in pod_cidrs],
        },
    }
    if mtu:
        ptp["mtu"] = mtu
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.3.1", "name": "kindnet", "plugins": [ptp, portmap]}
