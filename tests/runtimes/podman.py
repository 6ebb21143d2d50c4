"""podman 4 with its CNI back end."""

import json
import os
from pathlib import Path
from typing import Any

from tests import lab
from tests.runtimes import image
from tests.runtimes.node import Node, Pod
from tests.runtimes.traffic import wait_until_served

HOME = Path("/run/podman")
# Limits of its own: podman would raise them, which needs CAP_SYS_RESOURCE.
CONTAINERS_CONF = """
[containers]
apparmor_profile = "unconfined"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
label = false
log_driver = "none"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "{network}"
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
"""


class Podman:
    """podman on `node` with a default network; state and settings end with the test."""

    def __init__(self, node: Node, archive: Path, network: str) -> None:
        self.node = node
        HOME.mkdir()
        (HOME / "containers.conf").write_text(CONTAINERS_CONF.format(network=network))
        (HOME / "storage.conf").write_text(STORAGE_CONF)
        self("load", "--quiet", "--input", str(archive))

    def __call__(self, *arguments: str) -> str:
        """Run `podman` with its own environment; return its stdout."""
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": str(HOME),
            "TMPDIR": str(HOME),
            "CONTAINERS_CONF": str(HOME / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
        }
        variables = [f"{key}={value}" for key, value in settings.items()]
        return lab.run(" ".join(["env", "-i", *variables, "podman", *arguments]))

    def run(self, name: str, *options: str) -> Pod:
        """Run a pod that serves; `options` are those of `podman run`."""
        self("run", "--detach", f"--name={name}", *self.always, *options, image.NAME)
        return self.pod(name)

    @property
    def always(self) -> tuple[str, str]:
        """Return the options that every container needs here."""
        return ("--pull=never", f"--cgroup-parent=/{self.node.cgroup}")

    def pod(self, name: str) -> Pod:
        """Return the pod called `name` once it serves."""
        pod = self.node.pod(self.inspect(name)["Id"])
        wait_until_served(pod.netns)
        return pod

    def inspect(self, name: str) -> Any:
        """Return what podman knows of the container called `name`."""
        return json.loads(self("container", "inspect", name))[0]

    def remove(self, *names: str) -> None:
        """End and remove containers; none named: all of them."""
        self("rm", "--force", "--time=0", *(names or ["--all"]))
