"""What the kernel has of a host and its pods: one value for each attribute of each object.

Names and MACs are replaced by what they stand for, "port of a", so that hosts that were built
in different ways can be compared.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from cni.kernel.netns import entered
from tests import lab

State = dict[str, str]
Seen = dict[str, Any]  # of one namespace: what each command says
Replace = Callable[[str], str]

LINK_LOCAL = IPv6Address("fe80::")
AGES = {"REACHABLE", "STALE", "DELAY", "PROBE"}  # of a neighbour that has answered
SYSCTLS = Path("/proc/sys/net")
NOT_COMPARED = re.compile(
    r"life_time|_timer$|\.expires$|\.used$"  # clocks
    r"|\.ifindex$|\.link_index$|\.link_netnsid$"  # numbers, in the order in which things come
    r"|bridge_id|root_id|\.linkinfo.info_slave_data.(id|no|designated_port)$"  # made of those
    r"|nf_conntrack_count|stable_secret|/unix/"  # the machine's, not the network's
)


def look(pods: Iterable[str]) -> State:
    """Return the state of this host and of its `pods`, once it has come to rest."""
    names = ("", *pods)
    lab.wait_until(lambda: all(map(_at_rest, names)))
    seen = {netns: _see(netns) for netns in names}
    replace = _replacement(seen)
    return {
        f"{netns or 'host'}: {name}": value
        for netns, found in seen.items()
        for name, value in _attributes(found, replace)
        if not NOT_COMPARED.search(name)
    }


def _at_rest(netns: str) -> bool:
    """Tell whether addresses are past the search for duplicates, and neighbours have answered."""
    with _inside(netns):
        links, neighbours = _ip("", "addr", "neigh")
    tentative = [one for link in links for one in link["addr_info"] if "tentative" in one]
    return not tentative and not any("INCOMPLETE" in one["state"] for one in neighbours)


def _see(netns: str) -> Seen:
    with _inside(netns):
        links, rules, routes, neighbours = _ip("", "addr", "rule", "route show table all", "neigh")
        (rules6,) = _ip("-6", "rule")
        fdb = json.loads(lab.run("bridge -json fdb show"))
        firewall = json.loads(lab.run("nft --json list chains"))["nftables"]
        return {
            "links": links,
            "rules": {4: rules, 6: rules6},
            "routes": routes,
            "neighbours": neighbours,
            "fdb": fdb,
            "chains": [one["chain"] for one in firewall if "chain" in one],
            "sysctls": dict(_sysctls()),
        }


def _inside(netns: str) -> AbstractContextManager[None]:
    return entered(lab.netns_path(netns) if netns else "")


def _ip(family: str, *commands: str) -> list[Any]:
    """Run `ip` once for all `commands`; return what each says."""
    text = lab.run(f"ip {family} -json -details -batch -", stdin="\n".join(commands) + "\n")
    return [json.loads(line) for line in text.splitlines()]


def _sysctls() -> Iterator[tuple[str, str]]:
    for folder, _, names in os.walk(SYSCTLS):
        for path in (Path(folder, name) for name in names):
            with suppress(OSError):  # some can only be written, some are not set
                yield str(path.relative_to(SYSCTLS)), path.read_text().strip()


# names


def _replacement(seen: dict[str, Seen]) -> Replace:
    """Return what puts roles in the place of names, of MACs and of addresses made of MACs."""
    ports = {one["ifindex"]: one["ifname"] for one in seen[""]["links"]}
    inside = {netns: one for netns in seen if netns for one in seen[netns]["links"]}
    roles = {ports[one["link_index"]]: f"port of {netns}" for netns, one in inside.items()}
    for netns, found in seen.items():
        for link in found["links"]:
            name = f"eth0 of {netns}" if netns else roles.get(link["ifname"], link["ifname"])
            if link["link_type"] == "ether":
                mac = link["address"]
                roles[mac] = f"MAC of {name}"
                roles[str(_link_local(mac))] = f"link-local of {name}"
                roles[f"33:33:ff:{mac[9:]}"] = f"group of {name}"
    pattern = re.compile("|".join(rf"(?<![\w:]){re.escape(one)}(?![\w:])" for one in roles))
    return lambda text: pattern.sub(lambda found: roles[found[0]], text)


def _link_local(mac: str) -> IPv6Address:
    """Return the address that the kernel makes of a MAC (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return LINK_LOCAL + int.from_bytes(bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:])


# objects


def _attributes(seen: Seen, replace: Replace) -> Iterator[tuple[str, str]]:
    for link in seen["links"]:
        name = f"link {replace(link['ifname'])}"
        addresses = link.pop("addr_info")
        yield from ((f"{name}.{key}", link.pop(key)) for key in ("ifname", "address"))
        yield from _flat(name, link, replace)
        for one in addresses:
            yield from _flat(f"{name}: address {replace(one['local'])}", one, replace)
    for route in seen["routes"]:
        key = " ".join(str(route.get(one, "")) for one in ("type", "dst", "dev", "table", "metric"))
        yield from _flat(f"route {replace(key)}", route, replace)
    for version, rules in seen["rules"].items():
        for rule in rules:
            yield from _flat(f"rule {rule['priority']} of IPv{version}", rule, replace)
    for one in seen["neighbours"]:
        state = "answered" if AGES & set(one["state"]) else one["state"]
        yield from _flat(
            f"neighbour {replace(one['dst'])} of {replace(one['dev'])}",
            {"lladdr": one.get("lladdr"), "state": state},
            replace,
        )
    for one in seen["fdb"]:
        key = f"{one['mac']} of {one['ifname']} {one.get('master', 'self')}"
        yield from _flat(f"fdb {replace(key)}", one, replace)
    yield "tables", " ".join(sorted({f"{one['family']} {one['table']}" for one in seen["chains"]}))
    for chain in seen["chains"]:
        if "hook" in chain:
            yield f"hook {chain['hook']} at {chain['prio']}", f"{chain['type']} {chain['policy']}"
    yield from ((f"sysctl {replace(key)}", value) for key, value in seen["sysctls"].items())


def _flat(name: str, value: Any, replace: Replace) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _flat(f"{name}.{key}", one, replace)
    elif isinstance(value, list):
        yield name, " ".join(sorted(map(str, value)))
    else:
        yield name, replace(str(value))
