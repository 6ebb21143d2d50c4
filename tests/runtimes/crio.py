"""CRI-O, where this machine has one: `crio` and `pinns` in CRIO_BIN_DIR, or on PATH.

Debian 12 has no package of it.  What else it wants (conmon, runc, the store of images) is podman's.
"""

import os
import shutil
from pathlib import Path

from tests.runtimes import image
from tests.runtimes.node import Node
from tests.runtimes.podman import Podman
from tests.runtimes.runtime import Runtime

BIN_DIR = os.environ.get("CRIO_BIN_DIR", "")
PATH = f"{BIN_DIR}:{os.environ['PATH']}".removeprefix(":")
IS_HERE = bool(BIN_DIR) or shutil.which("crio") is not None
SOCKET = Path("/run/crio/crio.sock")
# An AppArmor profile would be the machine's, and /var/log is.
CONFIG = f"""
[crio]
log_dir = "/run/crio/logs"
storage_driver = "vfs"
[crio.api]
listen = "{SOCKET}"
[crio.runtime]
apparmor_profile = "unconfined"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_root = "/run/crio/runc"
[crio.image]
pause_image = "{image.NAME}"
"""


class Crio(Runtime):
    """A CRI-O on `node` with the image of `archive`."""

    maps_ports = True

    def __init__(self, node: Node, archive: Path) -> None:
        config = Path("/run/crio.conf")
        config.write_text(CONFIG)
        super().__init__(node, SOCKET, ["crio", f"--config={config}", "--config-dir="], PATH)
        Podman(node, archive, "kindnet")  # it puts the image where CRI-O looks for it

    def serve(self, sandbox_id: str, name: str) -> None:
        """Run a container: without one, CRI-O's pods have no process."""
        self.cri.run_container(sandbox_id, name, image.NAME)
