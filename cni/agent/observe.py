"""One invocation by a worker that tells which pages it has written to.

It comes as all do, from a launcher, so that the worker goes all of its way.
"""

import marshal
import os
import posix
import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping

from cni import handover, skel
from cni.agent import pages, worker

BUILD = "a rehearsal"


def observe(program: str, environment: Mapping[str, str], conf: bytes) -> tuple[str, set[int]]:
    """Return what `program` prints, and the pages, by number.

    Raises OSError, or ValueError when it fails.
    """
    stdin, stdout, report = os.pipe(), os.pipe(), os.pipe()
    os.write(stdin[1], conf)
    with tempfile.TemporaryDirectory() as directory, _listener(f"{directory}/socket") as listener:
        children = [
            _fork(lambda: _work(listener, program, report[1]), close=(*stdin, *stdout, report[0])),
            _fork(
                lambda: _launch(listener, environment, stdin[0], stdout[1]),
                close=(stdin[1], *report),
            ),
        ]
        _close(*stdin, stdout[1], report[1])
        output, written = _read(stdout[0]).decode(), _read(report[0])
        for child in children:
            os.waitpid(child, 0)
    if not written:
        raise ValueError(f"{program} failed in a worker: {output or 'it said nothing'}")
    return output, marshal.loads(written)  # noqa: S302  # from our own child


def _listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    return listener


def _launch(
    listener: socket.socket, environment: Mapping[str, str], stdin: int, stdout: int
) -> None:
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    posix.environ.clear()
    posix.environ.update({key.encode(): value.encode() for key, value in environment.items()})
    handover.hand_over(["rehearsal"], BUILD, listener.getsockname())


def _work(listener: socket.socket, program: str, report: int) -> None:
    memory = pages.writable()

    def main() -> int:
        status = skel.main(program)
        os.write(report, marshal.dumps(pages.own(memory)))
        return status

    worker.prepare()
    worker.serve(listener.accept()[0], BUILD, main)


def _fork(run: Callable[[], None], close: Iterable[int]) -> int:
    """Return the child that does `run`, without the ends of pipes that others wait for."""
    child = os.fork()
    if child == 0:
        try:
            _close(*close)
            run()
        finally:
            os._exit(0)
    return child


def _read(file: int) -> bytes:
    with open(file, "rb") as pipe:
        return pipe.read()


def _close(*files: int) -> None:
    for file in files:
        os.close(file)
