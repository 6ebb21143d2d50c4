"""A program stopped at every line of its way: by an exception, or by SIGKILL.

The lines are those of the named source files, in the order in which they run.
"""

import linecache
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.lab import Reply, Suite, run_forked

VISITS = 2  # of a line that count
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


def stop_at(count: int, files: tuple[str, ...], action: Callable[[], object]) -> None:
    """Let `action` happen in this process before the `count`-th line of `files` runs.

    Lines that register an undo, or end the block of undos, are passed over: they cannot fail.
    A line counts twice at most: the first rounds of a loop stand for the others; and what a
    comprehension does, for the line that it stands on.
    """
    left = count
    seen: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(files) or frame.f_code.co_name[0] == "<":
            return None
        line = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and seen[line] < VISITS and not _is_registration(frame):
            seen[line] += 1
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
    action: Callable[[], object],
    verb: str = "ADD",
    **given: str,
) -> Reply:
    """Run ADD of `program`, or another verb, stopped before the `count`-th line of `files`."""
    environment = suite.environment(verb, **given)
    path = Path(suite.bin_dir) / program
    return run_forked(path, environment, conf, lambda: stop_at(count, files, action))
