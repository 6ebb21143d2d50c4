"""A lock between programs, as the reference plugins take it (man 2 flock), but with a bound."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from cni.errors import CniError, Code


@contextmanager
def exclusive(path: str, wait: float) -> Iterator[None]:
    """Be alone with the file `path`, which is made if it is missing, in the block.

    Raises CniError code 11 when another program holds it for `wait` seconds, OSError when
    the file cannot be made.  Only for the main thread: the wait is ended by SIGALRM.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o750)
    try:
        _flock(fd, path, wait)
        yield
    finally:
        os.close(fd)


def _flock(fd: int, path: str, wait: float) -> None:
    """Lock `fd`.  The kernel serves who waits in turn; trying again and again would starve."""
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return

    def stop(_number: int, _frame: object) -> NoReturn:
        msg = f"cannot lock {path}: another program has held it for {wait:g} s"
        raise CniError(Code.TRY_AGAIN, msg, f"see who does: fuser -v {path}")

    before = signal.signal(signal.SIGALRM, stop)
    # again every second: the first one may come just before the system call begins
    timer = signal.setitimer(signal.ITIMER_REAL, wait, 1)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
