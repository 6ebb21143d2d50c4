"""The test host, and the programs under test in every form they come in."""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.programs import PROGRAMS
from tests import lab

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
REFERENCE = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
WRAPPER = """#!{python}
import sys
sys.path.insert(0, {root!r})
from cni.__main__ import main
sys.exit(main())
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:  # noqa: ARG001
    """With PYCNI_STRICT=1 a skipped test has failed: what is missing must be said, not hidden."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("PYCNI_STRICT") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, and PYCNI_STRICT=1: {report.longrepr}"
    return report


@pytest.fixture
def host() -> Iterator[None]:
    """Every test that asks for it is its own host, with lo up."""
    with lab.fresh_host():
        lab.run("ip link set lo up")
        yield


@pytest.fixture(scope="session")
def source_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CNI_PATH directory whose programs run from the source tree."""
    directory = tmp_path_factory.mktemp("bin")
    for name in (*PROGRAMS, "cnictl"):
        program = directory / name
        program.write_text(WRAPPER.format(python=sys.executable, root=str(ROOT)))
        program.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def frozen_bin() -> Path:
    """Return dist/bin, as `./build.sh freeze` left it."""
    directory = DIST / "bin"
    assert os.access(directory / "ptp", os.X_OK), f"{directory} is missing: ./build.sh freeze"
    return directory


@pytest.fixture(params=["imported", "frozen"])
def suite(request: pytest.FixtureRequest) -> lab.Suite:
    """Return the programs under test, once imported and once frozen."""
    if request.param == "imported":
        return lab.Suite(request.getfixturevalue("source_bin"), imported=True)
    return lab.Suite(request.getfixturevalue("frozen_bin"), imported=False)


@pytest.fixture(scope="session")
def reference_bin() -> Path:
    """Return the directory of the reference plugins."""
    assert (REFERENCE / "ptp").exists(), "install Debian's containernetworking-plugins"
    return REFERENCE
