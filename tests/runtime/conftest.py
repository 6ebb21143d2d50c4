"""A runtime over doubles of plugins, with a cache of its own."""

from pathlib import Path

import pytest

from cni.runtime.cache import Cache
from cni.runtime.network import Container, Runtime
from tests.runtime.doubles import Doubles


@pytest.fixture
def doubles(tmp_path: Path) -> Doubles:
    """Return the programs `first` and `second`."""
    doubles = Doubles(tmp_path / "doubles")
    for name in ("first", "second"):
        doubles.program(name)
    return doubles


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return an empty cache; its directory is not there yet."""
    return Cache(tmp_path / "lib" / "results")


@pytest.fixture
def runtime(doubles: Doubles, cache: Cache) -> Runtime:
    """Return a runtime that finds the doubles."""
    return Runtime(str(doubles.bin_dir), cache)


@pytest.fixture
def pod() -> Container:
    """Return a container to attach."""
    return Container("pod-1", "/run/netns/pod")


@pytest.fixture
def net_d(tmp_path: Path) -> Path:
    """Return an empty directory for network configurations."""
    directory = tmp_path / "net.d"
    directory.mkdir()
    return directory
