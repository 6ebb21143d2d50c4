"""A runtime of a kubelet's pods: a daemon on the node, and the pods that a test runs with it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runtimes.cri import Cri, HostPort
from tests.runtimes.leftovers import wait_for
from tests.runtimes.node import Node, Pod
from tests.runtimes.traffic import wait_until_served


class Runtime:
    """A daemon that `command` starts, from `path`, and that listens on `socket`.

    It loads /etc/cni/net.d and /opt/cni/bin, its defaults.  `maps_ports`: it leads host ports to
    pods by itself and tells no program of them.
    """

    maps_ports = False

    def __init__(self, node: Node, socket: Path, command: list[str], path: str = "") -> None:
        self.node = node
        self.cri = Cri(socket, node.cgroup)
        self._command = command
        self._path = path or os.environ["PATH"]
        self._log = Path(f"/run/{command[0]}.log")
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon; it answers when this returns."""
        with self._log.open("a") as log:
            words = ["env", f"PATH={self._path}", *self._command]
            self._daemon = subprocess.Popen(words, stdout=log, stderr=log)
        wait_for(self._answers, f"{self._command[0]} to listen", 60)

    def _answers(self) -> bool:
        assert self.runs, self._log.read_text()
        return self.cri.answers()

    @property
    def runs(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon; its pods live on."""
        assert self._daemon is not None
        self._daemon.send_signal(how)
        self._daemon.wait(timeout=60)

    def run_sandbox(self, name: str, ports: list[HostPort] | None = None) -> Pod:
        """Run a pod as a kubelet does; it serves."""
        sandbox_id = self.cri.run_sandbox(name, ports or [])
        self.serve(sandbox_id, name)
        pod = self.node.pod(sandbox_id)
        wait_until_served(pod.netns)
        return pod

    def serve(self, sandbox_id: str, name: str) -> None:
        """Let the sandbox called `name` serve, if its own process does not."""

    def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop and forget a pod as a kubelet does."""
        self.cri.stop_sandbox(sandbox_id)
        self.cri.remove_sandbox(sandbox_id)

    def remove_all(self) -> None:
        """End whatever a test has left running."""
        for sandbox_id in self.cri.sandboxes():
            self.remove_sandbox(sandbox_id)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the daemon until the end of the block; end it and all its pods afterwards."""
        try:
            self.start()
            yield
            if self.runs:
                self.remove_all()
        finally:
            if self.runs:
                self.stop()
