"""docs/by-hand.md: what a person builds there is what our plugins leave, but for one table."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import lab, packets, snapshot
from tests.byhand.kernel import State, look
from tests.conftest import ROOT
from tests.pages import blocks, rows, section, titles

PAGE = ROOT / "docs/by-hand.md"
Hosts = dict[str, tuple[dict[str, str], State]]
WORLD, PLUGINS = "The host, its neighbour, two pods", "The same by the plugins"
NAMESPACES = ("a", "b", "outside")
MAC = "([0-9a-f]{2}:){5}[0-9a-f]{2}"


@dataclass(frozen=True)
class Difference:
    """Attributes that may differ, and how: regular expressions; the page gives the reason."""

    what: str
    attributes: str
    by_hand: str
    by_plugins: str

    def explains(self, name: str, by_hand: str, by_plugins: str) -> bool:
        pairs = (self.attributes, name), (self.by_hand, by_hand), (self.by_plugins, by_plugins)
        return all(re.fullmatch(*pair) for pair in pairs)


# Every difference there is: each row must be found, and no other.
DIFFERENCES = (
    Difference("name of the host's end", r"host: link port of .\.ifname", "veth[ab]", "veth.{11}"),
    Difference(
        "alias of the host's end",
        r"host: link port of .\.ifalias",
        "absent",
        "bridge/cnitool-[0-9a-f]{20}/eth0",
    ),
    Difference(
        "other name of the host's end",
        r"host: link port of .\.altnames",
        "absent",
        r"cni0-10\.244\.0\.[23]",
    ),
    Difference("MACs", r"\w+: link (port of \w+|eth0)\.address", MAC, MAC),
    Difference("MAC of the bridge", r"host: link cni0\.address", "0a:00:00:00:00:01", MAC),
    Difference("alias of the bridge", r"host: link cni0\.ifalias", "absent", "pycni"),
    Difference("queue of the host's end", r"host: link port of .\.txqlen", "1000", "absent"),
    Difference("`arp_notify` of eth0", r"[ab]: sysctl ipv4/conf/eth0/arp_notify", "0", "1"),
    Difference(
        "`accept_dad` on the host",
        r"host: sysctl ipv6/conf/(cni0|port of .)/accept_dad",
        "1",
        "0",
    ),
    Difference(
        "`accept_ra` on the host", r"host: sysctl ipv6/conf/(cni0|port of .)/accept_ra", "1", "0"
    ),
    Difference("table of the firewall", "host: tables", "ip nat", "inet pycni"),
)

# Who talks to whom: namespaces ("" is the host), address and port, and who is seen there.
TALKS = {
    "pod to pod": ("a", "b", ("10.244.0.3", 80), "10.244.0.2"),
    "pod to host": ("a", "", ("10.244.0.1", 80), "10.244.0.2"),
    "host to pod": ("", "a", ("10.244.0.2", 80), "10.244.0.1"),
    "out through masquerade": ("a", "outside", ("172.18.0.1", 80), "172.18.0.2"),
    "in through the host port": ("outside", "a", ("172.18.0.2", 8080), "172.18.0.1"),
    "host port from the other pod": ("b", "a", ("172.18.0.2", 8080), "10.244.0.1"),
    "host port from the pod itself": ("a", "a", ("172.18.0.2", 8080), "10.244.0.1"),
    "host port from the host": ("", "a", ("172.18.0.2", 8080), "172.18.0.2"),
    "host port from localhost": ("", "a", ("127.0.0.1", 8080), "10.244.0.1"),
}

REACHED = {  # after which step: who reaches whom from then on
    "The pods' side": {"pod to pod", "pod to host", "host to pod"},
    "The way out: MASQUERADE": {"out through masquerade"},
    "The way in: DNAT": {name for name in TALKS if "host port" in name},
}
SOON_S = 0.2  # for an answer that does not come


def commands(kind: str, *parts: str) -> list[str]:
    """Return the blocks of the page that are of this kind and under these headings."""
    return [text for part in parts for text in blocks(kind, section(PAGE, part))]


def steps() -> list[str]:
    """Return the headings of what a person does."""
    found = titles(PAGE)
    return found[1 : found.index(PLUGINS)]


def build(*parts: str) -> None:
    """Do what the page says of the world, and under these headings."""
    follow(WORLD, *parts)


def follow(*parts: str) -> None:
    """Do what the page says under these headings."""
    for text in commands("sh", *parts):
        done = subprocess.run(
            ["bash", "-ec", text], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def talk() -> dict[str, str]:
    """Let everybody talk to everybody; return who is seen, or why nobody is."""
    seen = {}
    for name, (client, server, to, _) in TALKS.items():
        try:
            seen[name] = packets.seen_from(client, server, to, listen=80)
        except packets.UnreachableError as error:
            seen[name] = str(error)
    return seen


@pytest.fixture(scope="module")
def hosts() -> Hosts:
    """Return who is seen and what the kernel has, by hand and by the plugins.

    The first host comes to rest (IPv6 takes 2 s) while the other is built.
    """
    with lab.fresh_host():
        build(*steps())
        by_hand = talk()
        with lab.fresh_host():
            build(PLUGINS)
            by_plugins = talk(), look(NAMESPACES)
        return {"by hand": (by_hand, look(NAMESPACES)), "by plugins": by_plugins}


def test_the_same_packets_pass(hosts: Hosts) -> None:
    wanted = {name: seen for name, (*_, seen) in TALKS.items()}

    assert {name: talks for name, (talks, _) in hosts.items()} == dict.fromkeys(hosts, wanted)


def test_the_kernel_has_the_same_objects_but_for_the_table_of_differences(hosts: Hosts) -> None:
    by_hand, by_plugins = (state for _, state in hosts.values())
    pairs = {
        name: (by_hand.get(name, "absent"), by_plugins.get(name, "absent"))
        for name in by_hand.keys() | by_plugins.keys()
    }
    found = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    explained = {
        name: one.what for name in found for one in DIFFERENCES if one.explains(name, *found[name])
    }
    assert {name: found[name] for name in found.keys() - explained.keys()} == {}
    assert set(explained.values()) == {one.what for one in DIFFERENCES}


def test_the_page_gives_the_reason_of_every_difference() -> None:
    told = [[cell.strip() for cell in row] for row in rows(section(PAGE, "What differs"))]

    assert [row[0] for row in told] == [one.what for one in DIFFERENCES]
    assert all(why for *_, why in told)


@pytest.mark.usefixtures("host")
def test_each_step_lets_those_packets_pass_that_it_is_for() -> None:
    build()
    reached: set[str] = set()

    for step in steps():
        follow(step)
        reached |= REACHED.get(step, set())
        seen = {
            name
            for name, (client, server, to, _) in TALKS.items()
            if packets.reachable(
                client, server, to, listen=80, timeout=SOON_S + 2 * (name in reached)
            )
        }
        assert seen == reached, step

    assert reached == set(TALKS)


@pytest.mark.usefixtures("host")
def test_who_tries_the_page_touches_nothing_of_the_machine() -> None:
    shell, *lines = blocks("", PAGE.read_text())[0].splitlines()
    typed = "\n".join(["set -e", *lines, *commands("sh", WORLD, PLUGINS)])
    Path("/run/mount").mkdir()  # mount's own: every machine has it

    with snapshot.unchanged():
        lab.run(shell, stdin=typed)


@pytest.mark.usefixtures("host")
def test_what_the_plugins_leave_is_seen_by_the_commands_of_the_page() -> None:
    build(PLUGINS)

    for text in commands("console", *steps()):
        for line in text.splitlines():
            assert lab.run(line.removeprefix("# ")).strip(), line
