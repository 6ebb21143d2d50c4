"""Somebody dies in the middle: a right end or a clear error, a clean host, never twice."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import lab
from tests.agent import callers
from tests.agent.callers import DONE, SOCKET, alive, version_client
from tests.agent.conftest import StartAgent
from tests.agent.probe import Probe, end
from tests.pods import veths

LOST = 103


@pytest.fixture
def pod(probe: Probe) -> Iterator[Probe]:  # the host first
    """Have a pod; at the end nothing of it is left, and nobody who works on it."""
    lab.add_netns("pod")
    yield probe
    for process in probe.holders():
        assert lab.wait_until(lambda: not alive(process)), "a worker is left"  # noqa: B023
    assert lab.wait_until(lambda: probe.leases() == []), "a lease is left"
    assert veths() == []


def test_a_killed_zygote_is_started_again_for_those_who_wait(
    probe: Probe, agent: lab.Agent
) -> None:
    """One that waits longer than a program, which on a busy machine would serve itself by then."""
    zygote = agent.zygote
    os.kill(zygote, signal.SIGKILL)

    assert version_client(probe.bin_dir).call() == DONE
    assert agent.zygote != zygote
    assert probe.server() == "pycnid"
    assert probe.runs() == ["STATUS"]


def test_after_the_agent_was_killed_programs_serve_themselves(
    probe: Probe, agent: lab.Agent
) -> None:
    zygote = agent.zygote
    assert probe.server() == "pycnid"
    agent.process.kill()
    agent.process.wait()
    assert lab.wait_until(lambda: not alive(zygote)), "the zygote outlives the agent"

    assert probe.server() == "ptp"
    assert probe.runs() == ["STATUS"] * 2


@pytest.mark.parametrize("who", ["zygote", "supervisor"])
def test_a_call_ends_well_though_the_agent_is_killed(
    pod: Probe, agent: lab.Agent, who: str
) -> None:
    call = pod.hold("ADD")
    os.kill(agent.zygote if who == "zygote" else agent.process.pid, signal.SIGKILL)
    pod.release()

    reply = end(call).ok()

    assert reply.json["ips"][0]["address"] == "10.9.8.7/24"
    assert pod.runs() == ["ADD"]
    pod.run("DEL").ok()


def test_the_call_of_a_killed_worker_fails_and_del_cleans_up(pod: Probe, agent: lab.Agent) -> None:
    call = pod.hold("ADD")
    (worker,) = pod.holders()
    assert worker in callers.children(agent.zygote)
    os.kill(worker, signal.SIGKILL)
    status = call.wait(30)
    pod.release()  # the delegate, which has our stderr

    reply = end(call)

    assert status == 1
    reply.failed(LOST)
    assert "lost" in reply.json["msg"]
    assert "DEL" in reply.json["details"]
    assert pod.runs() == ["ADD"]
    pod.run("DEL").ok()


def test_a_killed_caller_takes_its_worker_with_it(pod: Probe, agent: lab.Agent) -> None:
    call = pod.hold("ADD")
    call.kill()
    end(call)

    assert lab.wait_until(lambda: pod.runs() == ["ADD", "DEL"])  # it undoes what it did
    assert lab.wait_until(lambda: callers.children(agent.zygote) == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_caller_that_is_asked_to_end_says_so_when_all_is_undone(
    pod: Probe, agent: lab.Agent, number: signal.Signals
) -> None:
    call = pod.hold("ADD")
    assert lab.wait_until(lambda: lab.handles(call.pid, number))
    call.send_signal(number)

    reply = end(call)

    assert pod.leases() == []
    assert (reply.exit, reply.json["msg"]) == (1, "stopped by a signal")
    assert pod.runs() == ["ADD", "DEL"]
    assert callers.alive(agent.zygote)


def test_a_runtime_that_hangs_up_leaves_nobody_behind(pod: Probe, agent: lab.Agent) -> None:
    call = pod.hold("ADD")
    assert call.stdout is not None
    assert call.stderr is not None
    call.stdout.close()
    call.stderr.close()
    pod.release()

    assert call.wait(30) == 1  # nobody heard the result
    assert lab.wait_until(lambda: callers.children(agent.zygote) == [])
    pod.run("DEL").ok()


def test_a_worker_that_is_over_its_time_is_stopped_and_undoes_its_work(
    pod: Probe, start_agent: StartAgent
) -> None:
    with start_agent("--limit", "5"):
        reply = end(pod.hold("ADD"))

    assert "stopped" in reply.json["msg"]
    assert reply.exit == 1
    assert pod.runs() == ["ADD", "DEL"]


def deaf(place: Path) -> int:
    """Be a program that hangs and does not listen."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    (place / str(os.getpid())).touch()
    while True:
        time.sleep(1)


@pytest.mark.usefixtures("host")
def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    with callers.zygote(lambda: deaf(tmp_path), seconds=2, grace=0.3) as (path, zygote):
        assert callers.status_of(callers.call(path)) == 1
        assert lab.wait_until(lambda: callers.children(zygote) == [])

    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("way", ["raises", "exits", "is killed"])
def test_whatever_ends_a_worker_its_caller_and_the_zygote_live_on(way: str) -> None:
    def end_it() -> int:
        ways[way]()
        return 0

    ways: dict[str, Callable[[], object]] = {
        "raises": lambda: 1 // 0,
        "exits": lambda: os._exit(0),
        "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }
    with callers.zygote(end_it) as (path, zygote):
        statuses = [callers.status_of(callers.call(path)) for _ in range(3)]

        assert statuses == [1, 1, 1]
        assert lab.wait_until(lambda: callers.children(zygote) == [])


def asked(place: Path) -> int:
    """Be a program that is asked to end, says so, and ends when it may."""
    (place / "begun").touch()
    with suppress(SystemExit):
        time.sleep(30)
    (place / "asked").touch()
    lab.wait_until((place / "may").exists, 30)
    return 3


@pytest.mark.usefixtures("host")
def test_a_status_is_heard_even_if_the_worker_left_a_signal_unread(tmp_path: Path) -> None:
    """The kernel tells that first, as an error, when the worker ended before its caller looks."""
    with callers.zygote(lambda: asked(tmp_path)) as (path, zygote):
        caller = callers.call(path)
        assert lab.wait_until((tmp_path / "begun").exists, 30)
        assert lab.wait_until(lambda: _ends_with_word(caller, tmp_path / "asked"), 30)
        os.kill(caller, signal.SIGSTOP)
        (tmp_path / "may").touch()
        assert lab.wait_until(lambda: callers.children(zygote) == [], 30)
        os.kill(caller, signal.SIGCONT)

        assert callers.status_of(caller) == 3


def _ends_with_word(caller: int, word: Path) -> bool:
    """Ask the caller to end, until its worker has heard of it."""
    if lab.handles(caller, signal.SIGTERM):
        os.kill(caller, signal.SIGTERM)
    return lab.wait_until(word.exists, 0.1)


def test_sigterm_lets_a_call_come_to_its_end(pod: Probe, agent: lab.Agent) -> None:
    call = pod.hold("ADD")
    zygote = agent.zygote

    agent.process.terminate()
    assert lab.wait_until(lambda: not SOCKET.exists())
    meanwhile = pod.server()
    pod.release()

    assert meanwhile == "ptp"
    assert end(call).ok().json["ips"]
    assert agent.process.wait(30) == 0
    assert not alive(zygote)
    pod.run("DEL").ok()


def test_sigterm_lets_those_who_wait_serve_themselves(pod: Probe, start_agent: StartAgent) -> None:
    with start_agent("--workers", "1") as agent:
        call = pod.hold("ADD")
        waiting = pod.start()
        assert not lab.wait_until(lambda: "STATUS" in pod.runs(), 0.3)

        agent.process.terminate()

        end(waiting).ok()
        pod.release()
        end(call).ok()
    assert pod.runs() == ["ADD", "STATUS"]
    pod.run("DEL").ok()
