"""Nodes from a file that is read again whenever it changes."""

import logging
import os
import threading
import time
from dataclasses import replace

from cni.agent.nodes import Changed, SourceHealth
from cni.cluster import read_nodes
from cni.errors import CniError, Code

log = logging.getLogger(__name__)
LOOK = 1.0  # seconds between two looks at the file
SETTLE = 0.05  # seconds without a change, before a file that is being written is read
_Stamp = tuple[int, ...]


class FileNodes:
    """The nodes in the file at `path`; with errors in it, the last good ones remain."""

    def __init__(self, path: str, look: float = LOOK, settle: float = SETTLE) -> None:
        self._path, self._look, self._settle = path, look, settle
        self._health = SourceHealth()

    def health(self) -> SourceHealth:
        """Tell how it goes; the last contact is the last look at a file that is in order."""
        return self._health

    def run(self, changed: Changed, stop: threading.Event) -> None:
        """Call `changed` with all nodes by name after each change, until `stop`."""
        seen: _Stamp | None = None
        while not stop.is_set():
            stamp = self._settled(stop)
            if stamp != seen:
                seen = stamp if self._read(changed) else None
            elif not self._health.last_error:
                self._health = SourceHealth(synced=True, last_contact=time.monotonic())
            stop.wait(self._look)

    def _settled(self, stop: threading.Event) -> _Stamp:
        """Return what tells this state of the file from others, once it stays; () for no file."""
        stamp = self._stamp()
        while not stop.wait(self._settle):
            before, stamp = stamp, self._stamp()
            if stamp == before:
                break
        return stamp

    def _stamp(self) -> _Stamp:
        try:
            status = os.stat(self._path)
        except OSError:
            return ()
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def _read(self, changed: Changed) -> bool:
        """Tell whether there is nothing to read again, as long as the file stays the same."""
        try:
            nodes = {node.name: node for node in read_nodes(self._path)}
        except CniError as error:
            self._fail(str(error))
            return error.code != Code.IO_FAILURE
        log.info("%d nodes in %s", len(nodes), self._path)
        self._health = SourceHealth(synced=True, last_contact=time.monotonic())
        changed(nodes)
        return True

    def _fail(self, text: str) -> None:
        if text != self._health.last_error:
            log.error("%s; the nodes that are known remain", text)
        self._health = replace(self._health, last_error=text)
