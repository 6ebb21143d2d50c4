"""Where the agent knows the nodes of its cluster from: a file, or the Kubernetes API."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cni.cluster import Node

Changed = Callable[[Mapping[str, Node]], None]


@dataclass(frozen=True)
class SourceHealth:
    """Whether all nodes are known, when the source last answered, and why it does not.

    `last_contact` is in seconds of time.monotonic: before the first answer, the start of waiting
    for it.  `last_error` is empty while the source answers.
    """

    synced: bool = False
    last_contact: float = field(default_factory=time.monotonic)
    last_error: str = ""


class Source(Protocol):
    """One source of nodes, run in a thread of its own."""

    def run(self, changed: Changed, stop: threading.Event) -> None:
        """Call `changed` with all nodes by name after each change, until `stop`; never raise.

        Of nodes that cannot both be peers, the one that comes first is to be preferred.
        """

    def health(self) -> SourceHealth:
        """Tell how it goes; from any thread."""
