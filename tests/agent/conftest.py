"""A probe on a host of its own; the agent of all tests, or one to be hurt."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests import lab
from tests.agent.callers import SOCKET, alive, children, version_client
from tests.agent.probe import Probe

StartAgent = Callable[..., AbstractContextManager[lab.Agent]]


@pytest.fixture
def probe(host: None, frozen_bin: Path) -> Probe:  # noqa: ARG001  # only for what it makes
    """Return a probe, called by a frozen ptp."""
    return Probe(frozen_bin)


@pytest.fixture
def warm(probe: Probe, warm_agent: tuple[Path, int]) -> tuple[Probe, int]:
    """Return a probe and the zygote of the agent that all tests share."""
    place, zygote = warm_agent
    SOCKET.parent.mkdir()
    lab.mount(str(place), str(SOCKET.parent), flags=lab.MS_BIND)
    return probe, zygote


@pytest.fixture
def start_agent(host: None, frozen_bin: Path) -> StartAgent:  # noqa: ARG001
    """Return what runs an agent of the test's own: it serves when the block begins."""

    @contextmanager
    def start(*options: str, bin_dir: Path = frozen_bin) -> Iterator[lab.Agent]:
        with lab.agent(bin_dir, SOCKET, *options) as agent:
            assert lab.wait_until(lambda: _serves(frozen_bin), 30)
            assert lab.wait_until(lambda: not any(map(alive, children(agent.zygote))))
            try:
                yield agent
            finally:
                Probe.release()  # after a failure the agent would wait for its worker

    return start


def _serves(bin_dir: Path) -> bool:
    """Tell whether the agent answers, were it with a refusal."""
    try:
        return bool(version_client(bin_dir).call()[0])
    except ConnectionRefusedError:  # between bind and listen
        return False


@pytest.fixture
def agent(start_agent: StartAgent) -> Iterator[lab.Agent]:
    """Run an agent of the test's own."""
    with start_agent() as agent:
        yield agent
