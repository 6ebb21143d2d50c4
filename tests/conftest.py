"""The test host, and the programs under test in every form they come in."""

import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from cni.programs import NAMES
from tests import lab

# no time limits: the machine may be busy; no files beside the tests; the same examples each time
settings.register_profile("suite", deadline=None, database=None, derandomize=True)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
REFERENCE = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
WRAPPER = """#!{python}
import sys
sys.path.insert(0, {root!r})
from cni.__main__ import main
sys.exit(main())
"""


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a shell's background jobs, and theirs, ignore it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give any process any test, but one of them all those of a cluster: they share it.

    (What xdist has for this, --dist loadgroup, does nothing under pytest 9.2.)
    """
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: (
        "cluster" if nodeid.startswith("tests/cluster/") else nodeid
    )
    return scheduler


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:  # noqa: ARG001
    """With PYCNI_STRICT=1 a skipped test has failed: what is missing must be said, not hidden."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("PYCNI_STRICT") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, and PYCNI_STRICT=1: {report.longrepr}"
    return report


@pytest.fixture
def imported(source_bin: Path) -> lab.Suite:
    """Return the programs as Python: for tables of cases, and where lines are counted."""
    return lab.Suite(source_bin, imported=True)


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
    for name in NAMES:
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


@pytest.fixture(scope="session")
def warm_agent(
    frozen_bin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int]]:
    """Run the node agent for all tests of this process: its socket's directory, zygote's pid.

    It serves every test host: a worker enters the namespaces of who calls.
    """
    place = tmp_path_factory.mktemp("agent")
    with lab.agent(frozen_bin, place / "warm.sock") as agent:
        yield place, agent.zygote


@pytest.fixture(params=["imported", "frozen", "warm"])
def suite(request: pytest.FixtureRequest) -> Iterator[lab.Suite]:
    """Return the programs under test: imported, frozen, and frozen with the agent at hand."""
    if request.param == "imported":
        yield lab.Suite(request.getfixturevalue("source_bin"), imported=True)
        return
    suite = lab.Suite(request.getfixturevalue("frozen_bin"), imported=False)
    if request.param == "frozen":
        yield suite
        return
    place, zygote = request.getfixturevalue("warm_agent")
    request.getfixturevalue("host")
    Path("/run/pycni").mkdir()
    lab.mount(str(place), "/run/pycni", flags=lab.MS_BIND)
    before = lab.faults_of_children(zygote)
    yield suite
    # a program that found no agent would have served itself without a word
    if suite.calls:
        served = lab.wait_until(lambda: lab.faults_of_children(zygote) > before)
        assert served, "nothing was served warm"


@pytest.fixture(scope="session")
def reference_bin() -> Path:
    """Return the directory of the reference plugins."""
    assert (REFERENCE / "ptp").exists(), "install Debian's containernetworking-plugins"
    return REFERENCE
