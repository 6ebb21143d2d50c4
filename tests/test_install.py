"""Installation: over anything, under anybody's feet, killed at any point, and never half."""

import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

import cni.install
from cni.install import REPLACED, install, uninstall
from cni.programs import NAMES
from tests import lab
from tests.conftest import ROOT

SMALL = """#!/bin/sh
exec cat "${{0%/*}}/_pycni-{build}/deep/word"
"""
TWO_HOURS_NS = 7200 * 10**9
INSTALL = """
import sys
from pathlib import Path
from cni.install import install
target, *sources = map(Path, sys.argv[1:])
for source in sources:
    install(source, target)
"""


def small_build(place: Path, build: str) -> Path:
    """Make a bin directory of the suite's shape: a tiny program, and the word it tells."""
    folder = place / f"_pycni-{build}"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "word").write_text(build)
    (folder / "other").write_text(build)
    first, *others = (place / name for name in NAMES)
    first.write_text(SMALL.format(build=build))
    first.chmod(0o755)
    for name in others:
        name.hardlink_to(first)
    return place


def other_build(frozen: Path, place: Path, build: str) -> Path:
    """Make a build of its own of the frozen suite: the same, but for the name of its libraries."""
    shutil.copytree(frozen, place)
    (folder,) = place.glob("_pycni-*")
    folder.rename(place / f"_pycni-{build}")
    content = (frozen / NAMES[0]).read_bytes()
    assert len(f"_pycni-{build}") == len(folder.name)
    content = content.replace(folder.name.encode(), f"_pycni-{build}".encode())
    for name in NAMES:
        (place / name).unlink()
    (place / NAMES[0]).write_bytes(content)
    (place / NAMES[0]).chmod(0o755)
    for name in NAMES[1:]:
        (place / name).hardlink_to(place / NAMES[0])
    return place


def libraries(builds: str) -> set[str]:
    """Return the names of the folders of these small builds."""
    return {f"_pycni-{build}" for build in builds}


def said(target: Path) -> set[str]:
    """Return what the programs in `target` say: the name of the build of each."""
    return {lab.run(str(target / name)) for name in NAMES}


def let_two_hours_pass(target: Path) -> None:
    for folder in target.glob("_pycni-*"):
        before = folder.stat().st_mtime_ns - TWO_HOURS_NS
        os.utime(folder, ns=(before, before))


@pytest.fixture
def place(host: None) -> Path:  # noqa: ARG001 - it works by being there
    """Return a directory in memory, which takes a sync easily."""
    directory = Path("/run/place")
    directory.mkdir()
    return directory


def test_all_programs_arrive_as_names_of_one_file(place: Path) -> None:
    target = place / "opt" / "cni" / "bin"

    programs = install(small_build(place / "a", "a"), target)

    assert programs == [target / name for name in NAMES]
    assert said(target) == {"a"}
    assert len({path.stat().st_ino for path in programs}) == 1


def test_files_of_our_names_are_replaced_and_others_stay(place: Path) -> None:
    target = place / "bin"
    target.mkdir()
    (target / "ptp").write_text("the reference's")
    (target / "portmap").symlink_to("/usr/bin/true")
    (target / "macvlan").write_text("theirs")
    (target / "folder").mkdir()

    install(small_build(place / "a", "a"), target)

    assert said(target) == {"a"}
    assert (target / "macvlan").read_text() == "theirs"
    assert {path.name for path in target.iterdir()} == {
        *NAMES,
        "macvlan",
        "folder",
        *libraries("a"),
        REPLACED,
    }


def test_what_was_replaced_comes_back_and_nothing_of_ours_stays(place: Path) -> None:
    target = place / "bin"
    target.mkdir()
    (target / "ptp").write_text("the reference's")
    (target / "portmap").symlink_to("/usr/bin/true")
    (target / "macvlan").write_text("theirs")
    for build in "ab":
        install(small_build(place / build, build), target)

    uninstall(target)

    assert (target / "ptp").read_text() == "the reference's"
    assert (target / "portmap").readlink() == Path("/usr/bin/true")
    assert {path.name for path in target.iterdir()} == {"ptp", "portmap", "macvlan"}


def test_what_others_have_put_over_ours_since_stays(place: Path) -> None:
    target = place / "bin"
    install(small_build(place / "a", "a"), target)
    (target / "ptp").unlink()
    (target / "ptp").write_text("the reference's")

    uninstall(target)

    assert [path.name for path in target.iterdir()] == ["ptp"]
    uninstall(target)
    assert (target / "ptp").read_text() == "the reference's"


def test_libraries_stay_while_programs_of_their_build_may_run(place: Path) -> None:
    target = place / "bin"
    for build in "abc":
        install(small_build(place / build, build), target)

    assert said(target) == {"c"}
    assert {path.name for path in target.iterdir()} == {*NAMES, *libraries("abc")}


def test_libraries_go_when_they_were_replaced_long_ago(place: Path) -> None:
    target = place / "bin"
    for build in "abcd":
        install(small_build(place / build, build), target)
        let_two_hours_pass(target)

    assert said(target) == {"d"}
    assert {path.name for path in target.iterdir()} == {*NAMES, *libraries("cd")}


def test_the_same_build_again_mends_what_was_broken(place: Path) -> None:
    target = place / "bin"
    source = small_build(place / "a", "a")
    install(source, target)
    (target / "_pycni-a" / "deep" / "word").write_text("broken")
    (target / "ptp").unlink()

    install(source, target)

    assert said(target) == {"a"}


def test_a_directory_without_a_build_is_refused_and_nothing_changes(place: Path) -> None:
    (place / "empty").mkdir()

    with pytest.raises(FileNotFoundError, match=r"empty.*build\.sh freeze"):
        install(place / "empty", place / "bin")

    assert not (place / "bin").exists()


def test_installations_at_the_same_time_wait_for_each_other(place: Path) -> None:
    sources = [small_build(place / build, build) for build in "abcd"]
    running = [
        subprocess.Popen([sys.executable, "-c", INSTALL, place / "bin", *[source] * 20], cwd=ROOT)
        for source in sources
    ]

    assert [one.wait() for one in running] == [0, 0, 0, 0]
    assert len(said(place / "bin")) == 1


def is_killed_before_line(number: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that dies before that line it runs of cni/install.py.

    Return False when there were fewer.
    """
    child = os.fork()
    if child == 0:
        left = number

        def count(frame: FrameType, event: str, _argument: object) -> object:
            nonlocal left
            left -= event == "line" and frame.f_code.co_filename == cni.install.__file__
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return count

        sys.settrace(count)  # type: ignore[arg-type]  # a trace function may return itself
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def is_whole(target: Path) -> bool:
    """Tell whether each program is the whole one of a build whose libraries are whole too."""
    texts = {SMALL.format(build=build): build for build in "abc"}
    found = [texts.get((target / name).read_text(), "missing") for name in NAMES]
    return all((target / f"_pycni-{build}/deep/word").read_text() == build for build in found)


def test_killed_at_any_line_the_suite_works_and_the_next_installation_cleans_up(
    place: Path,
) -> None:
    sources = [small_build(place / build, build) for build in "abc"]
    number, killed = 0, True
    while killed:
        target = place / f"bin-{number}"
        install(sources[0], target)
        install(sources[1], target)
        let_two_hours_pass(target)

        killed = is_killed_before_line(number, partial(install, sources[2], target))

        assert is_whole(target), f"killed before line {number}"
        install(sources[2], target)
        assert said(target) == {"c"}
        assert {path.name for path in target.iterdir()} == {*NAMES, *libraries("bc")}
        number += 1


def run_until_it_reads(program: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start `program` and return when it has taken the first byte of its input and waits on."""
    running = subprocess.Popen(
        [program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert running.stdin
    running.stdin.write(b" ")
    running.stdin.flush()
    until = time.monotonic() + 30
    while struct.unpack("i", fcntl.ioctl(running.stdin, termios.FIONREAD, bytes(4)))[0]:
        assert time.monotonic() < until
        time.sleep(0.001)
    return running


def test_a_running_program_of_the_old_build_goes_on(frozen_bin: Path, place: Path) -> None:
    target = place / "bin"
    install(other_build(frozen_bin, place / "a", "a" * 12), target)
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "pod",
        "CNI_IFNAME": "lo",
        "CNI_NETNS": lab.add_netns("pod"),
        "CNI_PATH": str(target),
    }
    running = run_until_it_reads(target / "loopback", environment)

    install(other_build(frozen_bin, place / "b", "b" * 12), target)
    install(small_build(place / "c", "c"), target)  # in which it would find nothing of its own
    conf = {"cniVersion": "1.1.0", "name": "n", "type": "loopback"}
    stdout, _ = running.communicate(json.dumps(conf).encode())

    assert running.returncode == 0
    assert json.loads(stdout)["interfaces"][0]["name"] == "lo"


def test_at_every_moment_the_programs_start(frozen_bin: Path, place: Path) -> None:
    builds = [other_build(frozen_bin, place / name, name * 12) for name in "abc"]
    target = place / "bin"
    install(builds[0], target)
    installing = subprocess.Popen(
        [sys.executable, "-c", INSTALL, target, *builds[1:], *builds, *builds], cwd=ROOT
    )
    replies = set()
    while installing.poll() is None:
        environment = {"CNI_COMMAND": "VERSION"}
        done = subprocess.run(
            [target / "ptp"], env=environment, capture_output=True, text=True, check=False
        )
        replies.add((done.returncode, done.stdout, done.stderr))

    assert installing.returncode == 0
    assert len(replies) == 1
    assert "supportedVersions" in replies.pop()[1]


def test_cnictl_installs_itself_and_all_others(frozen_bin: Path, place: Path) -> None:
    target = place / "bin"

    lab.run(f"{frozen_bin.parent}/cnictl install --bin-dir {target}")

    assert {path.name for path in target.iterdir() if path.is_file()} == set(NAMES)
    assert lab.run(f"{target}/cnictl --help") == lab.run(f"{frozen_bin}/cnictl --help")
