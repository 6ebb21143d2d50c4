"""Both sides on one test host."""

from pathlib import Path

import pytest

from tests import lab
from tests.interchange import conflists, sides


@pytest.fixture
def world(host: None) -> None:  # noqa: ARG001  # it makes this host
    """Put this host into a world with a machine outside."""
    conflists.make_world()


@pytest.fixture
def ours(world: None, suite: lab.Suite) -> sides.Side:  # noqa: ARG001  # /run is that host's
    """Return our side; its PATH has firewall programs only, and what it executes is recorded."""
    return sides.Side(suite, sides.recorded_path())


@pytest.fixture
def reference(reference_bin: Path) -> lab.Suite:
    """Return the reference plugins, called as ours are."""
    return lab.Suite(reference_bin, imported=False)


@pytest.fixture
def theirs(
    world: None,  # noqa: ARG001  # /run is that host's
    reference: lab.Suite,
    request: pytest.FixtureRequest,
) -> sides.Side:
    """Return the reference's side; its iptables is of the kind that the test wants, or "nft"."""
    return sides.Side(reference, sides.iptables_path(getattr(request, "param", "nft")))
