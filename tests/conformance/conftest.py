"""One pod on a fresh host, and programs that start fast."""

import importlib

import pytest

from cni.programs import PROGRAMS
from tests import lab

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
