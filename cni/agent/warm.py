"""The warm role: a process that has every program loaded, and forks a worker for each invocation.

The zygote is single-threaded and holds nothing but its socket; what a worker does is in
`cni/agent/worker.py`, the launcher's side in `cni/handover.py`.
"""

import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from cni.agent import rehearsal, worker
from cni.programs import PROGRAMS

log = logging.getLogger(__name__)
# What programs import only when they need it: a worker may be where it cannot be read.
LOADED = (
    *(f"cni.kernel.{name}" for name in ("conntrack", "firewall", "leftovers", "sysctl")),
    *("cni.invoke", "cni.pod", "cni.skel", "cni.veth"),
    *("inspect", "shlex", "shutil", "socket", "subprocess", "traceback"),
)


@dataclass(frozen=True)
class Limits:
    """How many workers at once, the others wait; and how many seconds each may take.

    A worker that is over its time has `grace` seconds between SIGTERM and SIGKILL.
    """

    workers: int = 16
    seconds: float = 240.0  # the kubelet gives up on a sandbox after four minutes
    grace: float = 10.0


@dataclass
class _Worker:
    """When its time is over, and whether it has been asked to end."""

    deadline: float
    asked: bool = False


def load() -> None:
    """Load all that a worker may need, and keep it where a fork shares it."""
    for name in (*(program.module for program in PROGRAMS.values()), *LOADED):
        importlib.import_module(name)
    rehearsal.rehearse()
    gc.collect()
    gc.freeze()


class Zygote:
    """Takes callers from `listener` and forks a worker for each, until SIGTERM."""

    def __init__(
        self, listener: socket.socket, build: str, limits: Limits, main: Callable[[], int]
    ) -> None:
        self._listener, self._build, self._limits, self._main = listener, build, limits, main
        self._workers: dict[int, _Worker] = {}
        self._stopping = False
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def take_signals(self) -> None:
        """Let SIGTERM stop the loop, and SIGCHLD wake it."""
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor's

    def run(self) -> None:
        """Serve until SIGTERM; then wait for the workers that run."""
        self._listener.setblocking(False)  # noqa: FBT003  # the library's own signature
        while self._workers or not self._stopping:
            if self._stopping:
                self._listener.close()  # who waits there serves itself
            self._wait()
            self._reap()
            self._end_stuck()
            if self._has_room():
                self._accept()

    def _has_room(self) -> bool:
        return not self._stopping and len(self._workers) < self._limits.workers

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _wait(self) -> None:
        """Sleep until a caller comes, a worker ends or is over its time, or a signal comes."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._has_room():
            poll.register(self._listener, select.POLLIN)
        deadlines = [one.deadline for one in self._workers.values()]
        now = time.monotonic()
        poll.poll(max(0.0, min(deadlines) - now) * 1000 if deadlines else None)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _reap(self) -> None:
        """Take leave of the workers that ended, and of what the rehearsal has left at work."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._workers.pop(pid, None)
            if os.WIFSIGNALED(status):
                log.warning("worker %d was killed by signal %d", pid, os.WTERMSIG(status))

    def _end_stuck(self) -> None:
        """Ask a worker that is over its time to end; if it does not, end it."""
        now = time.monotonic()
        for pid, one in self._workers.items():
            if one.deadline <= now:
                log.warning("worker %d is over its time", pid)
                os.kill(pid, signal.SIGKILL if one.asked else signal.SIGTERM)
                one.deadline, one.asked = now + self._limits.grace, True

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the caller has gone again
            return
        with connection:
            try:
                pid = os.fork()
            except OSError as error:  # the caller hears nothing, and serves itself
                log.error("cannot fork a worker: %s", error.strerror)  # noqa: TRY400  # is enough
                return
            if pid == 0:
                self._listener.close()
                os.close(self._wake)
                os.close(self._woken)
                worker.serve(connection, self._build, self._main)
            self._workers[pid] = _Worker(time.monotonic() + self._limits.seconds)
