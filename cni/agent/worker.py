"""A worker of the warm role: is to a program what an exec would have been, and ends.

It has the caller's files, arguments, environment, directory, mount and network namespaces; it is
stopped when the caller is gone.  Whatever can fail does so before the caller hears that it began.
"""

import ctypes
import fcntl
import gc
import logging
import marshal
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from cni.handover import ACCEPTED, PLACES
from cni.kernel import aside

REQUEST_WAIT = 1.0  # seconds for a caller to say what it wants: it has, when it connects
REQUEST_MAX = 1 << 20  # bytes; a socket's buffer holds less
REFUSED = b"R"
F_SETSIG = 10  # fcntl(2)
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
PR_SET_NAME = 15  # prctl(2)
IDLE = b"pycnid-idle"
libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Invocation:
    """What a caller sent: files are descriptors, those of `cni.handover.PLACES` in `places`."""

    build: str
    program: str
    umask: int
    argv: list[str]
    environ: dict[bytes, bytes]
    streams: tuple[int, ...]
    places: tuple[int, ...]


class RefusedError(Exception):
    """The caller must serve itself."""


def prepare() -> None:
    """Do what needs no caller: nothing of the zygote's is left but what it has loaded."""
    gc.disable()  # a worker ends before it would pay
    _name(IDLE)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    aside.awaited = False


def _name(name: bytes) -> None:
    """Set what `ps` shows of this process."""
    libc.prctl(PR_SET_NAME, name)


def serve(connection: socket.socket, build: str, main: Callable[[], int]) -> NoReturn:
    """Be the worker for the caller at `connection`, and end the process.

    `main` acts as the program that sys.argv names, and returns its exit status.
    """
    try:
        _begin(connection, build)
        status = _run(main)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the caller goes when it hears the status
        with suppress(OSError):  # or has gone already
            sys.stdout.flush()
            sys.stderr.flush()
            for stream in (0, 1, 2):  # a runtime waits for the end of these too
                os.close(stream)
            connection.send(bytes((status & 0xFF,)))
    except BaseException:  # noqa: BLE001  # nothing may get back into the zygote's loop
        traceback.print_exc()
    finally:
        os._exit(0)


def _begin(connection: socket.socket, build: str) -> None:
    """Take the invocation over, or end the process: then the caller serves itself."""
    try:
        _check_user(connection)
        connection.send(build.encode())
        invocation = _receive(connection)
        _check(invocation, build)
        _become(connection, invocation)
        connection.send(ACCEPTED)
    except (RefusedError, OSError, ValueError, TypeError, EOFError):
        with suppress(OSError):
            connection.send(REFUSED)
        os._exit(0)


def _receive(connection: socket.socket) -> Invocation:
    connection.settimeout(REQUEST_WAIT)
    data, files, flags, _ = socket.recv_fds(connection, REQUEST_MAX, 3 + len(PLACES))
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(files) != 3 + len(PLACES):
        raise RefusedError
    connection.settimeout(None)
    build, program, umask, argv, environ = marshal.loads(data)  # noqa: S302  # from root
    return Invocation(build, program, umask, argv, environ, tuple(files[:3]), tuple(files[3:]))


def _check_user(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if struct.unpack("=iII", credentials)[1] != 0:
        raise RefusedError


def _check(invocation: Invocation, build: str) -> None:
    """Refuse another build, and who numbers processes in another way."""
    if invocation.build != build:
        raise RefusedError
    if not os.path.samestat(os.fstat(invocation.places[2]), os.stat("/proc/self/ns/pid")):
        raise RefusedError


def _become(connection: socket.socket, invocation: Invocation) -> None:
    """Take over everything of the caller's that a program can see."""
    mount, network, _, root, directory = invocation.places
    for name, namespace, kind in (("mnt", mount, CLONE_NEWNS), ("net", network, CLONE_NEWNET)):
        if not os.path.samestat(os.fstat(namespace), os.stat(f"/proc/self/ns/{name}")):
            _setns(namespace, kind)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(directory)
    os.umask(invocation.umask)
    for number, file in enumerate(invocation.streams):
        os.dup2(file, number)
    for file in (*invocation.streams, *invocation.places):
        os.close(file)
    sys.argv, sys.executable = invocation.argv, invocation.program
    _set_environment(invocation.environ)
    logging.root.handlers.clear()  # the program's own go to its stderr
    _name(os.fsencode(invocation.argv[0].rpartition("/")[2]))
    _die_with(connection)


def _set_environment(wanted: dict[bytes, bytes]) -> None:
    """Have `wanted` alone; most of it is what the agent has, and setting costs as much again."""
    for key in os.environb.keys() - wanted.keys():
        del os.environb[key]
    for key, value in wanted.items():
        if os.environb.get(key) != value:
            os.environb[key] = value


def _setns(namespace: int, kind: int) -> None:
    if libc.setns(namespace, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _die_with(connection: socket.socket) -> None:
    """Let SIGTERM come when the caller has one, or is gone: ADD then undoes what it did."""
    signal.signal(signal.SIGTERM, _stop)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, F_SETSIG, signal.SIGTERM)
    flags = fcntl.fcntl(connection, fcntl.F_GETFL)
    fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)
    with suppress(BlockingIOError):  # nothing to read: it is there
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        raise RefusedError  # it is gone, or says what nobody asked


def _stop(number: int, _frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def _run(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
