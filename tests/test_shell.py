"""Shell scripts: what a linter finds wrong in them, also in those that are not run here."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

MADE = {"__pycache__", ".cache"}  # folders of what tests make, who may be at it just now


def is_script(path: Path) -> bool:
    """Tell whether a file begins as a shell script does."""
    with path.open("rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and b"sh" in first.split(b"/")[-1]


def scripts() -> list[Path]:
    """Return all scripts of the project."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in (".ci", "deploy", "tests"):
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path for path in found if not MADE & set(path.parts) and is_script(path))


@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_every_script_is_found() -> None:
    names = {path.name for path in scripts()}

    assert {"build.sh", "run", "node.sh", "build-kubernetes", "up.sh"} <= names
