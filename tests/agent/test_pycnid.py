"""The command `pycnid`: what it answers, and what becomes of its socket."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from cni import __version__
from tests import lab
from tests.agent import callers
from tests.agent.callers import SOCKET, version_client
from tests.agent.conftest import StartAgent
from tests.agent.probe import Probe, end


def pycnid(bin_dir: Path, *options: str) -> lab.Reply:
    """Run the agent until it ends by itself."""
    done = subprocess.run(
        [bin_dir / "pycnid", *options], capture_output=True, text=True, check=False, timeout=30
    )
    return lab.Reply(done.returncode, done.stdout, done.stderr)


def test_help_names_every_option(source_bin: Path) -> None:
    said = pycnid(source_bin, "--help").ok().stdout

    assert all(option in said for option in ("--socket", "--workers", "--limit", "--version"))
    assert str(SOCKET) in said


def test_version(source_bin: Path) -> None:
    assert pycnid(source_bin, "--version").ok().stdout == f"pycnid, version {__version__}\n"


@pytest.mark.parametrize(
    "options",
    [("--nonsense",), ("--workers", "0"), ("--workers", "x"), ("--limit", "0"), ("extra",)],
    ids=" ".join,
)
def test_wrong_options_are_refused_in_one_line(source_bin: Path, options: tuple[str, ...]) -> None:
    reply = pycnid(source_bin, *options)

    assert (reply.exit, reply.stdout) == (2, "")
    assert reply.stderr.startswith("pycnid: ")
    assert reply.stderr.count("\n") == 1
    assert "--help" in reply.stderr


def test_a_second_agent_is_refused_and_harms_nothing(probe: Probe, agent: lab.Agent) -> None:
    reply = pycnid(probe.bin_dir)

    assert reply.exit == 1
    assert f"another agent listens at {SOCKET}" in reply.stderr
    assert reply.stderr.count("\n") == 1
    assert probe.server() == "pycnid"
    assert callers.alive(agent.zygote)


@pytest.mark.usefixtures("host")
def test_what_is_no_socket_stays_where_it_is(source_bin: Path, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")

    reply = pycnid(source_bin, "--socket", str(path))

    assert reply.exit == 1
    assert str(path) in reply.stderr
    assert path.read_text() == "data"


def test_the_socket_of_a_killed_agent_is_taken_over(probe: Probe, start_agent: StartAgent) -> None:
    SOCKET.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(SOCKET))

    with start_agent():
        assert probe.server() == "pycnid"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_and_takes_its_socket_along(agent: lab.Agent, number: signal.Signals) -> None:
    zygote = agent.zygote

    agent.process.send_signal(number)

    assert agent.process.wait(30) == 0
    assert not SOCKET.exists()
    assert not callers.alive(zygote)


def test_an_agent_that_ends_leaves_the_socket_of_the_next_one(
    probe: Probe, start_agent: StartAgent
) -> None:
    """The old one still has a worker when the new one starts: as in an upgrade."""
    with start_agent() as old:
        call = probe.hold()
        old.process.terminate()
        assert lab.wait_until(lambda: not SOCKET.exists())
        with start_agent():
            probe.release()
            end(call).ok()
            assert old.process.wait(30) == 0

            assert SOCKET.exists()
            assert probe.server() == "pycnid"


@pytest.mark.usefixtures("host")
def test_a_relative_path_of_the_socket_is_good_too(frozen_bin: Path, tmp_path: Path) -> None:
    command = [str(frozen_bin / "pycnid"), "--socket", "here.sock"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        found = lab.wait_until((tmp_path / "here.sock").exists, 30)
        process.terminate()

        assert found
        assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["/run/notify", "@pycni-tests"])
def test_systemd_hears_when_it_is_ready(
    frozen_bin: Path, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", name)

        with start_agent():
            assert manager.recv(100) == b"READY=1"
            assert version_client(frozen_bin).call() == (b"A", b"\0")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("moment", [0, 3, 6, 9])
def test_it_ends_when_it_is_asked_at_its_start(frozen_bin: Path, moment: int) -> None:
    """SIGTERM may come at any moment, so many milliseconds after the socket: it is heard."""
    with subprocess.Popen([frozen_bin / "pycnid"], stderr=subprocess.DEVNULL) as process:
        assert lab.wait_until(SOCKET.exists, 30)
        lab.wait_until(lambda: False, moment / 1000)
        process.terminate()

        ended = lab.wait_until(lambda: process.poll() is not None, 30)
        process.kill()  # lest we wait for ever
    assert ended
    assert process.returncode in (0, -signal.SIGTERM)
