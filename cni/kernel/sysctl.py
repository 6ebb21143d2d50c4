"""Kernel settings under /proc/sys/net (man 5 proc; the network namespace is the caller's)."""

import os
from contextlib import suppress

from cni.errors import CniError, Code

VALUE_MAX = 4096  # bytes
MS_REMOUNT, MS_BIND = 0x20, 0x1000  # mount(2)


def read(key: str) -> str:
    """Return the value of `key`, a path below /proc/sys/net.  Raises OSError."""
    file = os.open(f"/proc/sys/net/{key}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, VALUE_MAX).decode("ascii").strip()
    finally:
        os.close(file)


def write(key: str, value: str) -> None:
    """Set `key` unless it is `value` already: a container may have /proc/sys read-only."""
    if read(key) != value:
        file = os.open(f"/proc/sys/net/{key}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, value.encode("ascii"))
        finally:
            os.close(file)


def write_if_there(key: str, value: str) -> None:
    """Set `key` where the kernel has it and lets us: for what only makes things faster."""
    with suppress(OSError):
        write(key, value)


def enable_ipv6(ifname: str) -> None:
    """Switch IPv6 on for an interface.  Raises CniError code 104 where the kernel has none."""
    try:
        write(f"ipv6/conf/{ifname}/disable_ipv6", "0")
    except FileNotFoundError as error:
        msg = f"cannot use IPv6 on {ifname}: the kernel has none there"
        details = "it needs an MTU of at least 1280, and a kernel that runs without ipv6.disable=1"
        raise CniError(Code.KERNEL_REFUSED, msg, details) from error


def make_writable(place: str = "/proc/sys") -> None:
    """Take back that a container has `place` read-only, in this mount namespace.  Raises OSError.

    Containers get it so, but for those that may do everything: an agent need not be one of them.
    """
    import ctypes

    flags = os.statvfs(place).f_flag  # whose numbers are those of mount(2)
    if flags & os.ST_RDONLY:
        kept = flags & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(None, place.encode(), None, MS_REMOUNT | MS_BIND | kept, None):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot make {place} writable: {os.strerror(number)}")
