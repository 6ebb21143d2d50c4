"""A program stopped at every line of its way: by an exception, or by SIGKILL.

The lines are those of the named source files, in the order in which they run.
"""

import linecache
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.lab import Reply, Suite, run_forked

LIMIT = 2000  # lines; a run that is longer is a defect of the test


class InjectedError(RuntimeError):
    """The failure at a line."""


def fail() -> None:
    """Fail as a step of ADD can."""
    message = "injected"
    raise InjectedError(message)


def kill() -> None:
    """Die without a chance to clean up, as under SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop_at(count: int, files: tuple[str, ...], action: Callable[[], None]) -> None:
    """Let `action` happen in this process before the `count`-th line of `files` runs.

    Lines that register an undo, or end the block of undos, are passed over: they cannot fail.
    """
    left = count

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(files):
            return None
        if event == "line" and not _is_registration(frame):
            left -= 1
            if left == 0:
                sys.settrace(None)
                action()
        return trace

    sys.settrace(trace)


def _is_registration(frame: FrameType) -> bool:
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return line.lstrip().startswith(("undo(", "with rollback()"))


def call_stopped(
    suite: Suite,
    program: str,
    conf: bytes,
    count: int,
    files: tuple[str, ...],
    action: Callable[[], None],
    **given: str,
) -> Reply:
    """Run ADD of `program`, stopped before the `count`-th line of `files`."""
    environment = suite.environment("ADD", **given)
    path = Path(suite.bin_dir) / program
    return run_forked(path, environment, conf, lambda: stop_at(count, files, action))
