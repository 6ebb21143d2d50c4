"""The nodes last known, on disk: after a reboot they can be served before the API answers."""

import logging
import time
from collections.abc import Mapping

from cni import document
from cni.cluster import Node, describe, read_nodes
from cni.errors import CniError

log = logging.getLogger(__name__)
PATH = "/var/lib/pycni/nodes.json"
PAUSE = 10.0  # seconds between two writes: nodes may come by the hundred


class Cache:
    """A nodes file, written by the agent for itself."""

    def __init__(self, path: str = PATH, pause: float = PAUSE) -> None:
        self._path, self._pause = path, pause
        self._saved: Mapping[str, Node] = {}
        self._due = 0.0
        self._told = ""

    def load(self) -> Mapping[str, Node]:
        """Return the nodes as last saved; none when the file is not there or no good."""
        try:
            self._saved = {node.name: node for node in read_nodes(self._path, "cache of nodes")}
        except CniError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                log.warning("%s", error)
        return self._saved

    def save(self, nodes: Mapping[str, Node], *, now: bool = False) -> None:
        """Write the nodes if they have changed, and unless this was done just before."""
        if nodes == self._saved or (time.monotonic() < self._due and not now):
            return
        self._saved, self._due = nodes, time.monotonic() + self._pause
        try:
            document.write(self._path, {"nodes": list(map(describe, nodes.values()))})
        except OSError as error:
            text = f"cannot write the cache of nodes {self._path}: {error.strerror}"
            if text != self._told:
                log.warning("%s", text)
            self._told = text
