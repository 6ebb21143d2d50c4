"""A node of the demonstration's own: network and mount namespaces that end with this process.

/run and /var/lib are empty file systems there, so that leases, cached results and the names of
namespaces never reach the machine, however this process ends (man 7 namespaces).
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cni.errors import CniError, Code
from cni.kernel.netns import entered

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
HIDDEN = (Path("/run"), Path("/var/lib"))
NETNS = Path("/run/netns")  # where `ip netns` looks
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"  # not in everybody's PATH


def enter_own_node(kept: Iterable[Path]) -> None:
    """Move this process to a node of its own; the directories `kept` stay visible there.

    Raises CniError when that is not allowed.
    """
    try:
        _call("unshare", ctypes.c_int(CLONE_NEWNS | CLONE_NEWNET))
        _mount("none", "/", flags=MS_REC | MS_PRIVATE)
        visible = {path.resolve(): _handle(path) for path in kept if _is_hidden(path)}
        for place in HIDDEN:
            _mount("tmpfs", str(place), "tmpfs")
        for path, handle in visible.items():
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{handle}", str(path), flags=MS_BIND | MS_REC)
            os.close(handle)
        NETNS.mkdir()
    except OSError as error:
        msg = f"cannot make a node for the demonstration: {error.strerror}"
        raise CniError(Code.IO_FAILURE, msg, "run it as root: sudo cnictl demo") from error


def add_netns(name: str) -> str:
    """Make a network namespace with a name, as `ip netns add` does; return its path."""
    path = NETNS / name
    path.touch()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", ctypes.c_int(CLONE_NEWNET))
        _mount("/proc/thread-self/ns/net", str(path), flags=MS_BIND)
    finally:
        _call("setns", ctypes.c_int(home), ctypes.c_int(CLONE_NEWNET))
        os.close(home)
    return str(path)


def delete_netns(path: str) -> None:
    """Remove the name of a namespace, and so the namespace when nobody is in it."""
    _call("umount2", path.encode(), ctypes.c_int(MNT_DETACH))
    Path(path).unlink()


def find(command: str) -> str | None:
    """Return the path of `command`, None when it is not installed."""
    return shutil.which(command, path=os.environ.get("PATH", "") + SBIN)


def run(command: str, netns: str = "", stdin: str = "") -> str:
    """Run `command`, words with single spaces between, in `netns`; return its output.

    Raises CniError with what it says when it fails.
    """
    name, *words = command.split()
    program = find(name)
    if program is None:
        msg = f"cannot run {command}: {name} is not installed"
        raise CniError(Code.IO_FAILURE, msg, "install the package iproute2")
    with entered(netns):
        done = subprocess.run(
            [program, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise CniError(Code.IO_FAILURE, f"{command}: {done.stderr.strip()}")
    return done.stdout


def _is_hidden(path: Path) -> bool:
    return any(place in path.resolve().parents for place in HIDDEN)


def _handle(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount(source: str, target: str, kind: str = "none", flags: int = 0) -> None:
    words = (word.encode() for word in (source, target, kind))
    _call("mount", *words, ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    """Call a function of libc: Python 3.11 has none of these."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
