"""The agent spoken to without a program: a caller in this process, and the zygote as a child."""

import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cni.agent import pages
from cni.agent.warm import SPARE, Limits, Zygote
from cni.agent.worker import IDLE
from cni.handover import ACCEPTED, PLACES, hand_over
from tests import lab

SOCKET = Path("/run/pycni/warm.sock")
BUILD = "a build of the tests"
ITSELF = 77  # exit status of a caller that must serve itself
DONE = (ACCEPTED, b"\0")  # what a client hears whose program succeeds
TRIES = 5  # of a client that is refused


def build_of(bin_dir: Path) -> str:
    """Return what names the build there."""
    return next(bin_dir.glob("_pycni-*")).name


def message(build: str, program: Path, **environ: str) -> bytes:
    """Return what a caller says about itself."""
    variables = {key.encode(): value.encode() for key, value in environ.items()}
    return marshal.dumps((build, str(program), 0o22, [str(program)], variables))


@contextmanager
def connected(path: Path = SOCKET, seconds: float = 30) -> Iterator[socket.socket]:
    """Yield a connection to the agent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        yield connection


def say(connection: socket.socket, data: bytes, streams: tuple[int, int, int]) -> None:
    """Wait for a worker, say `data` with all the files that belong to it."""
    connection.recv(100)
    files = [os.open(place, os.O_RDONLY) for place in PLACES]
    try:
        socket.send_fds(connection, [data], [*streams, *files])
    finally:
        for file in files:
            os.close(file)


class Client:
    """Calls a program of `bin_dir` again and again, as fast as the agent can serve."""

    def __init__(self, bin_dir: Path, program: str, stdin: int = -1, **environ: str) -> None:
        self.data = message(build_of(bin_dir), bin_dir / program, **environ)
        self.out = os.memfd_create("stdout")
        self.streams = (self.out if stdin < 0 else stdin, self.out, self.out)

    def call(self) -> tuple[bytes, bytes]:
        """Call once; return the two answers.

        On a busy machine a worker may lose patience before it hears us: it refuses, nothing has
        begun, and a program would serve itself.  Then we ask again.
        """
        begun = b""
        for _ in range(TRIES):
            with connected() as connection:
                begun = self._begin(connection)
                if begun == ACCEPTED:
                    return begun, connection.recv(1)
        return begun, b""

    def _begin(self, connection: socket.socket) -> bytes:
        """Return the first answer; nothing when it hung up."""
        try:
            say(connection, self.data, self.streams)
            return connection.recv(1)
        except (BrokenPipeError, ConnectionResetError):
            return b""

    def said(self) -> str:
        """Return what the program has printed."""
        os.lseek(self.out, 0, os.SEEK_SET)
        return os.read(self.out, 1 << 20).decode()


def version_client(bin_dir: Path) -> Client:
    """Return a client whose program does next to nothing."""
    return Client(bin_dir, "loopback", CNI_COMMAND="VERSION")


@contextmanager
def zygote(
    main: Callable[[], int],
    workers: int = 16,
    seconds: float = 60.0,
    grace: float = 10.0,
    before: Callable[[], object] = bool,
    written: Iterable[pages.Range] = (),
) -> Iterator[tuple[Path, int]]:
    """Run a zygote whose programs are `main`, as a child; yield its socket and its pid.

    `before` runs in the child; `written` is memory that most programs write to.
    """
    path = Path(f"/run/zygote-{os.getpid()}.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1000)
        child = os.fork()
        if child == 0:
            limits = Limits(workers, seconds, grace)
            _be_zygote(Zygote(listener, BUILD, limits, main, written), before)
    try:
        yield path, child
    finally:
        path.unlink()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert status == 0, "the zygote failed"


def _be_zygote(one: Zygote, before: Callable[[], object]) -> None:
    status = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        one.take_signals()
        before()
        one.run()
        status = 0
    finally:
        os._exit(status)


def call(path: Path, wait: float = 10.0, stdout: int = -1) -> int:
    """Start a caller of the zygote at `path`; return its pid."""
    child = os.fork()
    if child:
        return child
    status: Any = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["CNI_COMMAND"] = "VERSION"
        os.dup2(stdout if stdout >= 0 else os.open(os.devnull, os.O_RDWR), 1)
        status = hand_over(["loopback"], BUILD, str(path), wait)
    finally:
        os._exit(ITSELF if status is None else status)


def status_of(pid: int) -> int:
    """Wait for the child `pid`; return its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def children(pid: int) -> list[int]:
    """Return the processes that `pid` has, zombies too, but for workers that have no caller."""
    return [one for one in lab.children(pid) if comm(one) not in ("", IDLE.decode())]


@contextmanager
def stopped(zygote: int) -> Iterator[None]:
    """Let the zygote hang, and the workers that wait for a caller."""

    def waiting() -> list[int]:
        return [one for one in lab.children(zygote) if comm(one) == IDLE.decode()]

    assert lab.wait_until(lambda: len(waiting()) == SPARE)
    hanging = [zygote, *waiting()]
    try:
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)


def comm(pid: int) -> str:
    """Return the name of a process; empty: it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def alive(pid: int) -> bool:
    """Tell whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
