"""The socket at which programs find the agent.

The supervisor holds it, so that callers wait while a zygote is started again.
"""

import os
import socket
import stat
import sys
from contextlib import suppress

BACKLOG = 4096  # callers that wait; the kernel allows no more than net.core.somaxconn


def build_id() -> str:
    """Return what names this build: the frozen program's folder of libraries is called after it."""
    return os.path.basename(sys.path[-1]) if getattr(sys, "frozen", False) else "source"


class Listener:
    """A socket at `path` that listens to root alone."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._own: os.stat_result | None = None

    def open(self) -> None:
        """Listen.  Raises OSError, also when another agent listens there."""
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            if probe.connect_ex(self._path) == 0:
                message = f"another agent listens at {self._path}"
                raise OSError(message)
        if _is_socket(self._path):
            os.unlink(self._path)  # of an agent that was killed
        umask = os.umask(0o177)
        try:
            self.socket.bind(self._path)
        except OSError as error:
            raise OSError(f"cannot listen at {self._path}: {error.strerror or error}") from error
        finally:
            os.umask(umask)
        self._own = os.stat(self._path)
        self.socket.listen(BACKLOG)

    def close(self) -> None:
        """Let callers serve themselves.  By now the socket at our path may be another agent's."""
        with suppress(FileNotFoundError):
            if self._own and os.path.samestat(os.stat(self._path), self._own):
                os.unlink(self._path)
        self.socket.close()


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
