"""What the tests of plugins share."""

from pathlib import Path

import pytest

from tests import lab


@pytest.fixture
def imported(source_bin: Path) -> lab.Suite:
    """Return the programs as Python: for tables of cases, and where lines are counted."""
    return lab.Suite(source_bin, imported=True)
