"""Many callers, strange ones, for a long time: all are served, and the agent does not grow."""

import json
import os
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import lab, networks
from tests.agent import callers
from tests.agent.callers import DONE, SOCKET, Client, connected, say, version_client
from tests.agent.conftest import StartAgent
from tests.agent.probe import Probe
from tests.pods import leases

MANY = 500
INVOCATIONS = int(os.environ.get("PYCNI_INVOCATIONS", "1000"))
GROWTH = 1.1  # of the memory, over all invocations


def test_five_hundred_clients_at_once_are_all_served(frozen_bin: Path, agent: lab.Agent) -> None:
    conf = networks.ptp("10.244.0.0/22")
    path = Path("/run/conf")
    path.write_text(json.dumps(conf))

    def add(number: int) -> tuple[bytes, bytes]:
        environ = {"COMMAND": "ADD", "CONTAINERID": f"pod{number}", "IFNAME": "eth0"}
        environ |= {"NETNS": "/proc/self/ns/net", "NETNS_OVERRIDE": "1", "PATH": str(frozen_bin)}
        variables = {f"CNI_{key}": value for key, value in environ.items()}
        with path.open() as stdin:
            return Client(frozen_bin, "host-local", stdin.fileno(), **variables).call()

    with ThreadPoolExecutor(MANY) as pool:
        answers = list(pool.map(add, range(MANY)))

    assert answers == [DONE] * MANY
    assert len(leases()) == MANY
    assert lab.wait_until(lambda: callers.children(agent.zygote) == [])


def test_a_hundred_programs_at_once_all_succeed(frozen_bin: Path, agent: lab.Agent) -> None:
    suite = lab.Suite(frozen_bin, imported=False)

    with ThreadPoolExecutor(100) as pool:
        replies = list(pool.map(lambda _: suite.call("loopback", "VERSION", {}), range(100)))

    assert {reply.exit for reply in replies} == {0}
    assert len({reply.stdout for reply in replies}) == 1
    assert callers.alive(agent.zygote)


def busy(place: Path) -> int:
    """Be a program that takes its time, and leaves how many there were at once."""
    mine = place / f"now-{os.getpid()}"
    mine.touch()
    (place / f"most-{os.getpid()}").write_text(str(len(list(place.glob("now-*")))))
    time.sleep(0.1)
    mine.unlink()
    return 0


@pytest.mark.usefixtures("host")
def test_no_more_workers_at_once_than_allowed_and_the_others_wait(tmp_path: Path) -> None:
    with callers.zygote(lambda: busy(tmp_path), workers=2) as (path, _):
        pids = [callers.call(path) for _ in range(8)]

        assert [callers.status_of(pid) for pid in pids] == [0] * 8

    numbers = [int(one.read_text()) for one in tmp_path.glob("most-*")]
    assert len(numbers) == 8
    assert max(numbers) == 2


def test_the_command_line_says_how_many_workers(probe: Probe, start_agent: StartAgent) -> None:
    with start_agent("--workers", "2") as agent:
        processes = [probe.hold() for _ in range(2)]
        processes += [probe.start(environ={"PROBE_HOLDS": "STATUS"}) for _ in range(6)]

        assert not lab.wait_until(lambda: len(callers.children(agent.zygote)) > 2, 0.3)
        probe.release()
        for process in processes:
            assert process.communicate(timeout=30) == (b"", b"")

    assert [process.returncode for process in processes] == [0] * 8
    assert probe.runs() == ["STATUS"] * 8


def _send_many_files(connection: socket.socket, data: bytes) -> None:
    socket.send_fds(connection, [data], [0] * 200)


STRANGE: dict[str, Callable[[socket.socket, bytes], object]] = {
    "nothing": lambda _connection, _data: None,
    "no files": lambda connection, data: connection.send(data),
    "too few files": lambda connection, data: socket.send_fds(connection, [data], [0] * 7),
    "too many files": _send_many_files,
    "files of the wrong kind": lambda connection, data: socket.send_fds(
        connection, [data], [0] * 8
    ),
    "garbage": lambda connection, _data: say(connection, b"\xff\x00garbage" * 50, (0, 1, 2)),
    "an empty message": lambda connection, _data: say(connection, b"", (0, 1, 2)),
    "half a message": lambda connection, data: say(connection, data[: len(data) // 2], (0, 1, 2)),
    "a huge message": lambda connection, _data: say(connection, b"x" * 150_000, (0, 1, 2)),
    "another build": lambda connection, data: say(
        connection, data.replace(b"_pycni-", b"_other-"), (0, 1, 2)
    ),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_caller_that_says_something_strange_is_refused(
    probe: Probe, warm: tuple[Probe, int], what: str
) -> None:
    client = version_client(probe.bin_dir)

    with connected() as connection:
        STRANGE[what](connection, client.data)
        connection.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: connection.recv(1) or b"", b""))

    assert b"A" not in said[1:]  # but for the greeting
    assert client.call() == DONE
    assert client.said().count("supportedVersions") == 1
    assert callers.alive(warm[1])


def test_who_says_nothing_does_not_keep_others_waiting_for_long(
    probe: Probe, start_agent: StartAgent
) -> None:
    with start_agent("--workers", "2"), connected(), connected():
        assert probe.server() == "pycnid"


def test_nobody_but_root_can_make_it_work(probe: Probe, agent: lab.Agent) -> None:
    """Were the socket's mode not enough: who calls is asked for."""
    client = version_client(probe.bin_dir)
    mode = SOCKET.stat().st_mode & 0o777
    SOCKET.chmod(0o777)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            answers = client.call()
        except OSError:
            answers = (b"", b"")
        os._exit(answers[0] == b"A")

    assert mode == 0o600
    assert callers.status_of(child) == 0
    assert client.said() == ""
    assert client.call() == DONE
    assert callers.alive(agent.zygote)


def resident(pid: int) -> int:
    """Return the memory of a process, in kB."""
    match = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def test_the_agent_does_not_grow(frozen_bin: Path, agent: lab.Agent) -> None:
    """PYCNI_INVOCATIONS says for how many invocations; the default is quick."""
    client = version_client(frozen_bin)
    zygote = agent.zygote
    files = Path(f"/proc/{zygote}/fd")
    for _ in range(100):
        assert client.call() == DONE
    assert lab.wait_until(lambda: callers.children(zygote) == [])
    before, open_before = resident(zygote), len(list(files.iterdir()))

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(lambda _: client.call(), range(INVOCATIONS)))

    assert answers == {DONE}
    assert lab.wait_until(lambda: callers.children(zygote) == []), "zombies are left"
    assert len(list(files.iterdir())) == open_before
    assert resident(zygote) <= before * GROWTH
