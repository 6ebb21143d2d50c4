"""The documents are held to the code: what they show is run, what they name is there."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from configparser import RawConfigParser
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest

from cni.agent.command import pycnid
from cni.agent.warm import Limits
from cni.attachment import Attachment
from cni.cnictl.commands import cli
from cni.config import Section
from cni.errors import Code
from cni.handover import SOCKET
from cni.leases.store import LOCK_WAIT
from cni.programs import NAMES, PROGRAMS
from cni.request import Request
from cni.skel import STDIN_MAX, load
from tests import conflists, lab, networks, packets
from tests.conftest import ROOT
from tests.pages import FENCE, SPAN, prose, rows, section, titles
from tests.vpc.agent import Agent, listening, place

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CONFLISTS = sorted((ROOT / "conflists").glob("*.conflist"))
CONFLIST_PAGE = ROOT / "docs/conflists.md"
UNIT = ROOT / "deploy" / "pycnid.service"
LINK = re.compile(r"\]\(([^)\s]+)\)")
Json = dict[str, Any]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """Yield each line of code of `page`, and each piece of code within a line."""
    for _, block in FENCE.findall(page.read_text()):
        yield from block.splitlines()
    yield from SPAN.findall(prose(page))


# links


def anchors(page: Path) -> set[str]:
    """Return what a link may name in `page`, as GitHub makes it of the headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.casefold()) for title in titles)
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# commands


def build_commands() -> set[str]:
    """Return the sub-commands of build.sh."""
    return set(re.findall(r"^(\w+)\)$", (ROOT / "build.sh").read_text(), re.MULTILINE))


def options(command: click.Command) -> set[str]:
    """Return the options of `command` and of what it groups."""
    found = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return found.union({"--help", "-h"}, *map(options, inner))


def words_after(program: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield the sub-commands that `lines` give to `program`: `add | check` is two."""
    called = re.compile(rf"(?:^|[\s/]){re.escape(program)} ([a-z]+(?: ?\| ?[a-z]+)*)(?![\w.-])")
    for line in lines:
        for words in called.findall(line):
            yield from re.split(r" ?\| ?", words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_shown_exists(page: Path) -> None:
    assert set(words_after("build.sh", code(page))) <= build_commands()
    assert set(words_after("cnictl", code(page))) <= set(cli.commands)
    for program, command in (("cnictl", cli), ("pycnid", pycnid)):
        for line in code(page):
            if re.search(rf"(?:^|[\s/]){program}\b", line) and "systemctl" not in line:
                assert set(re.findall(r"(?<!\S)--[a-z-]+", line)) <= options(command), line


def test_every_command_is_told_of() -> None:
    readme = (ROOT / "README.md").read_text()

    assert set(words_after("cnictl", code(ROOT / "docs/cnictl.md"))) == set(cli.commands)
    assert set(words_after("cnictl", code(ROOT / "README.md"))) == set(cli.commands)
    assert {word for word in build_commands() if word not in readme} <= {"lock"}


# operating.md


def test_every_error_code_has_its_cause_and_way_out() -> None:
    table = rows(section(ROOT / "docs/operating.md", "Error codes"))

    assert [int(cells[0]) for cells in table] == sorted(Code)
    assert all(cell.strip() for cells in table for cell in cells)


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    limits = section(ROOT / "docs/operating.md", "Limits")

    for told in (
        f"| stdin | {STDIN_MAX >> 20} MiB |",
        f"| {LOCK_WAIT:g} s | code {Code.TRY_AGAIN} |",
        f"{Limits().workers} at once",
        f"| {Limits().seconds:g} s (`--limit`)",
    ):
        assert told in limits


# configuration


class Asked(dict[str, Any]):
    """An object of the configuration that remembers which keys were looked for.

    Not those of a result: they are the SPEC's.
    """

    def __init__(self, values: Json, keys: set[str]) -> None:
        result = {"prevResult": values["prevResult"]} if "prevResult" in values else {}
        super().__init__({key: recorded(one, keys) for key, one in values.items()} | result)
        self.keys_asked = keys

    def __contains__(self, key: object) -> bool:
        self.keys_asked.add(str(key))
        return super().__contains__(key)


def recorded(value: Any, keys: set[str]) -> Any:
    """Return `value` with every object in it as `Asked`."""
    if isinstance(value, dict):
        return Asked(value, keys)
    return [recorded(one, keys) for one in value] if isinstance(value, list) else value


OBJECTS: dict[str, Json] = {  # so that what is in them is asked for
    "ptp": {"ipam": networks.ipam(), "dns": {"domain": "x"}},
    "bridge": {
        "ipam": networks.ipam(),
        "dns": {"domain": "x"},
        "vlanTrunk": [{}],
        "args": {"cni": {}},
        "runtimeConfig": {},
    },
    "vxlan": {
        "ipam": networks.ipam(),
        "dns": {"domain": "x"},
        "nodeName": "n1",
        "peers": [{"name": "n1", "addresses": ["172.18.0.2"], "podCIDRs": ["10.244.0.0/24"]}],
    },
    "aws-vpc": {"ipam": {"type": "aws-vpc-ipam"}, "dns": {"domain": "x"}},
    "aws-vpc-ipam": {
        "ipam": {"type": "aws-vpc-ipam", "routes": [{"dst": "0.0.0.0/0"}]},
        "args": {"cni": {"ips": ["10.0.1.23"]}},
        "runtimeConfig": {"ips": []},
    },
    "host-local": {
        "ipam": networks.ipam(subnet="10.9.0.0/24"),
        "args": {"cni": {"ips": ["10.9.0.7"]}},
        "runtimeConfig": {"ips": [], "ipRanges": [[{"subnet": "10.8.0.0/24"}]]},
    },
    "portmap": {
        "runtimeConfig": {"portMappings": [networks.mapping(8080)]},
        "prevResult": {"ips": [{"address": "10.9.0.7/24"}]},
    },
    "loopback": {},
}
SPEC = {"cniVersion", "name", "type", "prevResult"}  # of every configuration
DNS = {"nameservers", "domain", "search", "options"}  # the page says: domain, or any list
ELSEWHERE = {"capabilities", "true", "CNI_ARGS", "IP"}  # read by the runtime; not JSON


def make_node(plugin: Json) -> None:
    """Give the host the address that a configuration with peers says it has."""
    if "aws-vpc-ipam" in json.dumps(plugin):
        lab.run("ip link add eth0 up type bridge")
        lab.run("ip addr add 10.0.1.10/24 dev eth0")
    for node in plugin.get("peers", ()):
        if node["name"] == plugin["nodeName"]:
            lab.run("ip link add eth0 up type bridge")
            lab.run(f"ip addr add {node['addresses'][0]}/24 dev eth0")


def keys_asked(program: str, bin_dir: Path) -> set[str]:
    """Return the keys that ADD of `program` looks for, whether they are there or not."""
    keys: set[str] = set()
    conf = {"cniVersion": "1.0.0", "name": "net", "type": program} | OBJECTS[program]
    request = Request(
        verb="ADD",
        attachment=Attachment("net", "pod", "eth0"),
        netns=lab.add_netns("pod"),
        args="",
        path=str(bin_dir),
        stdin=json.dumps(conf).encode(),
        config=Section(recorded(conf, keys)),
    )
    plugin = load(program)
    make_node(conf)
    with listening(Agent([place("10.0.1.23")])):
        plugin.add(request)
        plugin.delete(replace(request, verb="DEL"))
    return keys


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_key_is_documented_and_every_documented_key_is_read(
    program: str, source_bin: Path
) -> None:
    text = FENCE.sub("", section(ROOT / f"docs/plugins/{program}.md", "Configuration"))
    keys = " ".join(span for cells in rows(text) for span in SPAN.findall(cells[0]))
    documented = set(re.findall(r"\w+", keys)) - ELSEWHERE
    words = set(re.findall(r"\w+", text))

    asked = keys_asked(program, source_bin)

    assert documented <= asked
    assert asked - words <= SPEC | DNS


# networks


def examples() -> Iterator[Any]:
    """Yield every JSON block of the pages, and every conflist."""
    for page in PAGES:
        for number, (kind, block) in enumerate(FENCE.findall(page.read_text())):
            if kind == "json":
                yield pytest.param(json.loads(block), id=f"{name_of(page)}-{number}")
    for path in CONFLISTS:
        yield pytest.param(json.loads(path.read_text()), id=name_of(path))


def with_plugins(conf: Json) -> Json:
    """Return `conf` as a list, as it stands in a file `*.conflist`."""
    return conf if "plugins" in conf else {"name": conf["name"], "plugins": [conf]}


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("conf", [*examples()])
def test_every_network_shown_takes_a_pod_and_lets_it_go(conf: Json, frozen_bin: Path) -> None:
    conf = with_plugins(conf)
    net_d = Path("/run/net.d")
    net_d.mkdir()
    (net_d / "10-example.conflist").write_text(json.dumps(conf))
    # both ends of a pair with one number, as on a host with nothing else: the kernel then takes
    # up to a second until IPv6 is there
    lab.run("ip link add spare type bridge")
    make_node(conf["plugins"][0])
    pod = lab.add_netns("pod")

    def cnictl(verb: str) -> str:
        mapping = json.dumps({"portMappings": [networks.mapping(8080)]})
        environment = {"CNI_PATH": str(frozen_bin), "NETCONFPATH": str(net_d), "CAP_ARGS": mapping}
        words = [frozen_bin / "cnictl", verb, conf["name"], pod]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"cnictl {verb}: {done.stderr}"
        return done.stdout

    with listening(Agent([place("10.0.1.23")])):
        for ip in json.loads(cnictl("add"))["ips"]:
            to = (ip["address"].split("/")[0], 80)
            client = "" if conf["plugins"][0]["type"] != "loopback" else "pod"
            assert lab.wait_until(partial(packets.reachable, client, "pod", to))
        if conf.get("cniVersion") not in ("0.1.0", "0.2.0", "0.3.0", "0.3.1"):
            cnictl("check")
        cnictl("del")
    assert lab.ip("link show type veth") == []


def keys(value: Json, prefix: str = "") -> Iterator[str]:
    """Yield the keys of an object and of those in it, `ipam.type`, but not those in lists."""
    for key, one in value.items():
        yield from keys(one, f"{prefix}{key}.") if isinstance(one, dict) else [f"{prefix}{key}"]


def keys_told(part: str) -> set[str]:
    """Return the keys that a part of the page tells of: its tables of two columns."""
    cells = [row[0] for row in rows(section(CONFLIST_PAGE, part)) if len(row) == 2]
    return {key for cell in cells for key in SPAN.findall(cell)}


def test_every_conflist_has_its_part_with_a_picture_and_the_reason_to_choose_it() -> None:
    assert set(titles(CONFLIST_PAGE)) == {"Keys of all", *conflists.all_own()}
    for name, conflist in conflists.all_own().items():
        text = section(CONFLIST_PAGE, name)
        picture = FENCE.findall(text)[0][1]
        assert {*conflist.gateways, *conflist.pod_addresses(1)} <= set(
            re.findall(r"[\w.:]+", picture)
        )
        assert conflist.interface.get("bridge", "eth0") in picture
        assert "**When:**" in text
        assert f"](#{name})" in CONFLIST_PAGE.read_text()


@pytest.mark.parametrize("name", conflists.all_own())
def test_every_key_of_a_conflist_is_told_of_and_no_other(name: str) -> None:
    conflist = conflists.all_own()[name]
    used = {key for one in (conflist.json, *conflist.json["plugins"]) for key in keys(one)}
    others = {"ipam.ranges"} if conflist.of_agent else set()  # host-local's

    assert keys_told(name) | keys_told("Keys of all") - others == used


# the unit of systemd


def unit() -> dict[str, dict[str, str]]:
    """Return the sections of the unit; it has each key once."""
    parser = RawConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


def test_the_unit_starts_the_agent_with_options_that_it_has() -> None:
    program, *words = unit()["Service"]["ExecStart"].split()

    assert program.rpartition("/")[2] in NAMES
    pycnid.make_context("pycnid", words).close()
    assert Path(SOCKET).parent == Path("/run", unit()["Service"]["RuntimeDirectory"])


def test_the_unit_waits_for_the_slowest_worker() -> None:
    assert float(unit()["Service"]["TimeoutStopSec"]) >= Limits().seconds + Limits().grace


def test_the_unit_makes_no_namespace_of_its_own() -> None:
    apart = re.compile(
        r"Private|Protect|ReadOnly|ReadWrite|Inaccessible|NoExec|ExecPaths|Bind|Temporary|Root"
        r"|Mount|DynamicUser|NetworkNamespace|IPCNamespace|RestrictNamespaces|SystemCallFilter"
    )

    assert [key for key in unit()["Service"] if apart.match(key)] == []


@pytest.mark.usefixtures("host")
def test_the_agent_serves_with_the_rights_that_the_unit_leaves(frozen_bin: Path) -> None:
    taken = unit()["Service"]["CapabilityBoundingSet"].removeprefix("~").split()
    dropped = ",".join(f"-{name.removeprefix('CAP_').casefold()}" for name in taken)
    wrapper = Path("/run/bin/pycnid")
    wrapper.parent.mkdir()
    rights = f"--no-new-privs --bounding-set={dropped}"
    wrapper.write_text(f'#!/bin/sh\nexec setpriv {rights} {frozen_bin}/pycnid "$@"\n')
    wrapper.chmod(0o755)
    suite = lab.Suite(frozen_bin, imported=False)
    conf = networks.ptp(ipMasq=True)

    with lab.agent(wrapper.parent, Path(SOCKET)) as agent:
        zygote = agent.zygote
        before = lab.faults_of_children(zygote)
        for verb in ("ADD", "DEL"):
            netns = "/run/netns/pod" if verb == "DEL" else lab.add_netns("pod")
            suite.call("ptp", verb, conf, netns=netns).ok()

        assert lab.wait_until(lambda: lab.faults_of_children(zygote) > before)
