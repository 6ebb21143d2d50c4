"""The networks of these tests, and what an attachment leaves on the host."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import lab

DATA_DIR = "/run/cni-ipam-state"
SUBNETS = {"4": "10.244.1.0/24", "6": "fd00:10:244:1::/64"}
GATEWAYS = {"4": "10.244.1.1", "6": "fd00:10:244:1::1"}
DEFAULT_ROUTES = {"4": "0.0.0.0/0", "6": "::/0"}
PORT_8080 = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}


def kindnet(cni_version: str, families: str = "4", **ptp: Any) -> Any:
    """Return the list that kindnet writes, in any version; `families` is "4", "6" or "46"."""
    ipam = {
        "type": "host-local",
        "dataDir": DATA_DIR,
        "routes": [{"dst": DEFAULT_ROUTES[family]} for family in families],
        "ranges": [[{"subnet": SUBNETS[family]}] for family in families],
    }
    return {
        "cniVersion": cni_version,
        "name": "kindnet",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "mtu": 1500, **ptp, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def loopback(cni_version: str) -> Any:
    """Return the list that containerd adds to every pod."""
    return {"cniVersion": cni_version, "name": "cni-loopback", "plugins": [{"type": "loopback"}]}


@contextmanager
def fresh_pod() -> Iterator[str]:
    """Yield the path of a pod's namespace on a host of its own: one turn of a version matrix."""
    with lab.fresh_host():
        lab.run("ip link set lo up")
        yield lab.add_netns("pod")


def addresses(ifname: str, netns: str = "") -> set[str]:
    """Return the addresses of `ifname` with prefix length, without link-local ones."""
    (link,) = lab.ip(f"addr show dev {ifname}", netns)
    return {
        f"{info['local']}/{info['prefixlen']}"
        for info in link["addr_info"]
        if info["scope"] != "link"
    }


def mac(ifname: str, netns: str = "") -> str:
    """Return the link-layer address of `ifname`."""
    (link,) = lab.ip(f"link show dev {ifname}", netns)
    return str(link["address"])


def result_addresses(result: Any) -> set[str]:
    """Return the addresses of a result in version 1.0.0."""
    return {address["address"] for address in result["ips"]}


def traces(*words: str) -> dict[str, list[str]]:
    """Return what the host has: links, routes, and what mentions one of `words`.

    Words are container IDs and addresses; firewall rules and the files under /run and /var/lib
    are searched for them.  The allocator's memory of its last address is not a trace.
    """
    wanted = re.compile("|".join(f"{re.escape(word)}(?![0-9a-f])" for word in words))
    rules = [line.strip() for line in lab.run("nft list ruleset").splitlines()]
    return {
        "links": sorted(link["ifname"] for link in lab.ip("link")),
        "routes": sorted(lab.run(f"ip -{family} route show table all") for family in ("4", "6")),
        "rules": [line for line in rules if wanted.search(line)],
        "files": [str(path) for path in _files() if wanted.search(_text(path))],
    }


def _files() -> Iterator[Path]:
    for place in ("/run", "/var/lib"):
        for directory, names, files in os.walk(place):
            if directory == "/run":
                names.remove("netns")
            yield from (
                Path(directory, file) for file in files if not file.startswith("last_reserved_ip")
            )


def _text(path: Path) -> str:
    return f"{path}\n{path.read_text(errors='replace')}"
