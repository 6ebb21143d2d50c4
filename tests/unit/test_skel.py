"""The entry of every program, without a process: environment and stdin in, text and status out."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni.errors import CniError
from cni.programs import PROGRAMS, Program
from cni.request import Request
from cni.skel import STDIN_MAX, read_all, run
from cni.versions import SUPPORTED
from tests import lab
from tests.unit import noop

ENVIRONMENT = {
    "CNI_CONTAINERID": "pod-1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/proc/1/ns/none",
    "CNI_ARGS": "K=V;IgnoreUnknown=1",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
}
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "noop", "some": ["key", {"a": 1}]}


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Put `noop` and `broken` into the table of programs; return what noop is asked."""
    noop.calls.clear()
    # of the kind that does not enter the namespace: these tests make none
    monkeypatch.setitem(PROGRAMS, "noop", Program("tests.unit.noop", "ipam", ""))
    monkeypatch.setitem(PROGRAMS, "broken", Program("tests.no.such.module", "ipam", ""))
    return noop.calls


def call(verb: str, conf: Any = CONF, program: str = "noop", **env: str) -> tuple[str, int]:
    """Run one invocation; `conf` is what stdin holds."""
    text = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    return run(program, ENVIRONMENT | {"CNI_COMMAND": verb} | env, lambda: text)


def unreadable() -> bytes:
    """Be a standard input that must not be read."""
    message = "stdin was read"
    raise AssertionError(message)


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_environment_and_stdin_reach_the_verb_unchanged_and_no_other(
    calls: list[Request], verb: str
) -> None:
    text = b' {"cniVersion": "1.1.0",\n"name": "net", "type": "noop"}\n'

    output, status = call(verb, text)

    (request,) = calls
    assert (request.verb, status) == (verb, 0)
    assert request.stdin == text
    assert request.attachment.network == "net"
    assert request.attachment.container_id == "pod-1"
    assert request.attachment.ifname == "eth0"
    assert request.netns == "/proc/1/ns/none"
    assert request.args == ENVIRONMENT["CNI_ARGS"]
    assert request.path == ENVIRONMENT["CNI_PATH"]
    assert bool(output) == (verb == "ADD")


@pytest.mark.parametrize("version", SUPPORTED[2:])
def test_the_result_is_written_in_the_version_of_the_configuration(version: str) -> None:
    output, status = call("ADD", CONF | {"cniVersion": version})

    assert (json.loads(output)["cniVersion"], status) == (version, 0)


def test_without_a_version_the_configuration_is_of_0_1_0(calls: list[Request]) -> None:
    for conf in ({"name": "net"}, {"name": "net", "cniVersion": ""}):
        output, status = call("ADD", conf)

        assert status == 1  # noop gives no address
        assert "CNI version 0.1.0" in json.loads(output)["msg"]
    assert [request.cni_version for request in calls] == ["0.1.0", "0.1.0"]


def test_version_calls_nothing_and_reads_nothing(calls: list[Request]) -> None:
    output, status = run("broken", {"CNI_COMMAND": "VERSION"}, unreadable)

    assert json.loads(output) == {"cniVersion": "1.1.0", "supportedVersions": list(SUPPORTED)}
    assert (output.count("\n"), output[-1], status) == (1, "\n", 0)
    assert calls == []


def test_a_malformed_call_is_refused_before_anything_is_read() -> None:
    for env in ({"CNI_COMMAND": "ADD"}, ENVIRONMENT | {"CNI_COMMAND": "DEL", "CNI_IFNAME": "a/b"}):
        output, status = run("broken", env, unreadable)

        assert (json.loads(output)["code"], status) == (4, 1)


REFUSED: dict[str, tuple[str, Any, int]] = {
    "unknown verb": ("FOO", CONF, 4),
    "malformed JSON": ("ADD", b"{", 6),
    "no object": ("ADD", [], 6),
    "no name": ("ADD", {}, 7),
    "bad name": ("CHECK", CONF | {"name": "a/b"}, 7),
    "unknown version": ("ADD", CONF | {"cniVersion": "1.2.0"}, 1),
    "CHECK of 0.3.1": ("CHECK", CONF | {"cniVersion": "0.3.1"}, 1),
    "GC of 1.0.0": ("GC", CONF | {"cniVersion": "1.0.0"}, 1),
    "STATUS of 1.0.0": ("STATUS", CONF | {"cniVersion": "1.0.0"}, 1),
    "CHECK of no version": ("CHECK", CONF | {"cniVersion": "x"}, 6),
    "GC of no version": ("GC", CONF | {"cniVersion": "1.0.0.0"}, 6),
}


@pytest.mark.parametrize(("verb", "conf", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_loads_no_program(verb: str, conf: Any, code: int) -> None:
    output, status = call(verb, conf, "broken")

    assert (json.loads(output)["code"], status) == (code, 1)


ERRORS = {
    "refuse": {"code": 11, "msg": "cannot do it now", "details": "wait"},
    "refuse shortly": {"code": 4711, "msg": "no"},
    "kernel": {"code": 104, "msg": "cannot add link eth0: Device or resource busy"},
    "file": {"code": 5, "msg": "[Errno 2] No such file or directory: '/etc/none'"},
    "fault": {"code": 999, "msg": "ZeroDivisionError"},
}


@pytest.mark.parametrize("do", ERRORS)
def test_an_error_of_the_program_has_its_own_code_any_other_that_of_its_kind(do: str) -> None:
    output, status = call("ADD", CONF | {"do": do, "cniVersion": "0.4.0"})

    assert (json.loads(output), status) == ({"cniVersion": "0.4.0"} | ERRORS[do], 1)


def test_a_program_that_cannot_be_loaded_is_an_internal_error() -> None:
    output, status = call("ADD", program="broken")

    assert (json.loads(output)["code"], status) == (999, 1)


# standard input


def pipe(*texts: bytes) -> int:
    """Return the end of a pipe that says `texts` and ends."""
    reader, writer = os.pipe()
    for text in texts:
        os.write(writer, text)
    os.close(writer)
    return reader


def read_from(fd: int, read: Callable[[int], bytes] = read_all) -> bytes:
    try:
        return read(fd)
    finally:
        os.close(fd)


def test_input_is_read_to_its_end() -> None:
    assert read_from(pipe()) == b""
    assert read_from(pipe(b"one", b"two")) == b"onetwo"


def test_input_of_the_greatest_length_is_read_and_one_byte_more_is_refused() -> None:
    for more, refused in ((0, False), (1, True)):
        file = os.memfd_create("stdin")
        os.truncate(file, STDIN_MAX + more)
        if refused:
            with pytest.raises(CniError, match="over 4 MiB") as caught:
                read_from(file)
            assert caught.value.code == 5
        else:
            assert len(read_from(file)) == STDIN_MAX


def test_input_that_cannot_be_read_is_an_io_failure() -> None:
    with pytest.raises(CniError, match="stdin: Is a directory") as caught:
        read_from(os.open("/", os.O_RDONLY))

    assert caught.value.code == 5


# the process


def forked(conf: Any) -> lab.Reply:
    """Run noop's ADD as a process would."""
    text = json.dumps(CONF | conf).encode()
    return lab.run_forked(Path("/bin/noop"), ENVIRONMENT | {"CNI_COMMAND": "ADD"}, text)


def test_a_signal_to_end_runs_the_undo_last_first_and_is_an_error(tmp_path: Path) -> None:
    reply = forked({"do": "stopped", "file": f"{tmp_path}/log"}).failed(999)

    assert reply.json["msg"] == "stopped by a signal"
    assert (tmp_path / "log").read_text() == "second undone\nfirst undone\n"


def test_text_is_utf_8_and_half_a_character_harms_nothing() -> None:
    reply = forked({}).ok()

    assert '"domain": "é?"' in reply.stdout
    assert reply.stderr == ""
