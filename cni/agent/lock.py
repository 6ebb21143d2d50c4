"""One agent keeps a node: a lock that goes with the process, however it ends (man 3 lockf)."""

import fcntl
import os

PATH = "/run/pycni/agent.lock"


class Lock:
    """The lock.  It is the process's own: a fork does not have it."""

    def __init__(self, path: str = PATH) -> None:
        self._path, self._file = path, -1

    def open(self) -> None:
        """Take it.  Raises OSError when another process has it."""
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            self.close()
            raise OSError(f"another agent keeps this node: it holds {self._path}") from error

    def close(self) -> None:
        """Give it back; it may not be held."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
