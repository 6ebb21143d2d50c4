"""The reference's command line and ours take turns on the same attachment."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests import lab
from tests.libcni import networks
from tests.libcni.runtimes import CACHE_DIR, Tool

pytestmark = pytest.mark.usefixtures("host")
PORTS = json.dumps(networks.PORT_8080)
VERSIONS = ("0.3.1", "0.4.0", "1.0.0")
WORDS = ("cnitool-", "10.244.1.2")  # what the attachments of these tests are called


@pytest.fixture(params=["cnitool first", "cnictl first"])
def turns(request: pytest.FixtureRequest, cnitool: Tool, cnictl: Tool) -> tuple[Tool, Tool]:
    """Return who adds and who goes on, both ways round."""
    return (cnitool, cnictl) if request.param == "cnitool first" else (cnictl, cnitool)


def configure(net_d: Path, conflist: Any) -> None:
    """Make `conflist` the one network of this host."""
    (net_d / "10-kindnet.conflist").write_text(json.dumps(conflist))


def cached() -> Path:
    """Return the file of the one attachment in the cache."""
    (path,) = CACHE_DIR.iterdir()
    return path


def comparable(result: Any) -> Any:
    """Return a result without what two ADDs, or libcni 1.1 and 1.3, say differently.

    A MAC and a host interface's name are new each time; `mtu` came with 1.1.0 (the newer libcni
    keeps it in older results, the older one drops it); an empty `dns` may be there or not.
    """
    for interface in result["interfaces"]:
        for key in ("mac", "mtu", *(() if "sandbox" in interface else ("name",))):
            interface.pop(key, None)
    return {key: value for key, value in result.items() if value}


def test_one_adds_and_the_other_deletes(turns: tuple[Tool, Tool], net_d: Path) -> None:
    adds, deletes = turns
    netns = lab.add_netns("pod")
    before = networks.traces(*WORDS)
    for version in VERSIONS:
        configure(net_d, networks.kindnet(version, ipMasq=True))
        result = adds.call("add", "kindnet", netns, CAP_ARGS=PORTS).ok().json
        address = result["ips"][0]["address"].partition("/")[0]

        said = deletes.call("del", "kindnet", netns, CAP_ARGS=PORTS).ok()

        assert said.stdout == ""
        assert networks.traces("cnitool-", address) == before
        adds.call("del", "kindnet", netns, CAP_ARGS=PORTS).ok()


def test_one_adds_and_the_other_checks(turns: tuple[Tool, Tool], net_d: Path) -> None:
    adds, checks = turns
    netns = lab.add_netns("pod")
    for version in ("0.4.0", "1.0.0"):
        configure(net_d, networks.kindnet(version))
        adds.call("add", "kindnet", netns, CAP_ARGS=PORTS).ok()
        good = checks.call("check", "kindnet", netns, CAP_ARGS=PORTS).ok()
        lab.run("ip address flush dev eth0", netns=netns)

        bad = checks.call("check", "kindnet", netns, CAP_ARGS=PORTS)

        assert good.stdout == ""
        assert (bad.exit, bad.stdout) == (1, "")
        assert "eth0" in bad.stderr
        adds.call("del", "kindnet", netns, CAP_ARGS=PORTS).ok()


def test_second_add_by_the_other_is_refused(turns: tuple[Tool, Tool], net_d: Path) -> None:
    first, second = turns
    netns = lab.add_netns("pod")
    configure(net_d, networks.kindnet("1.0.0"))
    first.call("add", "kindnet", netns, CAP_ARGS=PORTS).ok()

    refused = second.call("add", "kindnet", netns, CAP_ARGS=PORTS)

    assert (refused.exit, refused.stdout) == (1, "")
    assert 'type="ptp"' in refused.stderr
    second.call("check", "kindnet", netns, CAP_ARGS=PORTS).ok()


def test_del_by_the_other_needs_no_netns(turns: tuple[Tool, Tool], net_d: Path) -> None:
    adds, deletes = turns
    configure(net_d, networks.kindnet("0.3.1"))
    before = networks.traces(*WORDS)
    netns = lab.add_netns("pod")
    adds.call("add", "kindnet", netns, CAP_ARGS=PORTS).ok()
    lab.run("ip netns delete pod")

    deletes.call("del", "kindnet", netns, CAP_ARGS=PORTS).ok()

    assert networks.traces(*WORDS) == before


def test_interface_name_comes_from_the_environment(turns: tuple[Tool, Tool], net_d: Path) -> None:
    adds, deletes = turns
    netns = lab.add_netns("pod")
    configure(net_d, networks.kindnet("1.0.0"))
    adds.call("add", "kindnet", netns, CNI_IFNAME="net1").ok()
    added = networks.addresses("net1", netns)

    deletes.call("del", "kindnet", netns, CNI_IFNAME="net1").ok()

    assert added == {"10.244.1.2/24"}
    assert [link["ifname"] for link in lab.ip("link", netns)] == ["lo"]


def test_plugin_file_serves_as_a_list(turns: tuple[Tool, Tool], net_d: Path) -> None:
    adds, deletes = turns
    netns = lab.add_netns("pod")
    before = networks.traces(*WORDS)
    conflist = networks.kindnet("1.0.0")
    plugin = {**conflist["plugins"][0], "cniVersion": "1.0.0", "name": "kindnet"}
    (net_d / "10-ptp.conf").write_text(json.dumps(plugin))
    adds.call("add", "kindnet", netns).ok()

    deletes.call("del", "kindnet", netns).ok()

    assert networks.traces(*WORDS) == before


def test_both_print_and_cache_the_same(cnitool: Tool, cnictl: Tool, net_d: Path) -> None:
    """The reference of today adds the key `netns`, so a key more is allowed."""
    configure(net_d, networks.kindnet("1.0.0"))
    printed, names, entries = [], [], []
    for tool in (cnitool, cnictl):
        with networks.fresh_pod() as netns:
            said = tool.call("add", "kindnet", netns, CAP_ARGS=PORTS, CNI_ARGS="IgnoreUnknown=1")
            path = cached()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert said.ok().stdout == json.dumps(said.json, indent=4)
            entry = json.loads(path.read_text())
            assert entry["result"] == said.json
        printed.append(comparable(said.json))
        entry["config"] = json.loads(base64.b64decode(entry["config"]))
        entry["result"] = comparable(entry["result"])
        names.append(path.name)
        entries.append(entry)

    assert printed[0] == printed[1]
    assert names[0] == names[1]
    assert entries[0] == {key: entries[1][key] for key in entries[0]}


def test_both_name_an_attachment_by_the_path_of_its_namespace(
    turns: tuple[Tool, Tool], net_d: Path
) -> None:
    """The ID is a digest of the path as it is spelled; this one is a known answer."""
    adds, deletes = turns
    configure(net_d, networks.kindnet("1.0.0"))
    lab.add_netns("testing")
    adds.call("add", "kindnet", "/var/run/netns/testing").ok()
    name = cached().name

    deletes.call("del", "kindnet", "/var/run/netns/testing").ok()

    assert name == "kindnet-cnitool-77383ca0a0715733ca6f-eth0"
    assert not list(CACHE_DIR.iterdir())


def test_relative_path_means_the_directory_that_the_shell_shows(
    turns: tuple[Tool, Tool], net_d: Path
) -> None:
    """A shell that came through the link /var/run says so in PWD, and cnitool believes it."""
    adds, deletes = turns
    configure(net_d, networks.kindnet("1.0.0"))
    lab.add_netns("pod")
    for directory, absolute in (("/run/netns", "/run"), ("/var/run/netns", "/var/run")):
        adds.call("add", "kindnet", "pod", cwd=directory, PWD=directory).ok()

        deletes.call("del", "kindnet", f"{absolute}/netns/pod").ok()

        assert not list(CACHE_DIR.iterdir())


def test_gc_by_cnictl_removes_what_cnitool_added(cnitool: Tool, cnictl: Tool, net_d: Path) -> None:
    """This libcni does not cache the namespace: only the attachment's name is known."""
    configure(net_d, networks.kindnet("1.0.0", ipMasq=True))
    pods = [lab.add_netns(name) for name in ("one", "two")]
    before = networks.traces(*WORDS, "10.244.1.3")
    for netns in pods:
        port = PORTS if netns == pods[0] else ""
        cnitool.call("add", "kindnet", netns, CAP_ARGS=port).ok()
    during = networks.traces(*WORDS, "10.244.1.3")

    said = cnictl.call("gc", "kindnet", pods[0]).ok()

    assert said.stdout == ""
    assert len(during["links"]) == len(before["links"]) + 2
    assert networks.traces(*WORDS, "10.244.1.3") == before


@pytest.mark.parametrize(
    ("network", "environment"),
    [
        ("nowhere", {}),
        ("kindnet", {"CNI_ARGS": "no pair"}),
        ("kindnet", {"CAP_ARGS": "{"}),
        ("kindnet", {"CNI_PATH": "/nonexistent"}),
        ("kindnet", {"CNI_IFNAME": "sixteen-letters-"}),
    ],
    ids=["no such network", "bad CNI_ARGS", "bad CAP_ARGS", "no programs", "bad ifname"],
)
def test_both_refuse_the_same_way(
    cnitool: Tool, cnictl: Tool, net_d: Path, network: str, environment: dict[str, str]
) -> None:
    configure(net_d, networks.kindnet("1.0.0"))
    netns = lab.add_netns("pod")
    for tool in (cnitool, cnictl):
        said = tool.call("add", network, netns, **environment)

        assert (said.exit, said.stdout) == (1, "")
        assert said.stderr.strip()
        assert len(lab.ip("link")) == 1
