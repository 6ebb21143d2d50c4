"""The warm role: a process that has every program loaded, and forks a worker for each invocation.

The zygote is single-threaded and holds nothing but its socket.  Two workers are always forked
ahead and wait for a caller, so that no caller waits for a fork.  What a worker does is in
`cni/agent/worker.py`, the launcher's side in `cni/handover.py`.
"""

import contextlib
import gc
import importlib
import logging
import math
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from cni.agent import pages, rehearsal, worker
from cni.programs import PROGRAMS

log = logging.getLogger(__name__)
# What programs import only when they need it: a worker may be where it cannot be read.
LOADED = (
    *(f"cni.kernel.{name}" for name in ("conntrack", "firewall", "leftovers", "sysctl")),
    *("cni.invoke", "cni.pod", "cni.skel", "cni.veth"),
    *("inspect", "shlex", "shutil", "socket", "subprocess", "traceback"),
)


SPARE = 2  # workers that wait for a caller: containerd executes two programs at once
PID = struct.Struct("=i")
PAUSE = 0.1  # seconds, after a worker died that had nothing to do
REST = 0.004  # seconds without a fork after a caller came: it has the processors for itself


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


def load() -> list[pages.Range]:
    """Load all that a worker may need, and keep it where a fork shares it.

    Returns the memory that most workers will write to.
    """
    for name in (*(program.module for program in PROGRAMS.values()), *LOADED):
        importlib.import_module(name)
    rehearsal.rehearse()
    gc.collect()
    gc.freeze()
    return rehearsal.watch()


class Zygote:
    """Forks a worker for each caller of `listener`, until SIGTERM."""

    def __init__(
        self,
        listener: socket.socket,
        build: str,
        limits: Limits,
        main: Callable[[], int],
        written: Iterable[pages.Range] = (),
    ) -> None:
        self._listener, self._build, self._limits, self._main = listener, build, limits, main
        self._written = written
        self._spare: set[int] = set()
        self._busy: dict[int, _Worker] = {}
        self._stopping = False
        self._rested = 0.0  # when the next fork ahead is due, in monotonic seconds
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # a worker that has found a caller says its pid
        self._found, self._finds = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # ends for those who wait when we do, whatever ends us
        self._over, self._alive = os.pipe2(os.O_CLOEXEC)

    def take_signals(self) -> None:
        """Let SIGTERM stop the loop, and SIGCHLD wake it."""
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor's

    def run(self) -> None:
        """Serve until SIGTERM; then wait for the workers that run."""
        self._listener.setblocking(False)  # noqa: FBT003  # the library's own signature
        while not self._stopping:
            if not self._wants_spare() or time.monotonic() < self._rested or not self._fork():
                self._wait()
        self._listener.close()  # who waits there serves itself
        os.close(self._alive)
        while self._busy or self._spare:
            self._wait()

    def _wants_spare(self) -> bool:
        room = self._limits.workers - len(self._busy) - len(self._spare)
        return room > 0 and len(self._spare) < SPARE and not self._stopping

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _wait(self) -> None:
        """Sleep until something happens to a worker, or a signal comes; see what it was."""
        poll = select.poll()
        for file in (self._wake, self._found):
            poll.register(file, select.POLLIN)
        dues = [one.deadline for one in self._busy.values()]
        if self._wants_spare():
            dues.append(self._rested)
            if not self._spare:
                poll.register(self._listener, select.POLLIN)
        pause = max(0.0, min(dues, default=math.inf) - time.monotonic())
        events = {file for file, _ in poll.poll(pause * 1000 if pause < math.inf else None)}
        if self._listener.fileno() in events or (events and self._rested == math.inf):
            self._rested = 0.0  # somebody waits for a worker, or it may be had again
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        self._note_busy()
        self._reap()
        self._end_stuck()

    def _note_busy(self) -> None:
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            for (pid,) in PID.iter_unpack(os.read(self._found, 4096)):
                if pid in self._spare:  # not if it has ended already
                    self._spare.remove(pid)
                    self._busy[pid] = _Worker(now + self._limits.seconds)
                    self._rested = now + REST

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                self._busy.pop(pid, None)
                if os.WIFSIGNALED(status):
                    log.warning("worker %d was killed by signal %d", pid, os.WTERMSIG(status))
                    if pid in self._spare:
                        time.sleep(PAUSE)
                self._spare.discard(pid)

    def _end_stuck(self) -> None:
        """Ask a worker that is over its time to end; if it does not, end it."""
        now = time.monotonic()
        for pid, one in self._busy.items():
            if one.deadline <= now:
                log.warning("worker %d is over its time", pid)
                os.kill(pid, signal.SIGKILL if one.asked else signal.SIGTERM)
                one.deadline, one.asked = now + self._limits.grace, True

    def _fork(self) -> bool:
        """Fork a worker; False: one cannot be had now, who called serves itself."""
        try:
            pid = os.fork()
        except OSError as error:
            log.error("cannot fork a worker: %s", error.strerror)  # noqa: TRY400  # is enough
            self._rested = math.inf
            if not self._spare:
                with contextlib.suppress(OSError):
                    self._listener.accept()[0].close()
            return False
        if pid == 0:
            self._be_worker()
        self._spare.add(pid)
        return True

    def _be_worker(self) -> NoReturn:
        try:
            worker.prepare()
            for file in (self._wake, self._woken, self._found, self._alive):
                os.close(file)
            pages.populate(self._written)
            connection = self._next_caller()
            os.write(self._finds, PID.pack(os.getpid()))
            for file in (self._finds, self._over):
                os.close(file)
            worker.serve(connection, self._build, self._main)
        finally:
            os._exit(1)

    def _next_caller(self) -> socket.socket:
        """Wait for a caller; end the process when the zygote ends."""
        poll = select.poll()
        for file in (self._listener.fileno(), self._over):
            poll.register(file, select.POLLIN)
        while True:
            if any(file == self._over for file, _ in poll.poll()):
                os._exit(0)
            with contextlib.suppress(OSError):  # another worker took it, or it has gone again
                connection = self._listener.accept()[0]
                self._listener.close()
                return connection
