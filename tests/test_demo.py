"""`cnictl demo`: the main job, told to the end, or with the reason why not."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import lab
from tests.runtime.doubles import Doubles

pytestmark = pytest.mark.usefixtures("host")
ROOT = Path(__file__).resolve().parent.parent
PATH = {"PATH": os.environ["PATH"]}
PROMISES = [
    "ADD web",
    "ADD client",
    "client -> web, tcp",
    "web -> node, tcp",
    "node -> web, tcp",
    "outside -> hostPort 8080/tcp of the node -> web",
    "outside -> hostPort 5353/udp of the node -> web",
    "node -> hostPort 8080/tcp of localhost -> web",
    "client -> outside, udp, as kindnet stands",
    "ADD worker",
    "worker -> outside, tcp, masqueraded",
    "DEL worker",
    "DEL client",
    "DEL web",
]


def machine() -> list[str]:
    """Return what the demonstration must not touch: links, rules, and files on disk."""
    files = [str(path) for place in ("/run", "/var/lib") for path in Path(place).rglob("*")]
    return [lab.run("ip -o link"), lab.run("nft list ruleset"), *sorted(files)]


def demo(program: Path, **environment: str) -> lab.Reply:
    done = subprocess.run(
        [program, "demo"], env=PATH | environment, capture_output=True, text=True, check=False
    )
    return lab.Reply(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=["source", "frozen", "reference plugins"])
def program(request: pytest.FixtureRequest) -> tuple[Path, dict[str, str]]:
    """Return cnictl and its environment: our programs in both forms, and the reference's."""
    if request.param == "frozen":
        return request.getfixturevalue("frozen_bin") / "cnictl", {}
    cnictl = request.getfixturevalue("source_bin") / "cnictl"
    if request.param == "source":
        return cnictl, {}
    return cnictl, {"CNI_PATH": str(request.getfixturevalue("reference_bin"))}


def test_everything_is_proved_and_nothing_is_left(program: tuple[Path, dict[str, str]]) -> None:
    cnictl, environment = program
    before = machine()

    said = demo(cnictl, **environment).ok()

    steps = re.findall(r"^   (\S.*?) \.+ ok +[\d.]+ m?s\b", said.stdout, re.MULTILINE)
    assert [step for step in steps if step in PROMISES] == PROMISES
    assert "from 192.0.2.10" in said.stdout
    assert "\x1b" not in said.stdout
    assert said.stderr == ""
    assert machine() == before


def test_counts_of_what_is_left_go_back_to_those_of_before(source_bin: Path) -> None:
    said = demo(source_bin / "cnictl").ok()

    rows = re.findall(r"^(\w[\w ]*?) {2,}(\d+) +(\d+) +(\d+)$", said.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == [
        "links",
        "routes",
        "leases",
        "cached results",
        "nftables entries",
    ]
    for _, before, during, after in rows:
        assert int(before) == int(after) < int(during)


def test_node_is_shown_as_its_operator_sees_it(source_bin: Path) -> None:
    said = demo(source_bin / "cnictl").ok()

    for command in (
        "ip -brief address",
        "ip route",
        "nft list ruleset",
        "ip -netns web -brief address",
        "ip -netns web route",
        "cnictl ls",
    ):
        assert f"$ {command}" in said.stdout
    assert re.search(r"^   veth\S+ +UP ", said.stdout, re.MULTILINE)
    assert '"cniVersion": "0.3.1"' in said.stdout


def test_terminal_gets_colours_and_tables(source_bin: Path) -> None:
    environment = PATH | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    words = ["script", "-qec", f"{source_bin}/cnictl demo", "/dev/null"]

    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)

    assert "\x1b[32m ok" in done.stdout
    assert "──" in done.stdout


def test_programs_in_a_place_that_is_hidden_still_run(source_bin: Path) -> None:
    place = Path("/run/programs/bin")
    shutil.copytree(source_bin, place)

    demo(place / "cnictl").ok()


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("ptp", 'failed to find plugin "ptp"'), ("portmap", 'failed to find plugin "portmap"')],
)
def test_missing_program_is_the_reason(
    source_bin: Path, tmp_path: Path, missing: str, reason: str
) -> None:
    shutil.copytree(source_bin, tmp_path / "bin")
    (tmp_path / "bin" / missing).unlink()

    said = demo(source_bin / "cnictl", CNI_PATH=str(tmp_path / "bin"))

    assert said.exit == 1
    assert "ADD web" in said.stdout
    assert said.stdout.endswith("FAILED\n")
    assert reason in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_pod_without_a_way_is_the_reason(source_bin: Path, tmp_path: Path) -> None:
    """The plugins say that all is well and do nothing."""
    doubles = Doubles(tmp_path / "doubles")
    for name in ("ptp", "portmap"):
        doubles.program(name)

    said = demo(source_bin / "cnictl", CNI_PATH=str(doubles.bin_dir))

    assert said.exit == 1
    assert "10.1.2.3:80: Network is unreachable" in said.stderr


def test_lease_that_stays_is_the_reason(source_bin: Path, tmp_path: Path) -> None:
    """Its host-local gives addresses and takes none back."""
    place = tmp_path / "bin"
    shutil.copytree(source_bin, place)
    forgetful = place / "host-local"
    forgetful.write_text(
        f'#!/bin/sh\ntest "$CNI_COMMAND" = DEL || exec {source_bin}/host-local\ncat > /dev/null\n'
    )

    said = demo(place / "cnictl")

    assert said.exit == 1
    assert re.search(r"this is left: .*leases: 10\.244\.0\.2 of web", said.stderr)


def test_demo_without_rights_says_what_to_do(source_bin: Path) -> None:
    words = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]

    done = subprocess.run(
        [*words, source_bin / "cnictl", "demo"],
        env=PATH,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "as root" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def interrupted(source_bin: Path, doubles: Doubles) -> Iterator["subprocess.Popen[str]"]:
    """Yield a demonstration that is in the middle of ADD."""
    slow = doubles.bin_dir / "ptp"
    slow.write_text(f"#!/bin/sh\ntouch {doubles.home}/begun\nexec sleep 600\n")
    slow.chmod(0o755)
    started = subprocess.Popen(
        [source_bin / "cnictl", "demo"],
        env=PATH | {"CNI_PATH": str(doubles.bin_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with started:
        while not (doubles.home / "begun").exists():
            assert started.poll() is None
            time.sleep(0.01)
        yield started


def in_namespace(identity: str) -> list[str]:
    """Return the processes whose network namespace is `identity`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns" / "net") == identity:
                found.append(process.name)
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_it_leaves_neither_processes_nor_namespaces(
    source_bin: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = machine()
    with interrupted(source_bin, Doubles(tmp_path / "doubles")) as started:
        namespace = os.readlink(f"/proc/{started.pid}/ns/net")
        kept = os.open(f"/proc/{started.pid}/ns/net", os.O_RDONLY)  # no other gets its number

        started.send_signal(number)
        _, stderr = started.communicate()

    assert started.returncode == 130
    assert stderr.strip() == "cnictl: stopped"
    assert in_namespace(namespace) == []
    os.close(kept)
    assert machine() == before


def test_conflist_has_the_fields_that_kindnets_agent_writes() -> None:
    conflist = json.loads((ROOT / "conflists" / "10-kindnet.conflist").read_text())

    assert conflist == {
        "cniVersion": "0.3.1",
        "name": "kindnet",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-ipam-state",
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": "10.244.0.0/24"}]],
                },
                "mtu": 1500,
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
