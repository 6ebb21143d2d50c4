"""Runs the processes of the node agent, starts them again when they die, ends them on SIGTERM."""

import ctypes
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, Protocol

log = logging.getLogger(__name__)
PAUSE = 1.0  # seconds before a process that died is started again
PR_SET_PDEATHSIG = 1  # prctl(2)
ENDS = {signal.SIGTERM, signal.SIGINT}
SIGNALS = {*ENDS, signal.SIGCHLD}


class Opened(Protocol):
    """What the supervisor holds for its children."""

    def open(self) -> None:
        """Open it, before the first child starts.  Raises OSError."""

    def close(self) -> None:
        """Close it, before the children are asked to end.  It may be closed, or never opened."""


@dataclass
class Child:
    """A process to run: `run` begins with SIGNALS blocked, and returns after a SIGTERM.

    `pid` is 0 while there is none; then it is to be started at `due`, in monotonic seconds.
    """

    name: str
    run: Callable[[], None]
    pid: int = 0
    due: float = 0.0


class Supervisor:
    """Runs `children` until it gets SIGTERM or SIGINT."""

    def __init__(self, children: Iterable[Child], resources: Iterable[Opened] = ()) -> None:
        self._children, self._resources = tuple(children), tuple(resources)

    def run(self) -> int:
        """Run; return the exit status.  Raises OSError when a resource cannot be opened."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # A signal waits until it is looked for: it finds every child, and no socket left behind.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            for resource in self._resources:
                resource.open()
            while self._wait() not in ENDS:
                self._reap()
                self._start()
        finally:
            for resource in self._resources:
                resource.close()
            self._end()
        return 0

    def _wait(self) -> int:
        """Sleep until a signal comes, or a child is to be started; return the signal, or 0."""
        due = [child.due for child in self._children if not child.pid]
        if not due:
            return signal.sigwaitinfo(SIGNALS).si_signo
        found = signal.sigtimedwait(SIGNALS, max(0.0, min(due) - time.monotonic()))
        return found.si_signo if found else 0

    def _start(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.due <= now:
                own = os.getpid()
                child.pid = os.fork()
                if child.pid == 0:
                    _be(child, own)

    def _reap(self) -> None:
        """Take note of the children that have ended."""
        for child in self._children:
            if child.pid and (ended := os.waitpid(child.pid, os.WNOHANG))[0]:
                status = os.waitstatus_to_exitcode(ended[1])
                log.error("%s ended with status %d and is started again", child.name, status)
                child.pid, child.due = 0, time.monotonic() + PAUSE

    def _end(self) -> None:
        running = [child.pid for child in self._children if child.pid]
        for pid in running:
            os.kill(pid, signal.SIGTERM)
        for pid in running:
            os.waitpid(pid, 0)


def _be(child: Child, parent: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:  # else it died before it could be told
            gc.enable()
            child.run()
    except BaseException:
        log.exception("%s failed", child.name)
        os._exit(1)
    os._exit(0)


def notify(text: str) -> None:
    """Tell systemd (man 3 sd_notify), if it is there."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, suppress(OSError):
            out.sendto(text.encode(), f"\0{place[1:]}" if place[0] == "@" else place)
