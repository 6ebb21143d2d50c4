"""What goes wrong between a node and its cloud, as a test wishes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>
<RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"""


@dataclass
class Refusal:
    """An answer in place of the call's own; `done`: the call was carried out all the same."""

    code: str
    text: str = "as the test wishes"
    status: int = 400
    done: bool = False

    @property
    def body(self) -> str:
        """Return the answer."""
        return ERROR.format(code=self.code, text=self.text)


class Cut(Refusal):
    """No answer: the connection ends."""

    def __init__(self, *, done: bool) -> None:
        super().__init__("", done=done)


@dataclass
class Bucket:
    """What EC2 lets pass: `size` at once, then `rate` a second."""

    size: float
    rate: float
    left: float = -1.0
    at: float = 0.0

    def take(self, now: float) -> bool:
        """Tell whether a call passes."""
        left = (
            self.size if self.left < 0 else min(self.left + (now - self.at) * self.rate, self.size)
        )
        self.at, self.left = now, left - 1 if left >= 1 else left
        return left >= 1


class Faults:
    """Refusals for calls to come; `calls` are the names of those that were made."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.throttled = 0
        self.clock: Callable[[], float] = time.monotonic
        self.buckets: dict[str, Bucket] = {}
        self.before: Callable[[str], object] = bool  # told the name before a call is carried out
        self.after: Callable[[str], object] = bool  # and before the answer goes out
        self._planned: dict[str, list[Refusal]] = {}
        self._lock = threading.Lock()

    def plan(self, call: str, *refusals: Refusal) -> None:
        """Refuse the next such calls, one by one."""
        with self._lock:
            self._planned.setdefault(call, []).extend(refusals)

    @contextmanager
    def always(self, call: str, refusal: Refusal) -> Iterator[None]:
        """Refuse such calls, "*": all, as long as the block runs."""
        with self._lock:
            self._planned[call] = [refusal] * 100_000
        try:
            yield
        finally:
            with self._lock:
                del self._planned[call]

    def look(self, call: str) -> Refusal | None:
        """Take note of a call; return what it is to hear."""
        with self._lock:
            self.calls.append(call)
            bucket = self.buckets.get(call) or self.buckets.get("*")
            if bucket and not bucket.take(self.clock()):
                self.throttled += 1
                return Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
            planned = self._planned.get(call) or self._planned.get("*")
            return planned.pop(0) if planned else None

    def since(self, begin: int) -> list[str]:
        """Return the calls from number `begin` on."""
        return self.calls[begin:]
