"""The reference runtime library, built from Debian's source package, as programs to call."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.libcni.runtimes import Libcni, Tool

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"  # in .gitignore
LIBRARY = "/usr/share/gocode"  # Debian's golang-github-appc-cni-dev


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the driver, built; the lock lets one worker compile and the others find it cached."""
    program = tmp_path_factory.mktemp("libcni") / "driver"
    CACHE.mkdir(exist_ok=True)
    go = {"GO111MODULE": "off", "GOPATH": LIBRARY, "GOPROXY": "off", "GOFLAGS": ""}
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = subprocess.run(
            ["go", "build", "-o", program, "./driver"],
            cwd=HERE,
            env={
                "PATH": os.environ["PATH"],
                "GOCACHE": str(CACHE / "go"),
                "CGO_ENABLED": "0",
                **go,
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert built.returncode == 0, (
        "install Debian's golang-go and golang-github-appc-cni-dev\n" + built.stderr
    )
    return program


@pytest.fixture
def libcni(driver: Path, frozen_bin: Path) -> Libcni:
    """Return the reference runtime library, over our programs."""
    return Libcni(driver, frozen_bin)


@pytest.fixture
def net_d(tmp_path: Path) -> Path:
    """Return an empty directory for network configurations."""
    directory = tmp_path / "net.d"
    directory.mkdir()
    return directory


@pytest.fixture
def cnitool(driver: Path, frozen_bin: Path, net_d: Path) -> Tool:
    """Return the reference library's command line, over our programs."""
    program = driver.with_name("cnitool")
    if not program.exists():
        program.symlink_to(driver)
    return Tool(program, frozen_bin, net_d)


@pytest.fixture
def cnictl(frozen_bin: Path, net_d: Path) -> Tool:
    """Return our own command line, over the same programs and networks."""
    return Tool(frozen_bin.parent / "cnictl", frozen_bin, net_d)
