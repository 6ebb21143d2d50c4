"""A node with the frozen programs, and the runtimes on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.programs import NAMES
from tests.conflists import Conflist
from tests.runtimes import crio, image
from tests.runtimes.containerd import Containerd
from tests.runtimes.crio import Crio
from tests.runtimes.node import Node, runtime_node
from tests.runtimes.podman import Podman
from tests.runtimes.runtime import Runtime

RUNTIMES = [Containerd, Crio] if crio.IS_HERE else [Containerd]


@pytest.fixture(scope="session")
def image_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of the image that all pods run."""
    return image.build(tmp_path_factory.mktemp("image") / "image.tar")


@pytest.fixture(scope="session")
def others_bin(reference_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with those of the reference plugins that have no counterpart here."""
    folder = tmp_path_factory.mktemp("others")
    for program in reference_bin.iterdir():
        if program.name not in NAMES:
            (folder / program.name).symlink_to(program)
    return folder


@pytest.fixture
def node(
    host: None,  # noqa: ARG001 - it works by being there
    frozen_bin: Path,
    others_bin: Path,
) -> Iterator[Node]:
    """The test is a node with the kindnet conflist; nothing of its runtimes may be left."""
    with runtime_node(frozen_bin, others_bin) as node:
        yield node


@pytest.fixture
def conflist(node: Node, request: pytest.FixtureRequest) -> Conflist:
    """Return the conflist that is the node's network: what the test is parametrised by."""
    found: Conflist = request.param
    node.install(found.path)
    return found


@pytest.fixture
def containerd(node: Node, image_archive: Path) -> Iterator[Containerd]:
    """Return a containerd that has just been started on the node."""
    runtime = Containerd(node, image_archive)
    with runtime.running():
        yield runtime


@pytest.fixture(params=RUNTIMES, ids=lambda kind: kind.__name__.lower())
def runtime(node: Node, image_archive: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """Return a runtime for a kubelet's pods, each of those that this machine has."""
    runtime: Runtime = request.param(node, image_archive)
    with runtime.running():
        yield runtime


@pytest.fixture
def podman(node: Node, image_archive: Path, request: pytest.FixtureRequest) -> Iterator[Podman]:
    """Return podman on the node; its containers end with the test.

    Its default network is kindnet, or what the test wants.
    """
    runtime = Podman(node, image_archive, getattr(request, "param", "kindnet"))
    try:
        yield runtime
    finally:
        runtime.remove()
