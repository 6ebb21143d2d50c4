"""A node in a cloud of its own, for tests that need no more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from ipam.aws_vpc.cloud import imds
from tests.cloud.node import Node, running


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let agents in this process wait for the metadata service of a busy machine."""
    monkeypatch.setattr(imds, "WAIT", urllib3.Timeout(connect=30.0, read=30.0))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Have an m5.large, 3 ENIs of 9 addresses for pods, whose agent has not begun."""
    with running(tmp_path) as node:
        yield node


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Node]:
    """Have a t3.small, 3 ENIs of 3 addresses for pods, that keeps one address to spare."""
    with running(tmp_path, kind="t3.small", WARM_IP_TARGET="1") as node:
        yield node
