"""ADD ends whole or leaves nothing; DEL tries every step.

The guarantee behind both is that DEL and GC find everything by the attachment's name alone:
a runtime may SIGKILL us at any line.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)
Step = Callable[[], object]


@contextmanager
def rollback() -> Iterator[Callable[[Step], None]]:
    """Yield `undo`: what is passed to it runs, last first, only if the block raises.

    Register an undo after its step, never before: the undo of a repeated ADD would delete
    what the first one made.  An undo that fails is logged and never hides the first error.
    """
    steps: list[Step] = []
    try:
        yield steps.append
    except BaseException:
        for step in reversed(steps):
            try:
                step()
            except Exception:
                log.warning("cannot undo a step of ADD", exc_info=True)
        raise


def try_all(steps: Iterable[Step]) -> None:
    """Run every step, whatever the others do; then raise the first error."""
    first: Exception | None = None
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001  # the other steps must run
            if first is None:
                first = error
            else:
                log.warning("cannot clean up: %s", error)
    if first is not None:
        raise first
