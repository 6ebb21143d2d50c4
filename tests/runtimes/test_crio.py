"""Whether CRI-O is among the runtimes: a machine without one is told so, at each run."""

import pytest

from tests import lab
from tests.runtimes import crio


def test_pods_run_under_crio_too() -> None:
    """They do in all tests here that ask for `runtime`."""
    if not crio.IS_HERE:
        pytest.xfail("no crio on PATH or in CRIO_BIN_DIR: its conflists ran under containerd only")

    assert "crio version" in lab.run(f"env PATH={crio.PATH} crio --version")
