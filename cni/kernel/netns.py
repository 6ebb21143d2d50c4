"""Network namespaces by path (man 7 network_namespaces, man 2 setns, man 2 ioctl_nsfs)."""

import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
OWN = "/proc/thread-self/ns/net"
PATIENCE_S, PAUSE_S = 2.0, 0.002


def exists(path: str) -> bool:
    """Tell whether `path` is a network namespace; a file left by a reboot is not."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return False
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False
    finally:
        os.close(fd)


def is_own(path: str) -> bool:
    """Tell whether `path` is the namespace that this thread is in."""
    try:
        return os.path.samefile(path, OWN)
    except (OSError, ValueError):
        return False


@contextmanager
def entered(path: str) -> Iterator[None]:
    """Be in the namespace `path` within the block; empty: stay.  For sockets and sysctls.

    Raises FileNotFoundError when it is gone.
    """
    if not path:
        yield
        return
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


@contextmanager
def shared() -> Iterator[None]:
    """Keep others from being `alone` in our namespace within the block: we use what is common.

    They are so for milliseconds.  But anybody in the namespace, a pod on the host's network too,
    can open its file and lock it for ever: after PATIENCE_S the block begins all the same.
    """
    with _lock(fcntl.LOCK_SH, PATIENCE_S):
        yield


@contextmanager
def alone() -> Iterator[bool]:
    """Yield whether nobody uses what is common in our namespace, nor will within the block."""
    with _lock(fcntl.LOCK_EX) as got:
        yield got


@contextmanager
def _lock(operation: int, patience: float = 0.0) -> Iterator[bool]:
    """Lock the namespace's own file, which is the same for all who are in it; yield whether we do.

    Unlocked by name at the end: a child that outlives the block has the file open too.
    """
    fd = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _try_to_lock(fd, operation, time.monotonic() + patience)
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _try_to_lock(fd: int, operation: int, deadline: float) -> bool:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(PAUSE_S)


def _setns(fd: int) -> None:
    # os.setns is there from Python 3.12 on
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        if number == errno.EINVAL:
            message = "not a network namespace"
            raise OSError(number, message)
        raise OSError(number, os.strerror(number))
