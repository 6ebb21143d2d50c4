"""The supervisor by itself, with processes that do nothing: none is lost, none is left behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from cni.agent.listener import Listener
from cni.agent.supervisor import Child, Supervisor
from tests import faults, lab
from tests.agent import callers
from tests.agent.callers import alive

SOURCES = ("cni/agent/supervisor.py", "cni/agent/listener.py")


def until_sigterm(place: Path, name: str) -> Callable[[], None]:
    """Return what a child does: say who it is, and wait for its end."""

    def run() -> None:
        (place / f"{name}-{os.getpid()}").touch()
        signal.sigwait({signal.SIGTERM})

    return run


@contextmanager
def supervisor(
    place: Path, *names: str, before: Callable[[], object] = bool
) -> Iterator[tuple[int, Path]]:
    """Run a supervisor with a socket and children of these names; `before` runs in it first.

    Yields its pid and the path of its socket.
    """
    path = place / "sock"
    pid = os.fork()
    if pid == 0:
        status = 77
        try:
            children = [Child(name, until_sigterm(place, name)) for name in names]
            one = Supervisor(children, [Listener(str(path))])
            before()
            status = one.run()
        finally:
            os._exit(status)
    try:
        yield pid, path
    finally:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def pids(place: Path, name: str) -> list[int]:
    """Return the processes that have run as the child `name`."""
    return [int(path.name.rpartition("-")[2]) for path in place.glob(f"{name}-*")]


def sigterm_at(count: int, place: Path) -> None:
    """Let this process get a SIGTERM before the `count`-th line of its way."""
    pid = os.getpid()

    def send() -> None:
        (place / "met").touch()
        os.kill(pid, signal.SIGTERM)  # also when it is a child that comes to that line

    faults.stop_at(count, SOURCES, send)


def test_a_sigterm_is_heard_wherever_it_comes_and_leaves_no_socket(tmp_path: Path) -> None:
    for count in range(1, faults.LIMIT):
        place = tmp_path / str(count)
        place.mkdir()
        with supervisor(place, "one", before=partial(sigterm_at, count, place)) as (pid, path):
            assert lab.wait_until(lambda: bool(pids(place, "one")) or not alive(pid))  # noqa: B023
            os.kill(pid, signal.SIGTERM)  # it may have got past all the lines
            status = callers.status_of(pid)
        assert status == 0 or (status == -signal.SIGTERM and count <= 3), count  # it has not begun
        assert not path.exists(), count
        assert not [one for one in pids(place, "one") if alive(one)], count
        if not (place / "met").exists():
            break
    assert count > 20, "the lines were not met"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_children_end_with_it(tmp_path: Path, number: signal.Signals) -> None:
    with supervisor(tmp_path, "one", "two") as (pid, path):
        assert lab.wait_until(lambda: all(pids(tmp_path, name) for name in ("one", "two")))

        os.kill(pid, number)

        assert callers.status_of(pid) == 0
    assert not path.exists()
    assert not any(map(alive, pids(tmp_path, "one") + pids(tmp_path, "two")))


def test_a_child_that_dies_is_started_again_and_the_other_goes_on(tmp_path: Path) -> None:
    with supervisor(tmp_path, "one", "two"):
        assert lab.wait_until(lambda: all(pids(tmp_path, name) for name in ("one", "two")))
        (first,) = pids(tmp_path, "one")

        os.kill(first, signal.SIGKILL)

        assert lab.wait_until(lambda: len(pids(tmp_path, "one")) == 2)
        assert len(pids(tmp_path, "two")) == 1
        assert all(map(alive, pids(tmp_path, "two")))


def test_children_that_die_at_once_do_not_keep_it_busy(tmp_path: Path) -> None:
    place = tmp_path / "died"

    def die() -> None:
        with place.open("a") as file:
            file.write(".")

    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(Supervisor([Child("one", die), Child("two", die)]).run())
        finally:
            os._exit(77)
    assert lab.wait_until(lambda: place.exists() and len(place.read_text()) >= 4)
    died = len(place.read_text())
    seconds = time.monotonic() - begin
    os.kill(pid, signal.SIGTERM)

    assert callers.status_of(pid) == 0
    assert died <= 2 * (1 + seconds)


def test_children_end_when_it_is_killed(tmp_path: Path) -> None:
    with supervisor(tmp_path, "one") as (pid, _):
        assert lab.wait_until(lambda: bool(pids(tmp_path, "one")))
        os.kill(pid, signal.SIGKILL)

        assert lab.wait_until(lambda: not any(map(alive, pids(tmp_path, "one"))))
