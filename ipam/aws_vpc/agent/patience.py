"""When to try again: pauses that double, of random length, so that nodes do not ask in step.

A throttled call stops all calls of the node: the buckets of EC2 are an account's, and a call more
only makes them emptier.  Any other refusal stops what was refused ("full jitter":
aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

ALL = "*"
FIRST, MOST = 1.0, 60.0  # seconds
LEAST = 0.1


@dataclass
class _Pause:
    tries: int = 0
    until: float = 0.0


class Patience:
    """Pauses by what was refused."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._uniform = clock, uniform
        self._pauses: dict[str, _Pause] = {}

    def failed(self, key: str, first: float = FIRST) -> float:
        """Begin a pause, longer than the last one; return its seconds."""
        pause = self._pauses.setdefault(key, _Pause())
        most = min(MOST, first * 2.0**pause.tries)
        pause.tries = min(pause.tries + 1, 10)
        length = max(LEAST, self._uniform(0.0, most))
        pause.until = self._clock() + length
        return length

    def wait(self, key: str, seconds: float) -> None:
        """Begin a pause of this length, which nothing failed before."""
        self._pauses.setdefault(key, _Pause()).until = self._clock() + seconds

    def succeeded(self, key: str) -> None:
        """Forget the pauses of what has succeeded."""
        self._pauses.pop(key, None)

    def eased(self, key: str) -> None:
        """Shorten the next pause of what has succeeded once: it may fail again at once."""
        pause = self._pauses.get(key)
        if pause:
            pause.tries -= 1
            if pause.tries <= 0:
                del self._pauses[key]

    def ready(self, key: str = ALL) -> bool:
        """Tell whether it may be tried now."""
        return self.left(key) <= 0

    def left(self, key: str) -> float:
        """Return the seconds that are left of a pause."""
        pause = self._pauses.get(key)
        return pause.until - self._clock() if pause else 0.0

    def tries(self, key: str) -> int:
        """Return how often it failed in a row."""
        pause = self._pauses.get(key)
        return pause.tries if pause else 0

    def next(self) -> float | None:
        """Return the seconds until the first pause that still runs is over."""
        now = self._clock()
        running = [one.until - now for one in self._pauses.values() if one.until > now]
        return min(running, default=None)
