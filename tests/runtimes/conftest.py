"""A node with the frozen programs, and the runtimes on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes import containerd as daemon
from tests.runtimes import image
from tests.runtimes.containerd import Containerd
from tests.runtimes.node import Node, runtime_node
from tests.runtimes.podman import Podman


@pytest.fixture(scope="session")
def image_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of the image that all pods run."""
    return image.build(tmp_path_factory.mktemp("image") / "image.tar")


@pytest.fixture
def node(host: None, frozen_bin: Path) -> Iterator[Node]:  # noqa: ARG001 - it works by being there
    """The test is a node with the kindnet conflist; nothing of its runtimes may be left."""
    with runtime_node(frozen_bin) as node:
        yield node


@pytest.fixture
def containerd(node: Node, image_archive: Path) -> Iterator[Containerd]:
    """Return a containerd that has just been started on the node."""
    with daemon.running(node, image_archive) as runtime:
        yield runtime


@pytest.fixture
def podman(node: Node, image_archive: Path) -> Iterator[Podman]:
    """Return podman on the node; its containers end with the test."""
    runtime = Podman(node, image_archive)
    try:
        yield runtime
    finally:
        runtime.remove()
