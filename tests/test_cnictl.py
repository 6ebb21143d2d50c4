"""cnictl: cnitool's arguments, environment, output and exit codes."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import lab
from tests.runtime.doubles import PORT, RESULT, Doubles

pytestmark = pytest.mark.usefixtures("host")
NETNS = "/run/netns/testing"
VERBS = ("add", "check", "del", "gc", "status")


class Cnictl:
    """cnictl over doubles of plugins; the network is called `net`."""

    def __init__(self, program: Path, doubles: Doubles, net_d: Path) -> None:
        self.program, self.doubles, self.net_d = program, doubles, net_d

    def configure(self, cni_version: str, **keys: Any) -> None:
        """Make `net` of the plugins first and second; `keys` are of the first."""
        plugins = [{"type": "first", **keys}, {"type": "second"}]
        conflist = {"cniVersion": cni_version, "name": "net", "plugins": plugins}
        (self.net_d / "10-net.conflist").write_text(json.dumps(conflist))

    def __call__(self, *words: str, cwd: str = "/", **environment: str) -> lab.Reply:
        """Run cnictl; an empty variable is left out."""
        settings = {
            "PATH": os.environ["PATH"],
            "CNI_PATH": str(self.doubles.bin_dir),
            "NETCONFPATH": str(self.net_d),
            **environment,
        }
        done = subprocess.run(
            [self.program, *words],
            env={key: value for key, value in settings.items() if value},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        return lab.Reply(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def doubles(tmp_path: Path) -> Doubles:
    """Return the programs `first` and `second`."""
    doubles = Doubles(tmp_path / "doubles")
    for name in ("first", "second"):
        doubles.program(name)
    return doubles


@pytest.fixture
def cnictl(source_bin: Path, doubles: Doubles, tmp_path: Path) -> Cnictl:
    """Return cnictl with the network `net` of version 1.1.0."""
    net_d = tmp_path / "net.d"
    net_d.mkdir()
    cnictl = Cnictl(source_bin / "cnictl", doubles, net_d)
    cnictl.configure("1.1.0")
    return cnictl


def cached() -> list[str]:
    return sorted(path.name for path in Path("/var/lib/cni/results").glob("*"))


def assert_refused(said: lab.Reply, reason: str) -> None:
    """It is refused in one line on stderr that has `reason` in it."""
    assert (said.exit, said.stdout) == (1, "")
    assert reason in said.stderr
    assert len(said.stderr.splitlines()) == 1


# what cnitool does


def test_add_prints_the_result_and_nothing_else(cnictl: Cnictl) -> None:
    cnictl.configure("1.0.0")

    said = cnictl("add", "net", NETNS).ok()

    assert said.stdout == json.dumps(RESULT, indent=4)
    assert said.stderr == ""


def test_other_verbs_print_nothing(cnictl: Cnictl) -> None:
    cnictl("add", "net", NETNS).ok()

    said = [cnictl(verb, "net", NETNS).ok() for verb in ("status", "check", "gc", "del")]

    assert [(reply.stdout, reply.stderr) for reply in said] == [("", "")] * 4


def test_verbs_reach_the_plugins_in_order(cnictl: Cnictl, doubles: Doubles) -> None:
    for verb in ("add", "check", "status", "del"):
        cnictl(verb, "net", NETNS).ok()

    assert doubles.order == [
        ("ADD", "first"),
        ("ADD", "second"),
        ("CHECK", "first"),
        ("CHECK", "second"),
        ("STATUS", "first"),
        ("STATUS", "second"),
        ("DEL", "second"),
        ("DEL", "first"),
    ]


def test_gc_deletes_what_is_cached_and_names_nothing_as_valid(
    cnictl: Cnictl, doubles: Doubles
) -> None:
    cnictl("add", "net", NETNS).ok()

    cnictl("gc", "net", "/run/netns/other").ok()

    assert doubles.order[2:] == [
        ("DEL", "second"),
        ("DEL", "first"),
        ("GC", "first"),
        ("GC", "second"),
    ]
    assert "cni.dev/valid-attachments" not in doubles.calls[-1].stdin
    assert cached() == []


def test_error_of_a_plugin_is_what_cnictl_says(cnictl: Cnictl, doubles: Doubles) -> None:
    doubles.fails("second", "ADD", 11, "no address", "wait")

    said = cnictl("add", "net", NETNS)

    assert_refused(said, 'plugin type="second" name="net" failed (add): no address; wait')
    assert cached() == []


@pytest.mark.parametrize(
    ("path", "cwd", "container_id"),
    [
        ("/var/run/netns/testing", "/", "cnitool-77383ca0a0715733ca6f"),
        ("/var/run//netns/./x/../testing", "/", "cnitool-77383ca0a0715733ca6f"),
        ("//var/run/netns/testing", "/", "cnitool-77383ca0a0715733ca6f"),
        ("var/run/netns/testing", "/", "cnitool-77383ca0a0715733ca6f"),
        ("../../var/run/netns/testing", "/etc", "cnitool-77383ca0a0715733ca6f"),
        ("/run/netns/testing", "/", "cnitool-43057b9dcc39fe733071"),
    ],
    ids=["absolute", "not tidy", "two slashes", "relative", "from elsewhere", "other spelling"],
)
def test_container_id_is_a_digest_of_the_absolute_path(
    cnictl: Cnictl, doubles: Doubles, path: str, cwd: str, container_id: str
) -> None:
    cnictl("add", "net", path, cwd=cwd).ok()

    assert doubles.calls[0].env["CNI_CONTAINERID"] == container_id
    assert cached() == [f"net-{container_id}-eth0"]


@pytest.mark.parametrize(
    ("words", "environment", "ifname"),
    [
        ([], {}, "eth0"),
        ([], {"CNI_IFNAME": "net1"}, "net1"),
        (["-i", "net2"], {"CNI_IFNAME": "net1"}, "net2"),
        (["--ifname", "net3"], {}, "net3"),
    ],
    ids=["default", "environment", "option before environment", "long option"],
)
def test_ifname_comes_from_option_or_environment(
    cnictl: Cnictl, doubles: Doubles, words: list[str], environment: dict[str, str], ifname: str
) -> None:
    cnictl("add", "net", NETNS, *words, **environment).ok()

    assert doubles.calls[0].env["CNI_IFNAME"] == ifname


def test_capability_data_and_args_reach_the_plugins(cnictl: Cnictl, doubles: Doubles) -> None:
    cnictl.configure("1.1.0", capabilities={"portMappings": True})

    cnictl("add", "net", NETNS, CAP_ARGS=json.dumps({"portMappings": PORT}), CNI_ARGS="A=1;B=2")

    first, second = doubles.calls
    assert first.stdin["runtimeConfig"] == {"portMappings": PORT}
    assert "runtimeConfig" not in second.stdin
    assert [call.env["CNI_ARGS"] for call in (first, second)] == ["A=1;B=2"] * 2


@pytest.mark.parametrize(
    ("words", "environment", "reason"),
    [
        (["add", "nowhere", NETNS], {}, 'no net configuration with name "nowhere" in '),
        (["add", "no where", NETNS], {}, "invalid characters found in network name"),
        (["add", "nowhere", NETNS], {"NETCONFPATH": ""}, "in /etc/cni/net.d;"),
        (["add", "net", NETNS, "-i", "sixteen-letters-"], {}, "interface name is too long"),
        (["add", "net", NETNS], {"CNI_IFNAME": "a/b"}, "interface name contains"),
        (["add", "net", NETNS], {"CNI_ARGS": "x"}, "invalid CNI_ARGS pair 'x'"),
        (["add", "net", NETNS], {"CNI_ARGS": "a=b;"}, "invalid CNI_ARGS pair ''"),
        (["add", "net", NETNS], {"CNI_ARGS": "a=b=c"}, "invalid CNI_ARGS pair"),
        (["add", "net", NETNS], {"CAP_ARGS": "{"}, "cannot use CAP_ARGS"),
        (["add", "net", NETNS], {"CAP_ARGS": "[]"}, "cannot use CAP_ARGS: it is a list"),
        (["add", "net", NETNS], {"CNI_PATH": "/nowhere"}, 'failed to find plugin "first" in path'),
        (["add", "net", NETNS], {"CNI_PATH": ""}, "/bin0 /opt/cni/bin]"),
        (["check", "net", NETNS], {}, "no result of ADD is cached"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    cnictl: Cnictl,
    doubles: Doubles,
    words: list[str],
    environment: dict[str, str],
    reason: str,
) -> None:
    assert_refused(cnictl(*words, **environment), reason)
    assert doubles.calls == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["frobnicate"], "No such command 'frobnicate'; see cnictl --help"),
        (["--frobnicate"], "see cnictl --help"),
        (["ls", "--frobnicate"], "see cnictl ls --help"),
        (["ls", "surplus"], "see cnictl ls --help"),
        (["demo", "surplus"], "see cnictl demo --help"),
        (["install", "--bin-dir"], "requires an argument; see cnictl --help"),
        *(([verb], f"Missing argument 'NETWORK'; see cnictl {verb} --help") for verb in VERBS),
        *(([verb, "net"], "Missing argument 'NETNS'") for verb in VERBS),
        *(([verb, "net", NETNS, "surplus"], "surplus") for verb in VERBS),
    ],
)
def test_wrong_usage_is_refused_in_one_line(cnictl: Cnictl, words: list[str], reason: str) -> None:
    assert_refused(cnictl(*words), reason)


@pytest.mark.parametrize("command", [*VERBS, "install", "demo", "ls"])
def test_every_command_explains_itself(cnictl: Cnictl, command: str) -> None:
    said = cnictl(command, "--help").ok()

    assert said.stdout.startswith(f"Usage: cnictl {command}")
    assert f"\n  {command} " in cnictl("--help").ok().stdout


def test_no_command_shows_what_there_is(cnictl: Cnictl) -> None:
    said = cnictl()

    assert said.exit == 1
    assert said.stdout == cnictl("--help").stdout


def test_broken_configuration_is_refused_by_its_file_name(cnictl: Cnictl) -> None:
    (cnictl.net_d / "00-broken.conflist").write_text("{")

    assert_refused(cnictl("add", "net", NETNS), "00-broken.conflist")


def test_readers_that_go_away_are_no_error_of_ours(cnictl: Cnictl) -> None:
    words = f"{cnictl.program} ls | true; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)

    assert done.stderr == ""


# with our own programs


def test_programs_beside_cnictl_are_found(source_bin: Path, tmp_path: Path) -> None:
    """The whole life of an attachment, with nothing set but the directory of networks."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.1.2.0/24"}]]}
    ptp = {"cniVersion": "1.1.0", "name": "net", "type": "ptp", "ipam": ipam}
    (tmp_path / "10-net.conf").write_text(json.dumps(ptp))
    environment = {"PATH": os.environ["PATH"], "NETCONFPATH": str(tmp_path)}
    netns = lab.add_netns("pod")

    def cnictl(verb: str) -> "subprocess.CompletedProcess[str]":
        words = [str(source_bin / "cnictl"), verb, "net", netns]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    added = cnictl("add")
    again = cnictl("add")
    others = [cnictl(verb) for verb in ("status", "check", "gc", "del", "del")]

    assert json.loads(added.stdout)["ips"][0]["address"] == "10.1.2.2/24"
    assert (again.returncode, again.stdout) == (1, "")
    assert [(done.returncode, done.stdout) for done in others] == [(0, "")] * 5
    assert [link["ifname"] for link in lab.ip("link")] == ["lo"]
