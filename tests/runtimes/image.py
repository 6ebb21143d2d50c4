"""The image of the tests: busybox, serving a page that says who asked for it, and one by whom."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

NAME = "localhost/pycni-test:1"  # a tag other than latest: nothing is ever pulled
PORT = 80
COMMAND = ("/bin/busybox", "httpd", "-f", "-p", str(PORT), "-h", "/www")
BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
PAGES = {  # of a pod; a container of Kubernetes has the pod's name for its host's
    "who": "#!/bin/sh\necho\necho $REMOTE_ADDR\n",
    "name": "#!/bin/sh\necho\necho $HOSTNAME\n",
}


def build(target: Path, name: str = NAME, command: tuple[str, ...] = COMMAND) -> Path:
    """Write the image to `target`; return it."""
    return save(target, name, _layer(), {"Cmd": command, "StopSignal": "SIGKILL"})


def save(target: Path, name: str, layer: bytes, config: Mapping[str, object]) -> Path:
    """Write an image of one layer to `target`, an archive in the form of `docker save`."""
    digest = hashlib.sha256(layer).hexdigest()
    described = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        _add(archive, "layer.tar", layer)
        _add(archive, "config.json", json.dumps(described).encode())
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return target


def _layer() -> bytes:
    assert BUSYBOX.exists(), "install Debian's busybox-static"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for page, script in PAGES.items():
            _add(archive, f"www/cgi-bin/{page}", script.encode(), mode=0o755)
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(link)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
