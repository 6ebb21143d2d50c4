"""The role vpc as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.agent import Agent, ask, on_host


@pytest.fixture
def agent(host: None, source_bin: Path) -> Iterator[Agent]:  # noqa: ARG001
    """Have a host in a cloud, with an agent that is to be started."""
    with on_host(source_bin) as agent:
        yield agent


def test_a_pod_gets_an_address_and_gives_it_back(agent: Agent) -> None:
    agent.start()
    agent.wait_ready()

    answer = ask("ADD", "pod-1")

    assert ask("ADD", "pod-1") == answer
    assert ask("CHECK", "pod-1") == answer
    assert agent.cloud.holder(answer["address"]) == answer["eni"]["id"]
    assert ask("DEL", "pod-1") == {}
    assert ask("DEL", "pod-1") == {}
    assert ask("CHECK", "pod-1")["code"] == 102
