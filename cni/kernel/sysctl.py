"""Kernel settings under /proc/sys/net (man 5 proc; the network namespace is the caller's)."""

import os
from contextlib import suppress

from cni.errors import CniError, Code

VALUE_MAX = 4096  # bytes


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
