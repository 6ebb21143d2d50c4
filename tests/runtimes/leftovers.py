"""What a runtime may leave behind on the machine: processes, mounts and cgroups.

A host of the tests has its own mount namespace; what a runtime starts is known by it. Cgroups
are the machine's, so every host has a parent of its own name in each hierarchy.
"""

import ctypes
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def wait_for(condition: Callable[[], object], what: str, patience_s: float = 20) -> None:
    """Return once `condition` holds; fail the test when `patience_s` have passed."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s} s for {what}"
        time.sleep(0.02)


def cgroups(parent: str) -> list[Path]:
    """List the cgroups under the top-level one called `parent`, and it, innermost first.

    They are in one hierarchy (version 2), or in one for each controller (version 1).
    """
    tops = [CGROUPS / parent, *CGROUPS.glob(f"*/{parent}")]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]


def mount_points() -> list[str]:
    """List where something is mounted in this mount namespace."""
    text = Path("/proc/thread-self/mountinfo").read_text()
    return sorted(line.split()[4] for line in text.splitlines())


def mounted_since(before: list[str]) -> list[str]:
    """List where more is mounted than `before`.

    Less may be: when the machine removes a directory, the mounts on it go in every namespace.
    """
    return sorted((Counter(mount_points()) - Counter(before)).elements())


def processes(parent: str) -> dict[int, str]:
    """Return the command of each process, by its ID, that lives in this host.

    That is: it shares this mount namespace, or is in a cgroup under `parent`. One that has
    ended and waits for its parent (a zombie) has no command, and does not count.
    """
    host = Path("/proc/thread-self/ns/mnt").readlink()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended meanwhile
            inside = f"/{parent}/" in (folder / "cgroup").read_text()
            if inside or (folder / "ns/mnt").readlink() == host:
                command = (folder / "cmdline").read_bytes()
                found[int(folder.name)] = command.replace(b"\0", b" ").decode().strip()
    return {pid: command for pid, command in found.items() if command}


@dataclass(frozen=True)
class Machine:
    """What there is of the three kinds, in one host."""

    processes: dict[int, str]
    mounts: list[str]
    cgroups: list[Path]


def look(parent: str) -> Machine:
    """Return what there is in this host now."""
    return Machine(processes(parent), mount_points(), cgroups(parent))


def tidy(parent: str) -> None:
    """End what still runs in this host and remove its cgroups."""
    for pid in processes(parent):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        wait_for(lambda: not processes(parent), "killed processes to end")
    finally:
        wait_for(lambda: _removed(cgroups(parent)), "the cgroups to be free")


def _removed(folders: list[Path]) -> bool:
    """Remove cgroups; a process that has just ended may hold one for a moment longer."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
    return not any(folder.exists() for folder in folders)


@contextmanager
def reaper() -> Iterator[None]:
    """Become the parent of what the runtimes abandon: shims and monitors do not stay zombies."""
    before = _children()
    _subreaper(on=True)
    try:
        yield
    finally:
        _subreaper(on=False)
        for pid in _children() - before:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _subreaper(*, on: bool) -> None:
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0


def _children() -> set[int]:
    """Return the IDs of this process's children; in `stat`, the parent stands after the state."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found
