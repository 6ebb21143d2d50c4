"""Work that waits for the kernel, done beside a program and past its end.

Whoever executed a program waits for the end of its process, but not of a child's.  Nobody waits
for the end of a worker of the node agent, and a thread costs a tenth of what a fork does.
"""

import _thread
import os
from collections.abc import Callable
from contextlib import suppress

awaited = True  # the end of this process


def start(work: Callable[[], int]) -> int:
    """Begin `work`; return a pipe that tells what it returns, one byte, or ends without."""
    answer, answering = os.pipe2(os.O_CLOEXEC)
    if not awaited:
        _thread.start_new_thread(_answer, (work, answering))
    elif os.fork():
        os.close(answering)
    else:
        try:
            for stream in (0, 1, 2):  # nobody waits for our standard streams
                with suppress(OSError):
                    os.close(stream)
            _answer(work, answering)
        finally:
            os._exit(0)
    return answer


def _answer(work: Callable[[], int], answering: int) -> None:
    try:
        with suppress(OSError):  # nobody wants to know any more
            os.write(answering, bytes((work(),)))
    finally:
        os.close(answering)
