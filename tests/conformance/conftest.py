"""One pod on a fresh host, and programs that start fast."""

import importlib
from collections.abc import Iterator

import pytest

from cni.programs import PROGRAMS
from tests import lab
from tests.conformance.confs import places
from tests.vpc.agent import Agent, listening

LATE = ("cni.__main__", "cni.kernel.firewall", "cni.kernel.leftovers", "cni.kernel.conntrack")


@pytest.fixture(scope="session", autouse=True)
def _preloaded() -> None:
    """Load the programs before they are forked: each call then takes a tenth of the time."""
    for module in (*(program.module for program in PROGRAMS.values()), *LATE):
        importlib.import_module(module)


@pytest.fixture
def pod(host: None) -> str:  # noqa: ARG001  # the host that the pod is on
    """Return the path of a namespace as `ip netns add` makes it."""
    lab.run("ip netns add pod")
    return lab.netns_path("pod")


@pytest.fixture(autouse=True)
def _agent(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a double of the node agent serve those that ask one, where a test has a host."""
    if "host" not in request.fixturenames:
        yield
        return
    for name in ("host", "suite"):  # the latter may put another /run/pycni in place
        if name in request.fixturenames:
            request.getfixturevalue(name)
    with listening(Agent(places())):
        yield
