"""What a host has because of its pods, to be compared before and after."""

import re
from pathlib import Path

from tests import lab, networks, snapshot
from tests.pods import elements

State = dict[str, object]
NET = Path("/proc/thread-self/net")
LEGACY = {"iptables-legacy": "ip_tables_names", "ip6tables-legacy": "ip6_tables_names"}
NOISE = re.compile(r"counter packets \d+ bytes \d+ |\n\t\telements = \{[^}]*\}")
EMPTY_TABLE = re.compile(r"table \w+ \w+ \{\n\}\n")


def look() -> State:
    """Return the state of the host and its pods, but for what is meant to move on.

    That is: the round robin of host-local, our index of leases (worth nothing without them),
    and what the firewall's programs leave as files.
    """
    moves = ("/last_reserved_ip.", "/.pycni", "/xtables.lock", "/executed")
    found = snapshot.take().items()
    return {name: text for name, text in found if not any(m in name for m in moves)} | firewall()


def firewall() -> State:
    """Return the state of the firewall: packets not counted, a table with nothing in it is none.

    The elements of our table, which are its attachments, are apart from its rules.
    """
    rules = NOISE.sub("", lab.run("nft list ruleset"))
    legacy = [lab.run(f"{one} -w -t nat -S") for one in sorted(legacy_programs())]
    return {
        "host: firewall": EMPTY_TABLE.sub("", rules),
        "legacy rules": [line for text in legacy for line in text.splitlines() if line[1] != "P"],
        "elements": elements(),
    }


def legacy_programs() -> set[str]:
    """Return the programs for the legacy nat tables that there are; to ask would make one."""
    return {one for one, names in LEGACY.items() if "nat" in (NET / names).read_text().split()}


def leases(network: str = "kindnet", data_dir: str = networks.DATA_DIR) -> dict[str, str]:
    """Return the addresses that host-local has given away, with what their files say."""
    files = Path(data_dir, network).iterdir() if Path(data_dir, network).exists() else ()
    return {
        file.name: file.read_bytes().decode()
        for file in files
        if file.name != "lock" and not file.name.startswith("last_reserved_ip.")
    }
