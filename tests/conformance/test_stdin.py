"""Standard input: what is no configuration is refused, whatever it is, and nothing is done."""

import json
import os

import pytest

from cni.programs import PROGRAMS
from tests import lab, snapshot
from tests.conformance import streams
from tests.conformance.confs import NETNS, conf, in_turn

pytestmark = pytest.mark.usefixtures("pod")
MIB = 1 << 20
DEEP = 100_000
NOT_JSON = {
    "nothing": b"",
    "white space": b" \n\t",
    "cut off": b'{"cniVersion": "1.0.0", "name": "net"',
    "two documents": b'{"name": "net"} {"name": "net"}',
    "a comma too many": b'{"name": "net",}',
    "single quotes": b"{'name': 'net'}",
    "a comment": b'{"name": "net"} // ours',
    "no JSON": b"name: net\n",
    "NUL after the end": b'{"name": "net"}\0',
    "raw NUL in a string": b'{"name": "net", "a": "\0"}',
    "raw newline in a string": b'{"name": "net", "a": "\n"}',
    "not UTF-8": b'{"name": "net", "a": "\xff\xfe"}',
    "half a character": b'{"name": "net", "a": "\xe2\x82"}',
    "Not a Number": b'{"name": "net", "mtu": NaN}',
    "infinity": b'{"name": "net", "mtu": -Infinity}',
    "a number of 5000 digits": b'{"name": "net", "mtu": 1' + b"0" * 5000 + b"}",
    "deep lists": b"[" * DEEP,
    "deep lists that end": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "deep in a key nobody reads": b'{"name": "net", "a": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "byte order mark": '\ufeff{"name": "net"}'.encode(),
    "UTF-16": '{"name": "net"}'.encode("utf-16-be"),
    "random bytes": bytes(range(256)) * 16,
}
NO_OBJECT = {
    "null": b"null",
    "a list": b'[{"name": "net"}]',
    "a string": b'"net"',
    "a number": b"17",
    "a truth": b"true",
}
VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")


def refused(suite: lab.Suite, program: str, verb: str, stdin: bytes, code: int) -> lab.Reply:
    """Call `program` with that standard input; it must refuse in few words."""
    reply = suite.call(program, verb, stdin, netns=NETNS).failed(code)
    assert reply.stderr == ""
    assert len(reply.stdout) < 2000
    return reply


@pytest.mark.parametrize("kind", [NOT_JSON, NO_OBJECT], ids=["malformed", "no object"])
def test_what_is_no_json_object_is_refused(
    suite: lab.Suite, kind: dict[str, bytes], subtests: pytest.Subtests
) -> None:
    with snapshot.unchanged():
        for number, (program, name) in enumerate(in_turn(kind)):
            verb = VERBS[number % len(VERBS)]
            with subtests.test(name, program=program, verb=verb):
                reply = refused(suite, program, verb, kind[name], 6)

                assert reply.json["msg"].startswith("cannot decode the network configuration")
                assert reply.json["details"] == "it must be one JSON object"


def test_what_go_writes_is_read(suite: lab.Suite, subtests: pytest.Subtests) -> None:
    """libcni escapes &, < and >, runtimes change the case of keys, numbers come as floats."""
    texts = {
        "escapes": json.dumps(conf("loopback") | {"x": "<&>"}).replace("&", "\\u0026"),
        "other case": json.dumps({"CNIVERSION": "1.1.0", "Name": "net", "TYPE": "loopback"}),
        "the key as written wins": json.dumps(conf("loopback") | {"Name": "../", "CniVersion": 9}),
        "surrogate pair": json.dumps(conf("loopback") | {"x": "\U0001f433"}),
        "unknown keys": json.dumps(conf("loopback") | {"x": {"y": [1, 2.5, None, {}]}}),
        "white space around": f"\r\n\t {json.dumps(conf('loopback'))} \r\n",
        "3 MiB": json.dumps(conf("loopback") | {"x": "x" * (3 * MIB)}),
    }
    for name, text in texts.items():
        with subtests.test(name):
            suite.call("loopback", "ADD", text.encode(), netns=NETNS).ok()


@pytest.mark.parametrize("program", PROGRAMS)
def test_ten_megabytes_are_refused(suite: lab.Suite, program: str) -> None:
    stdin = json.dumps(conf(program) | {"x": "x" * (10 * MIB)}).encode()

    with snapshot.unchanged():
        reply = refused(suite, program, "ADD", stdin, 5)

    assert "over 4 MiB" in reply.json["msg"]


@pytest.mark.parametrize("text", [b"[", b" ", b'{"a":', b"\0"], ids=["[", "space", "{", "NUL"])
def test_endless_input_is_refused(suite: lab.Suite, text: bytes) -> None:
    environment = suite.environment("ADD", netns=NETNS)

    with snapshot.unchanged(), streams.endless_pipe(text) as stdin:
        reply = streams.run(suite, "ptp", environment, stdin=stdin).failed(5)

    assert "over 4 MiB" in reply.json["msg"]


def test_input_that_cannot_be_read_is_refused(suite: lab.Suite) -> None:
    write_only = os.open("/dev/null", os.O_WRONLY)
    environment = suite.environment("ADD", netns=NETNS)

    with snapshot.unchanged():
        reply = streams.run(suite, "ptp", environment, stdin=write_only).failed(5)

    os.close(write_only)
    assert "stdin: Bad file descriptor" in reply.json["msg"]


def test_closed_input_is_refused(suite: lab.Suite) -> None:
    environment = suite.environment("ADD", netns=NETNS)

    with snapshot.unchanged():
        reply = streams.run(suite, "ptp", environment, preexec_fn=lambda: os.close(0))

    assert reply.exit == 1
    assert reply.json["code"] in (5, 6)


@pytest.mark.parametrize("program", PROGRAMS)
def test_version_does_not_read_its_input(suite: lab.Suite, program: str) -> None:
    with streams.silent_pipe() as stdin:
        silent = streams.run(suite, program, {"CNI_COMMAND": "VERSION"}, stdin=stdin).ok()
    closed = streams.run(
        suite, program, {"CNI_COMMAND": "VERSION"}, preexec_fn=lambda: os.close(0)
    ).ok()

    assert silent.json["cniVersion"] == closed.json["cniVersion"] == "1.1.0"


def test_no_verb_and_a_malformed_call_do_not_read_the_input(suite: lab.Suite) -> None:
    with streams.silent_pipe() as stdin:
        streams.run(suite, "ptp", {}, stdin=stdin).ok()
        streams.run(suite, "ptp", {"CNI_COMMAND": "ADD"}, stdin=stdin).failed(4)


def test_a_result_that_cannot_be_written_is_a_failure(suite: lab.Suite) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    stdin = os.memfd_create("stdin")
    os.write(stdin, json.dumps(conf("loopback")).encode())
    os.lseek(stdin, 0, os.SEEK_SET)

    environment = suite.environment("ADD", netns=NETNS)
    reply = streams.run(suite, "loopback", environment, stdin=stdin, stdout=full)

    assert reply.exit != 0
    os.close(stdin)
    os.close(full)
