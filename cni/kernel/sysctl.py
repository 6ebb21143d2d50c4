"""Kernel settings under /proc/sys/net (man 5 proc; the network namespace is the caller's)."""

from contextlib import suppress


def read(key: str) -> str:
    """Return the value of `key`, a path below /proc/sys/net.  Raises OSError."""
    with open(f"/proc/sys/net/{key}", encoding="ascii") as file:
        return file.read().strip()


def write(key: str, value: str) -> None:
    """Set `key` unless it is `value` already: a container may have /proc/sys read-only."""
    if read(key) != value:
        with open(f"/proc/sys/net/{key}", "w", encoding="ascii") as file:
            file.write(value)


def write_if_there(key: str, value: str) -> None:
    """Set `key` where the kernel has it and lets us: for what only makes things faster."""
    with suppress(OSError):
        write(key, value)
