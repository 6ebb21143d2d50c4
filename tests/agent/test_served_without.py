"""No agent, or none to rely on: the program serves itself, and nothing ever runs twice."""

import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import lab
from tests.agent import callers
from tests.agent.callers import ITSELF, SOCKET
from tests.agent.conftest import StartAgent
from tests.agent.probe import Probe, end

NOBODY = 65534


@contextmanager
def listening(
    build: str, answer: Callable[[socket.socket], object], uid: int = 0
) -> Iterator[Path]:
    """Let a process of `uid` listen where the agent would; yield the file of what it heard."""
    SOCKET.parent.mkdir(exist_ok=True)
    heard = SOCKET.parent / "heard"
    heard.touch()
    heard.chmod(0o666)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(SOCKET))
        child = os.fork()
        if child == 0:
            os.setuid(uid)  # it is who listens that counts
            listener.listen()
            _answer(listener, answer, heard, build)
    try:
        assert lab.wait_until(_connects)
        yield heard
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _connects() -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        return connection.connect_ex(str(SOCKET)) == 0


def _answer(
    listener: socket.socket, answer: Callable[[socket.socket], object], heard: Path, build: str
) -> None:
    try:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):  # who does not believe us has gone
                connection.send(build.encode())
                data, files, _, _ = socket.recv_fds(connection, 1 << 20, 20)
                for file in files:
                    os.close(file)  # the caller's stdout too: who reads it waits for us
                if data or files:
                    with heard.open("a") as log:
                        log.write(f"{len(data)} bytes, {len(files)} files\n")
                    answer(connection)
    finally:
        os._exit(1)


def test_without_an_agent(probe: Probe) -> None:
    assert probe.server() == "ptp"
    assert probe.runs() == ["STATUS"]


def test_with_the_socket_of_an_agent_that_was_killed(probe: Probe) -> None:
    SOCKET.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(SOCKET))

    assert probe.server() == "ptp"


@pytest.mark.parametrize("kind", ["file", "directory", "nowhere", "stream"])
def test_with_something_else_in_the_place_of_the_socket(probe: Probe, kind: str) -> None:
    SOCKET.parent.mkdir()
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def listen() -> None:
        stream.bind(str(SOCKET))
        stream.listen()

    makers: dict[str, Callable[[], object]] = {
        "file": SOCKET.touch,
        "directory": SOCKET.mkdir,
        "nowhere": lambda: SOCKET.symlink_to("/nowhere"),
        "stream": listen,
    }
    with stream:
        makers[kind]()

        assert probe.server() == "ptp"


def test_with_an_agent_of_another_build(
    probe: Probe, start_agent: StartAgent, source_bin: Path
) -> None:
    with start_agent(bin_dir=source_bin):
        assert probe.server() == "ptp"
        assert probe.runs() == ["STATUS"]


def test_an_agent_of_another_user_is_told_nothing(probe: Probe) -> None:
    build = callers.build_of(probe.bin_dir)
    with listening(build, lambda connection: connection.send(b"A"), uid=NOBODY) as heard:
        assert probe.server() == "ptp"
        assert heard.read_text() == ""


@pytest.mark.parametrize("answer", [b"R", b"X", b""], ids=["refused", "strange", "gone"])
def test_with_an_agent_that_does_not_begin(probe: Probe, answer: bytes) -> None:
    build = callers.build_of(probe.bin_dir)
    with listening(build, lambda connection: answer and connection.send(answer)) as heard:
        assert probe.server() == "ptp"
        assert heard.read_text().endswith(" bytes, 8 files\n")
        assert probe.runs() == ["STATUS"]


def note(place: Path) -> int:
    """Be a program that leaves a trace."""
    (place / str(os.getpid())).touch()
    return 0


@pytest.mark.usefixtures("host")
def test_an_agent_that_hangs_runs_nothing_when_it_goes_on(tmp_path: Path) -> None:
    with callers.zygote(lambda: note(tmp_path)) as (path, zygote):
        reader, writer = os.pipe()
        with callers.stopped(zygote):
            status = callers.status_of(callers.call(path, wait=0.1, stdout=writer))
            os.close(writer)

            assert os.read(reader, 1) == b""  # a runtime hears the end, though the agent hangs
        os.close(reader)
        assert status == ITSELF
        assert callers.status_of(callers.call(path)) == 0
        assert len(list(tmp_path.iterdir())) == 1


def test_an_agent_of_another_build_is_told_nothing(probe: Probe) -> None:
    with listening("another", lambda connection: connection.send(b"A")) as heard:
        assert probe.server() == "ptp"
        assert heard.read_text() == ""


@pytest.mark.usefixtures("host")
def test_a_caller_that_loses_patience_just_then_is_served_once_or_not_at_all(
    tmp_path: Path,
) -> None:
    """It serves itself only when no worker has begun, and none will."""
    chance = random.Random(1)
    outcomes = []
    with callers.zygote(lambda: note(tmp_path)) as (path, _):
        for number in range(60):
            before = len(list(tmp_path.iterdir()))
            wait = 0.25 * 0.5 ** chance.uniform(0, 13)  # seconds: from what is always too short
            status = callers.status_of(callers.call(path, wait=wait))
            outcomes.append((status, before))
            if status == ITSELF:
                assert not lab.wait_until(lambda: len(list(tmp_path.iterdir())) > before, 0.004)  # noqa: B023
            assert status in (0, 1, ITSELF), number

    runs = len(list(tmp_path.iterdir()))
    assert runs <= len([status for status, _ in outcomes if status != ITSELF])
    assert {0, ITSELF} <= {status for status, _ in outcomes}


@pytest.mark.usefixtures("host")
def test_a_zygote_that_cannot_fork_lets_callers_serve_themselves(tmp_path: Path) -> None:
    def be_nobody() -> None:
        """Root has no limit of processes."""
        import resource

        os.setuid(NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))

    with callers.zygote(lambda: note(tmp_path), before=be_nobody) as (path, zygote):
        statuses = [callers.status_of(callers.call(path)) for _ in range(3)]

        assert statuses == [ITSELF] * 3
        assert callers.alive(zygote)
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_agent_is_waited_for_while_there_is_hope(probe: Probe, agent: lab.Agent) -> None:
    with callers.stopped(agent.zygote):
        process = probe.start()

        assert not lab.wait_until(lambda: process.poll() is not None, 0.3)
    end(process).ok()
    assert probe.runs() == ["STATUS"]
