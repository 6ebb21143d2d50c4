"""Starts the roles of the node agent, starts them again when they die, ends them on SIGTERM."""

import ctypes
import gc
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from cni.agent import warm
from cni.agent.warm import Limits, Zygote

log = logging.getLogger(__name__)
BACKLOG = 4096  # callers that wait; the kernel allows no more than net.core.somaxconn
PAUSE = 1.0  # seconds before a role that died is started again
PR_SET_PDEATHSIG = 1  # prctl(2)


def build_id() -> str:
    """Return what names this build: the frozen program's folder of libraries is called after it."""
    return os.path.basename(sys.path[-1]) if getattr(sys, "frozen", False) else "source"


class Supervisor:
    """Holds the socket, so that callers wait while a zygote is started again."""

    def __init__(self, path: str, limits: Limits, program: Callable[[], int]) -> None:
        self._path, self._limits, self._program = os.path.abspath(path), limits, program
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._zygote, self._stopping = 0, False

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit status.  Raises OSError at the start."""
        self._listen()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            while not self._stopping:
                self._run_zygote()
        finally:
            self._close()
        return 0

    def _listen(self) -> None:
        """Listen, to root alone.  Raises OSError, also when another agent listens there."""
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            if probe.connect_ex(self._path) == 0:
                message = f"another agent listens at {self._path}"
                raise OSError(message)
        if _is_socket(self._path):
            os.unlink(self._path)  # of an agent that was killed
        umask = os.umask(0o177)
        try:
            self._listener.bind(self._path)
        except OSError as error:
            raise OSError(f"cannot listen at {self._path}: {error.strerror or error}") from error
        finally:
            os.umask(umask)
        self._own = os.stat(self._path)
        self._listener.listen(BACKLOG)

    def _close(self) -> None:
        """Let callers serve themselves.  By now the socket at our path may be another agent's."""
        if self._listener.fileno() < 0:
            return
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), self._own):
                os.unlink(self._path)
        self._listener.close()

    def _run_zygote(self) -> None:
        """Start a zygote and wait for its end."""
        # SIGTERM must find the zygote, or be seen before there is one
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        if not self._stopping:
            self._zygote = os.fork()
            if self._zygote == 0:
                self._be_zygote(signals)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        if not self._zygote:
            return
        _, status = os.waitpid(self._zygote, 0)
        self._zygote = 0
        if not self._stopping:
            log.error("the warm role ended with status %d and is started again", status)
            time.sleep(PAUSE)

    def _be_zygote(self, signals: set[signal.Signals]) -> NoReturn:
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            gc.enable()
            warm.load()
            zygote = Zygote(self._listener, build_id(), self._limits, self._program)
            zygote.take_signals()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            notify("READY=1")
            zygote.run()
        except BaseException:
            log.exception("the warm role failed")
            os._exit(1)
        os._exit(0)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        self._close()
        if self._zygote:
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(self._zygote, signal.SIGTERM)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def notify(text: str) -> None:
    """Tell systemd (man 3 sd_notify), if it is there."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, suppress(OSError):
            out.sendto(text.encode(), f"\0{place[1:]}" if place[0] == "@" else place)
