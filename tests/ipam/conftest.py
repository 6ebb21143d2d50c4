"""A network with an empty lease directory."""

from pathlib import Path

import pytest

from tests.ipam.network import Network


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Return the network `mynet`, 10.1.2.0/24, that nobody has used yet."""
    return Network(tmp_path)
