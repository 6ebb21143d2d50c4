"""One executable under many names: the name decides which program it is."""

from pathlib import Path

import pytest

from cni.__main__ import program_name
from cni.programs import PROGRAMS
from tests import lab


@pytest.mark.parametrize("name", [*PROGRAMS, "cnictl"])
@pytest.mark.parametrize("path", ["{}", "./{}", "/opt/cni/bin/{}", "../ptp/{}"])
def test_the_last_part_of_the_path_decides(name: str, path: str) -> None:
    assert program_name([path.format(name)]) == name


def test_called_as_a_module_the_first_argument_decides() -> None:
    argv = ["/src/cni/__main__.py", "cnictl", "add", "net"]

    assert program_name(argv) == "cnictl"
    assert argv == ["cnictl", "add", "net"]
    assert program_name(["/src/cni/__main__.py"]) == ""


def test_another_name_is_told_which_there_are() -> None:
    reply = lab.run_forked(Path("/opt/cni/bin/bridge2"), {"CNI_COMMAND": "VERSION"}, b"")

    assert (reply.exit, reply.stdout) == (1, "")
    assert "'bridge2' is not a program of this suite" in reply.stderr
    assert all(name in reply.stderr for name in (*PROGRAMS, "cnictl"))
