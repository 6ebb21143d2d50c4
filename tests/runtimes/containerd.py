"""containerd 1.6: pods by `ctr run --cni`, and by the kubelet's interface."""

import subprocess
from pathlib import Path

from tests import lab
from tests.runtimes import image
from tests.runtimes.leftovers import wait_for
from tests.runtimes.node import Node, Pod, is_recorded
from tests.runtimes.runtime import Runtime
from tests.runtimes.traffic import wait_until_served

SOCKET = Path("/run/containerd/containerd.sock")
# Without CAP_SYS_RESOURCE no score may be lowered; an AppArmor profile would be the machine's.
CONFIG = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image.NAME}"
  restrict_oom_score_adj = true
  disable_apparmor = true
"""


class Containerd(Runtime):
    """A containerd on `node` with the image of `archive`."""

    def __init__(self, node: Node, archive: Path) -> None:
        config = Path("/run/containerd.toml")
        config.write_text(CONFIG)
        super().__init__(node, SOCKET, ["containerd", f"--config={config}"])
        self._archive = archive
        self._pods: dict[str, subprocess.Popen[str]] = {}

    def start(self) -> None:
        """Start the daemon; it has the image of all pods."""
        super().start()
        self.load(self._archive)

    def load(self, archive: Path) -> None:
        """Import the image for `ctr` and, by their own namespace, for the kubelet's pods."""
        for namespace in ("default", "k8s.io"):
            lab.run(f"ctr --namespace {namespace} images import {archive}")

    def run(self, name: str) -> Pod:
        """Run a pod that serves, as `ctr run --cni` does; `ctr` stays with it until it ends."""
        cgroup = f"/{self.node.cgroup}/{name}"
        command = ["ctr", "run", "--rm", "--cni", "--cgroup", cgroup, image.NAME, name]
        client = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._pods[name] = client
        container_id = f"default-{name}"  # the container's name after that of its namespace
        wait_for(
            lambda: client.poll() is not None or is_recorded(container_id),
            f"the result of ADD for {name}",
        )
        if client.poll() is not None:
            raise AssertionError(client.communicate()[1])
        pod = self.node.pod(container_id)
        wait_until_served(pod.netns)
        return pod

    def execute(self, name: str, command: str) -> str:
        """Run `command` in the pod that `ctr` has started; return its stdout."""
        return lab.run(f"ctr task exec --exec-id once {name} {command}")

    def end(self, name: str) -> str:
        """End the pod that `ctr` has started; return what `ctr` had to say of its removal."""
        client = self._pods.pop(name)
        lab.run(f"ctr task kill --signal SIGKILL {name}", check=False)
        return client.communicate(timeout=60)[1]

    def remove_all(self) -> None:
        """End whatever a test has left running."""
        for name in list(self._pods):
            self.end(name)
            # when ADD was refused, `ctr` has left the task behind
            lab.run(f"ctr task delete --force {name}", check=False)
        super().remove_all()
