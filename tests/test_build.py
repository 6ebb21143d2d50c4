"""The frozen suite: one executable under every name, complete, at home anywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cni import __version__
from cni.programs import NAMES, PROGRAMS
from tests import lab
from tests.conftest import DIST, ROOT

SPY = """#!/bin/sh
[ $CNI_COMMAND = DEL ] || env > {report}
echo '{{"cniVersion": "1.0.0", "ips": [{{"address": "10.1.0.2/24"}}]}}'
"""


def version(program: Path | str, **how: str) -> list[str]:
    """Ask a program for the versions it supports, with no other word in its environment."""
    environment = {"CNI_COMMAND": "VERSION"}
    argv = [how.get("argv0", str(program))]
    done = subprocess.run(
        argv, executable=program, env=environment, capture_output=True, check=True
    )
    supported: list[str] = json.loads(done.stdout)["supportedVersions"]
    return supported


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_answers_from_the_bin_directory(frozen_bin: Path, name: str) -> None:
    assert "1.1.0" in version(frozen_bin / name)


def test_all_names_are_one_file_beside_one_folder_of_libraries(frozen_bin: Path) -> None:
    files = {path.name: path.stat().st_ino for path in frozen_bin.iterdir() if path.is_file()}
    folders = [path.name for path in frozen_bin.iterdir() if path.is_dir()]

    assert set(files) == set(NAMES)
    assert len(set(files.values())) == 1
    assert [name.rpartition("-")[0] for name in folders] == ["_pycni"]


def test_nothing_is_bundled_that_no_program_uses(frozen_bin: Path) -> None:
    libraries = {path.name.partition(".")[0] for path in frozen_bin.glob("_pycni-*/*.so*")}

    assert libraries <= {"libpython3", "libz", "libffi", "libexpat", "libcrypto", "libssl"}


def test_a_program_starts_once_and_finds_its_own_libraries(frozen_bin: Path) -> None:
    environment = {"CNI_COMMAND": "VERSION", "LD_DEBUG": "libs"}
    done = subprocess.run([frozen_bin / "ptp"], env=environment, capture_output=True, check=True)

    loaded = re.findall(r"calling init: (\S+)", done.stderr.decode())
    libraries = frozen_bin.glob("_pycni-*/lib*")
    assert len([path for path in loaded if "/libc.so" in path]) == 1
    assert {str(path) for path in libraries if path.name[:6] in ("libpyt", "libz.s", "libexp")} <= {
        *loaded
    }


def test_a_copy_of_the_folder_works_elsewhere(frozen_bin: Path, tmp_path: Path) -> None:
    lab.run(f"cp -r {frozen_bin} {tmp_path}/copied")

    assert "1.1.0" in version(tmp_path / "copied" / "ptp")


def test_a_link_is_what_it_points_to(frozen_bin: Path, tmp_path: Path) -> None:
    (tmp_path / "network").symlink_to(frozen_bin / "ptp")
    (tmp_path / "ptp").symlink_to(frozen_bin / "loopback")

    assert "1.1.0" in version(tmp_path / "network")
    assert "1.1.0" in version(tmp_path / "ptp")


@pytest.mark.parametrize("argv0", ["ptp", "/opt/cni/bin/ptp", "./ptp", ""])
def test_a_program_is_found_by_any_form_of_its_name(frozen_bin: Path, argv0: str) -> None:
    assert "1.1.0" in version(frozen_bin / "ptp", argv0=argv0)


def test_an_unknown_name_is_told_which_ones_there_are(frozen_bin: Path, tmp_path: Path) -> None:
    shutil.copytree(frozen_bin, tmp_path / "bin")
    program = (tmp_path / "bin" / "ptp").rename(tmp_path / "bin" / "macvlan")

    done = subprocess.run([program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "'macvlan'" in done.stderr
    assert all(name in done.stderr for name in NAMES)


def test_the_source_tree_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cni", "host-local"],
        env={"CNI_COMMAND": "VERSION"},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )

    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"


def test_cnictl_is_there_by_a_relative_link() -> None:
    link = DIST / "cnictl"

    done = subprocess.run([link, "--help"], capture_output=True, text=True, check=True)

    assert link.readlink() == Path("bin/cnictl")
    assert "cnictl" in done.stdout


@pytest.mark.usefixtures("host")
def test_a_delegate_gets_the_environment_of_the_caller(frozen_bin: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    spy = tmp_path / "spy"
    spy.write_text(SPY.format(report=report))
    spy.chmod(0o755)
    conf = {"cniVersion": "1.0.0", "name": "n", "type": "ptp", "ipam": {"type": "spy"}}
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "pod",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": lab.add_netns("pod"),
        "CNI_PATH": str(tmp_path),
        "LD_LIBRARY_PATH": "/opt/theirs",
        "PATH": os.environ["PATH"],
    }

    lab.Suite(frozen_bin, imported=False).invoke("ptp", environment, json.dumps(conf).encode())

    seen = dict(line.split("=", 1) for line in report.read_text().splitlines())
    assert {name: seen[name] for name in environment} == environment
    assert set(seen) - set(environment) <= {"CNI_ARGS", "PWD", "SHLVL", "_"}  # the shell's own


@pytest.fixture(scope="module")
def archive() -> Path:
    """Return the release archive."""
    return DIST / f"pycni-{__version__}-linux-{os.uname().machine}.tar.gz"


def test_the_archive_works_where_it_is_unpacked(archive: Path, tmp_path: Path) -> None:
    lab.run(f"tar -xf {archive} -C {tmp_path}")
    top = tmp_path / archive.name.removesuffix(".tar.gz")

    assert "1.1.0" in version(top / "bin" / "host-local")
    assert (top / "bin" / "ptp").samefile(top / "cnictl")
    assert lab.run(f"{top}/cnictl --help")


def test_a_network_for_kubernetes_is_rendered_from_the_archive(
    archive: Path, tmp_path: Path
) -> None:
    lab.run(f"tar -xf {archive} -C {tmp_path}")
    top = tmp_path / archive.name.removesuffix(".tar.gz")

    assert "kind: DaemonSet" in lab.run(f"kubectl kustomize {top}/deploy/kubernetes/vxlan")


def test_the_archive_holds_what_a_node_needs_and_nothing_of_the_builder(archive: Path) -> None:
    top = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as tar:
        members = {member.name.removeprefix(f"{top}/"): member for member in tar}

    assert {"bin", "cnictl", "pycnid", "README.md", "LICENSE", "docs", "deploy"} <= set(members)
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(0, 0, "")}
    assert sum(members[f"bin/{name}"].isreg() for name in NAMES) == 1
    assert sum(members[f"bin/{name}"].islnk() for name in NAMES) == len(NAMES) - 1


def test_every_locked_package_has_its_hashes_and_no_place() -> None:
    text = (ROOT / "requirements.txt").read_text()
    packages = re.findall(
        r"^[a-z][\w.-]*==[\w.]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE
    )

    assert len(packages) == len(re.findall(r"^[^\s#]", text, re.MULTILINE))
    assert "://" not in text
    assert "\n--" not in text


def test_packages_that_two_lock_files_have_are_the_same() -> None:
    names = ("requirements.txt", "requirements-bench.txt")
    first, second = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in names
    )

    assert {name: second[name] for name in first.keys() & second.keys()} == {
        name: first[name] for name in first.keys() & second.keys()
    }


def test_an_unknown_command_of_the_build_shows_the_known_ones() -> None:
    done = subprocess.run(
        [ROOT / "build.sh", "frobnicate"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert all(f"./build.sh {name}" in done.stdout for name in ("check", "test", "demo", "install"))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("", True),
        ("-k kubectl -x", True),
        ("tests", True),
        ("tests/", True),
        ("tests/deploy", True),
        ("tests/plugins tests/cluster/test_life.py", True),
        ("tests/test_build.py::test_the_archive", True),
        ("tests/plugins", False),
        ("-x tests/plugins/test_ptp.py tests/agent", False),
    ],
)
def test_kubectl_is_fetched_for_tests_that_need_it_alone(arguments: str, *, wanted: bool) -> None:
    script = (ROOT / "build.sh").read_text()
    function = re.search(r"^want_kubectl\(\) \{\n.*?^\}", script, re.MULTILINE | re.DOTALL)

    assert function
    command = ["bash", "-c", f"{function[0]}\nwant_kubectl {arguments}"]
    assert (subprocess.run(command, check=False).returncode == 0) is wanted
