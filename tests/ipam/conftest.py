"""A network with an empty lease directory."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.ipam.network import Network

# no time limits: the machine may be busy; no files beside the tests; the same examples each time
settings.register_profile("suite", deadline=None, database=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Return the network `mynet`, 10.1.2.0/24, that nobody has used yet."""
    return Network(tmp_path)
