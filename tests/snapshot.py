"""All of a host that a program may change, as a value: equal ones mean that nothing was done.

    with snapshot.unchanged():
        …

What the kernel does by itself and in its own time is left out: carrier, link-local addresses,
lifetimes and the local routing table, which follows from the addresses.
"""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests import lab

PLACES = ("/run", "/var/lib")  # empty on a fresh host
SYSCTLS = [
    "ipv4/ip_forward",
    "ipv4/conf/all/route_localnet",
    "ipv4/conf/default/route_localnet",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/all/arp_notify",
    "ipv4/conf/default/arp_notify",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/default/forwarding",
    "ipv6/conf/all/disable_ipv6",
    "ipv6/conf/default/disable_ipv6",
    "ipv6/conf/default/accept_dad",
    "ipv6/conf/default/accept_ra",
]
LINK = ("ifname", "ifindex", "address", "mtu", "txqlen", "master", "link_netnsid", "ifalias")
ADDRESS = ("family", "local", "prefixlen", "scope", "label")
PERMANENT = "neigh show nud permanent"
UNSETTLED = ("flags", "expires", "used", "age")  # of a route
SHOWN = 200  # bytes of a file; of longer ones the digest
Snapshot = dict[str, str]


def take() -> Snapshot:
    """Return the state of this host and of each namespace under /run/netns: name -> value."""
    found = dict(_namespace("", "host"))
    for entry in os.scandir("/run/netns"):
        if os.path.ismount(entry.path):
            found |= _namespace(entry.name, f"netns {entry.name}")
    for place in PLACES:
        for path in Path(place).rglob("*"):
            found[str(path)] = _file(path)
    return found


def changes(before: Snapshot) -> dict[str, tuple[str, str]]:
    """Return what is different now: name -> (before, now)."""
    now = take()
    names = sorted(before.keys() | now.keys())
    pairs = {name: (before.get(name, "absent"), now.get(name, "absent")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@contextmanager
def unchanged() -> Iterator[None]:
    """Fail unless all is as before when the block ends."""
    before = take()
    yield
    found = changes(before)
    assert not found, found


def _namespace(netns: str, where: str) -> Iterator[tuple[str, str]]:
    with _inside(netns):
        links, routes, rules, neighbours = _ip(
            "", "addr", "route show table all", "rule", PERMANENT
        )
        (rules6,) = _ip("-6", "rule")
        firewall = lab.run("nft --stateless list ruleset")
        sysctls = {key: Path(f"/proc/sys/net/{key}").read_text().strip() for key in SYSCTLS}
    for link in links:
        values = {key: link.get(key) for key in LINK}
        values |= {"up": "UP" in link["flags"], "kind": link.get("linkinfo", {}).get("info_kind")}
        yield f"{where}: link {link['ifname']}", json.dumps(values)
        for one in link["addr_info"]:
            if one["scope"] != "link":
                address = {key: one.get(key) for key in ADDRESS}
                yield f"{where}: address {one['local']} of {link['ifname']}", json.dumps(address)
    yield f"{where}: routes", _lines(map(_settled, routes))
    yield f"{where}: rules", _lines(map(json.dumps, rules + rules6))
    yield f"{where}: neighbours", _lines(map(json.dumps, neighbours))
    yield f"{where}: firewall", firewall
    yield from ((f"{where}: {key}", value) for key, value in sysctls.items())


@contextmanager
def _inside(netns: str) -> Iterator[None]:
    """Be in a namespace: cheaper than to let each command enter it."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    target = os.open(lab.netns_path(netns), os.O_RDONLY) if netns else os.dup(home)
    try:
        lab._call("setns", target, lab.CLONE_NEWNET)
        yield
    finally:
        lab._call("setns", home, lab.CLONE_NEWNET)
        os.close(target)
        os.close(home)


def _ip(family: str, *commands: str) -> list[Any]:
    """Run `ip` once for all `commands`; return what each says."""
    text = lab.run(f"ip {family} -json -details -batch -", stdin="\n".join(commands) + "\n")
    return [json.loads(line) for line in text.splitlines()]


def _settled(route: dict[str, Any]) -> str:
    """Return a route as text; nothing for what the kernel makes by itself."""
    own = route.get("table") == "local" or route["dst"].startswith("fe80:")
    if own and route["protocol"] == "kernel":
        return ""
    return json.dumps({key: value for key, value in route.items() if key not in UNSETTLED})


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(sorted(text for text in texts if text))


def _file(path: Path) -> str:
    """Return kind, mode, owner and contents of a file."""
    status = path.lstat()
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{text} -> {path.readlink()}"
    if not stat.S_ISREG(status.st_mode) or os.path.ismount(path):
        return f"{text} {status.st_dev}:{status.st_ino}"
    data = path.read_bytes()
    return f"{text} {data!r}" if len(data) <= SHOWN else f"{text} {sha256(data).hexdigest()}"
