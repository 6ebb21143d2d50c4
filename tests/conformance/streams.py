"""Programs as real processes, for standard streams that are not files: pipes, devices, nothing."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.lab import Reply, Suite

HANG = 60  # s after which a program is said to hang


def run(suite: Suite, program: str, environment: dict[str, str], **streams: Any) -> Reply:
    """Run `program`; `streams` are arguments of subprocess.run: stdin, stdout, preexec_fn."""
    done = subprocess.run(
        [suite.bin_dir / program],
        env={"PATH": os.environ["PATH"], **environment},
        check=False,
        timeout=HANG,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    return Reply(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())


@contextmanager
def silent_pipe() -> Iterator[int]:
    """Yield the end of a pipe that says nothing and never ends."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def endless_pipe(text: bytes) -> Iterator[int]:
    """Yield the end of a pipe that says `text` for ever, until nobody reads it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _write_for_ever(writer, text * 4096)
    os.close(writer)
    try:
        yield reader
    finally:
        os.close(reader)
        os.waitpid(child, 0)


def _write_for_ever(writer: int, text: bytes) -> None:
    """Be the child that writes: it ends when the pipe breaks."""
    try:
        while True:
            os.write(writer, text)
    except BrokenPipeError:
        os._exit(0)
    finally:
        os._exit(1)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; fail when it never does."""
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
