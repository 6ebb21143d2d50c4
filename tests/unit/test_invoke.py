"""Other programs: found in CNI_PATH, executed, and what they say understood."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cni.errors import CniError, Code
from cni.invoke import HELD, execute, find, is_ours
from cni.programs import PROGRAMS


def program(path: Path, script: str) -> str:
    """Write a shell script; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


# finding


def test_a_program_is_found_in_any_directory_the_first_one_wins(tmp_path: Path) -> None:
    first = program(tmp_path / "one" / "both", "")
    second = program(tmp_path / "two" / "only", "")
    program(tmp_path / "two" / "both", "")
    path = f"{tmp_path}/none:{tmp_path}/one::{tmp_path}/two"

    assert find("both", path) == first
    assert find("only", path) == second


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "one" / "x").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    os.symlink("nowhere", tmp_path / "link")
    found = program(tmp_path / "two" / "x", "")

    assert find("x", f"{tmp_path}/one:{tmp_path}/two") == found
    for name in ("pipe", "link"):
        with pytest.raises(CniError, match="failed to find plugin"):
            find(name, str(tmp_path))


def test_a_link_to_a_program_is_one(tmp_path: Path) -> None:
    program(tmp_path / "suite", "")
    (tmp_path / "bridge").symlink_to("suite")

    assert find("bridge", str(tmp_path)) == f"{tmp_path}/bridge"


@pytest.mark.parametrize("path", ["", ":", "/nowhere", "/nowhere::/neither", "/dev/null", "\ud800"])
def test_a_program_that_is_nowhere_is_named_with_the_places(path: str) -> None:
    with pytest.raises(CniError) as caught:
        find("host-local", path)

    places = " ".join(place for place in path.split(":") if place)
    assert caught.value.code == Code.INVALID_CONFIG
    assert caught.value.msg == f'failed to find plugin "host-local" in path [{places}]'
    assert "CNI_PATH" in caught.value.details


def test_no_name_is_refused() -> None:
    with pytest.raises(CniError, match="no plugin name provided") as caught:
        find("", "/bin")

    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize("name", ["/bin/sh", "../bin/sh", "bin/sh", "sh/", "/", ".", ".."])
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(CniError, match="invalid plugin name") as caught:
        find(name, "/bin:/usr/bin:/")

    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize("name", ["a\0b", "x" * 100_000, "\ud800", "no such", "\n"])
def test_a_hostile_name_is_not_found(name: str) -> None:
    with pytest.raises(CniError, match="failed to find plugin") as caught:
        find(name, "/bin")

    assert len(str(caught.value)) < 500


# executing


def test_environment_and_standard_input_are_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", "00-1-2-01")
    monkeypatch.setenv("CNI_ARGS", "ours")
    path = program(
        tmp_path / "x",
        """read -r text
        printf '{"stdin": "%s", "args": "%s", "trace": "%s"}' "$text" "$CNI_ARGS" "$TRACEPARENT"
        """,
    )

    said = execute(path, {"CNI_ARGS": "theirs"}, b"hello\n")

    assert said == {"stdin": "hello", "args": "theirs", "trace": "00-1-2-01"}


def test_a_program_that_does_not_read_its_input_may_succeed(tmp_path: Path) -> None:
    path = program(tmp_path / "x", "echo '{}'")

    assert execute(path, {}, b"x" * (1 << 20)) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [("", None), (" \n", None), ("null", {}), ("null\n", {}), ('{"a": 1}\n', {"a": 1})],
)
def test_a_result_is_returned_and_null_is_an_empty_one(
    tmp_path: Path, text: str, said: object
) -> None:
    (tmp_path / "said").write_text(text)

    assert execute(program(tmp_path / "x", f"cat {tmp_path}/said"), {}, b"") == said


@pytest.mark.parametrize("text", ["hello", "[]", "5", '"x"', "{} {}", "{"])
def test_a_result_that_is_no_object_is_refused_by_the_programs_name(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "said").write_text(text)
    path = program(tmp_path / "fixed", f"cat {tmp_path}/said")

    with pytest.raises(CniError, match=f"cannot decode what {path} said") as caught:
        execute(path, {}, b"")

    assert caught.value.code == Code.DECODING_FAILURE


ERRORS = {
    "all of it": ('{"code": 11, "msg": "busy", "details": "later"}', (11, "busy", "later")),
    "no details": ('{"code": 7, "msg": "bad"}', (7, "bad", "")),
    "with a version": ('{"cniVersion": "1.0.0", "code": 7, "msg": "bad"}', (7, "bad", "")),
    "null details": ('{"code": 7, "msg": "bad", "details": null}', (7, "bad", "")),
}


@pytest.mark.parametrize(("text", "error"), ERRORS.values(), ids=ERRORS)
def test_the_error_of_a_program_is_raised_as_it_is(
    tmp_path: Path, text: str, error: tuple[int, str, str]
) -> None:
    path = program(tmp_path / "x", f"echo '{text}'; exit 1")

    with pytest.raises(CniError) as caught:
        execute(path, {}, b"")

    assert (caught.value.code, caught.value.msg, caught.value.details) == error


FAILURES = {
    "silent": ("exit 3", "cannot run fixed: exit status 3"),
    "stderr only": ("echo oh no >&2; exit 1", "cannot run fixed: exit status 1"),
    "no JSON": ("echo oh no; exit 2", "cannot run fixed: exit status 2: oh no"),
    "no error": ("echo '{}'; exit 1", "cannot run fixed: exit status 1: {}"),
    "a list": ("echo '[1]'; exit 1", "cannot run fixed: exit status 1: [1]"),
    "no message": ("""echo '{"code": 7}'; exit 1""", "cannot run fixed: exit status 1"),
    "code in words": ("""echo '{"code": "x", "msg": "y"}'; exit 1""", "cannot run fixed"),
    "not UTF-8": (r"printf '\377'; exit 1", "cannot run fixed: exit status 1: \ufffd"),
    "killed": ("kill -9 $$", "cannot run fixed: exit status -9"),
    "a long text": ("yes | head -c 1000000; exit 1", "cannot run fixed: exit status 1: y"),
}


@pytest.mark.parametrize(("script", "msg"), FAILURES.values(), ids=FAILURES)
def test_a_program_that_dies_without_an_error_is_named(
    tmp_path: Path, script: str, msg: str
) -> None:
    with pytest.raises(CniError) as caught:
        execute(program(tmp_path / "fixed", script), {}, b"")

    assert caught.value.code == Code.PLUGIN_FAILED
    assert caught.value.msg.startswith(msg)
    assert caught.value.details == "its stderr may say more"
    assert len(caught.value.msg) < 1000


def test_what_a_program_says_on_stderr_is_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    execute(program(tmp_path / "x", "echo a warning >&2; echo '{}'"), {}, b"")

    assert capfd.readouterr() == ("", "a warning\n")


def test_what_cannot_be_executed_is_an_io_failure(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    program(tmp_path / "lost", "")
    (tmp_path / "lost").write_text("#!/no/such/shell\n")

    for name, cause in {
        "data": "Permission denied",
        "lost": "No such file or directory",
        "gone": "No such file or directory",
    }.items():
        with pytest.raises(CniError, match=f"cannot execute {tmp_path}/{name}: {cause}") as caught:
            execute(str(tmp_path / name), {}, b"")
        assert caught.value.code == Code.IO_FAILURE


def test_a_program_that_is_being_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path / "x", "echo '{}'")
    writers = [os.open(path, os.O_WRONLY | os.O_CLOEXEC)]
    monkeypatch.setattr(time, "sleep", lambda _: os.close(writers.pop()))

    assert execute(path, {}, b"") == {}
    assert writers == []


@contextmanager
def handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    """Have a handler of a signal within the block."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", HELD)
def test_a_program_that_is_just_being_started_ends_with_us_when_a_signal_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    found = []

    class Started(subprocess.Popen[bytes]):
        """It runs, and nobody knows it yet."""

        def __init__(self, *given: Any, **how: Any) -> None:
            super().__init__(*given, **how)
            found.append(self)
            signal.raise_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with handled(number, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        execute(program(tmp_path / "x", "exec sleep 60"), {}, b"")

    with found[0] as process:
        ended = process.poll()
        process.kill()
    assert ended == -signal.SIGKILL


@pytest.mark.parametrize("number", HELD)
def test_a_signal_that_we_ignore_is_ignored_by_a_program_too(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = program(tmp_path / "x", f"kill -{number} $$; echo '{{}}'")

    with handled(number, signal.SIG_IGN):
        assert execute(path, {}, b"") == {}


# knowing our own


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with all programs, of which ptp runs now."""
    for name in PROGRAMS:
        program(tmp_path / "bin" / name, "echo ours")
    monkeypatch.setattr(sys, "argv", [f"{tmp_path}/bin/ptp"])
    return tmp_path / "bin"


def test_all_programs_of_the_suite_are_ours_on_every_path_to_them(suite: Path) -> None:
    (suite.parent / "link").symlink_to("bin")

    for directory in (suite, suite.parent / "link", suite.parent / "bin" / ".." / "bin"):
        assert all(is_ours(f"{directory}/{name}") for name in PROGRAMS)


def test_another_suites_program_is_not_ours(suite: Path) -> None:
    theirs = program(suite.parent / "theirs" / "host-local", "echo ours")
    program(suite / "host-local", "echo a program that was copied over ours")
    foreign = program(suite / "bridge-of-others", "echo ours")

    assert not is_ours(theirs)
    assert not is_ours(f"{suite}/host-local")
    assert not is_ours(foreign)


def test_a_program_that_was_replaced_since_it_started_has_no_suite_to_call(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What /proc/self/exe says of it; its delegates are executed."""
    monkeypatch.setattr(sys, "argv", [f"{suite}/ptp (deleted)"])

    assert not is_ours(f"{suite}/host-local")
