"""Of several faults the one that the reference library tells is told, with its code.

Each case has the fault that it is named after and every one below it.
"""

import json
from typing import Any

import pytest

from cni.programs import PROGRAMS
from tests import lab, snapshot
from tests.conformance.confs import NETNS, conf, in_turn, on_programs, some

pytestmark = pytest.mark.usefixtures("pod")
BAD: dict[str, Any] = {"cniVersion": "9.9.9", "name": "../net", "ipam": 5, "prevResult": 5}
GONE = "/run/netns/gone"
LADDER = {  # name: (code, in the message, environment, stdin)
    "malformed variable": (4, "containerID", {"CNI_CONTAINERID": "../x", "CNI_PATH": ""}, b"["),
    "missing variable": (4, "[CNI_PATH]", {"CNI_PATH": ""}, b"["),
    "stdin too long": (5, "over 4 MiB", {}, b"[" * (5 << 20)),
    "malformed JSON": (6, "decode", {"CNI_COMMAND": "FOO"}, b"["),
    "network name": (7, "network name", {"CNI_COMMAND": "FOO"}, BAD),
    "unknown verb": (4, "FOO", {"CNI_COMMAND": "FOO"}, BAD | {"name": "net"}),
    "version": (1, "incompatible", {"CNI_NETNS": GONE}, BAD | {"name": "net"}),
    "namespace": (
        4,
        "CNI_NETNS",
        {"CNI_NETNS": GONE},
        BAD | {"name": "net", "cniVersion": "1.0.0"},
    ),
}


def test_the_first_fault_wins(suite: lab.Suite, subtests: pytest.Subtests) -> None:
    with snapshot.unchanged():
        for program, name in on_programs(suite, LADDER):
            code, words, variables, given = LADDER[name]
            stdin = given if isinstance(given, bytes) else json.dumps(given).encode()
            environment = suite.environment("ADD", netns=NETNS) | variables
            if name == "namespace" and PROGRAMS[program].kind == "ipam":
                continue  # never enters it
            with subtests.test(name, program=program):
                reply = suite.invoke(program, environment, stdin).failed(code)

                assert words in reply.json["msg"]


VERSIONS = {  # cniVersion: codes of ADD and DEL, of CHECK, of GC and STATUS
    "0.3.2": (1, 1, 1),
    "0.5.0": (1, 1, 1),
    "1.1": (1, 1, 1),  # is 1.1.0 when compared, but no version of the SPEC
    "1": (1, 1, 1),
    "1.2.0": (1, 1, 1),
    "999999999999999999999.0.0": (1, 1, 1),
    "1.0.0.0": (1, 6, 6),
    "v1.0.0": (1, 6, 6),
    "1.0.0-rc1": (1, 6, 6),
    "1..0": (1, 6, 6),
    "-1.0.0": (1, 6, 6),
    " 1.0.0": (1, 6, 6),
    "1.0.0\n": (1, 6, 6),
    "\u0661.0.0": (1, 6, 6),  # a digit, but not of ASCII
    "\u0000": (1, 6, 6),
    "9" * (64 << 10): (1, 6, 6),
    "9." * (32 << 10): (1, 6, 6),
}


def test_a_version_that_the_spec_does_not_know_is_refused(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    verbs = ("ADD", "CHECK", "GC", "DEL", "STATUS")
    with snapshot.unchanged():
        for number, (program, version) in enumerate(in_turn(some(suite, VERSIONS))):
            given = conf(program) | {"cniVersion": version}
            with subtests.test(program=program, version=version[:20]):
                for verb in verbs if suite.imported else verbs[number % len(verbs) :][:1]:
                    code = VERSIONS[version][{"CHECK": 1, "GC": 2, "STATUS": 2}.get(verb, 0)]

                    reply = suite.call(program, verb, given, netns=NETNS).failed(code)

                    assert len(reply.stdout) < 2000
                    assert reply.json["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_version_is_named_beside_the_known_ones(suite: lab.Suite, program: str) -> None:
    reply = suite.call(program, "ADD", conf(program, "9.8.7"), netns=NETNS).failed(1).json

    known = '"0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"'
    assert reply["msg"] == "incompatible CNI versions"
    assert reply["details"] == f'config is "9.8.7", plugin supports [{known}]'


NAMES = {
    "missing": (None, "missing network name"),
    "empty": ("", "missing network name"),
    "parent directory": ("../../etc", "invalid characters found in network name"),
    "two dots": ("..", "invalid characters found in network name"),
    "absolute": ("/etc", "invalid characters found in network name"),
    "hidden": (".net", "invalid characters found in network name"),
    "NUL": ("net\0", "invalid characters found in network name"),
    "newline": ("net\n", "invalid characters found in network name"),
    "unicode white space": ("net\u2003", "invalid characters found in network name"),
    "half a surrogate pair": ("\ud800", "invalid characters found in network name"),
    "slash in the middle": ("a/../../b", "invalid characters found in network name"),
    "256 bytes": ("n" * 256, "network name is too long"),
    "64 KiB": ("n" * (64 << 10), "network name is too long"),
}


def test_a_hostile_network_name_is_refused(suite: lab.Suite, subtests: pytest.Subtests) -> None:
    with snapshot.unchanged():
        for program, name in in_turn(some(suite, NAMES)):
            value, msg = NAMES[name]
            with subtests.test(name, program=program):
                for verb in ("ADD", "DEL", "GC") if suite.imported else ("DEL",):
                    given = conf(program) | {"name": value, "cni.dev/valid-attachments": []}

                    reply = suite.call(program, verb, given, netns=NETNS).failed(7)

                    assert reply.json["msg"].startswith(msg)
                    assert len(reply.stdout) < 2000


@pytest.mark.parametrize("key", ["name", "cniVersion"])
def test_what_is_no_string_cannot_be_decoded(
    suite: lab.Suite, key: str, subtests: pytest.Subtests
) -> None:
    with snapshot.unchanged():
        for program, value in on_programs(suite, (5, ["net"], {"a": 1}, True)):
            with subtests.test(program=program, value=value):
                given = conf(program) | {key: value}

                assert key in suite.call(program, "ADD", given, netns=NETNS).failed(6).json["msg"]


def test_an_error_is_one_json_document_of_the_spec(suite: lab.Suite) -> None:
    reply = suite.call("ptp", "CHECK", conf("ptp", "0.3.1"), netns=NETNS).failed(1)

    assert reply.stderr == ""
    assert reply.stdout == (
        "{\n"
        '    "cniVersion": "0.3.1",\n'
        '    "code": 1,\n'
        '    "msg": "config version does not allow CHECK",\n'
        '    "details": "config is 0.3.1, CHECK came with 0.4.0"\n'
        "}"
    )


def test_an_error_without_details_has_no_such_key(suite: lab.Suite) -> None:
    reply = suite.invoke("ptp", {"CNI_COMMAND": "STATUS"}, b"").failed(4)

    assert list(reply.json) == ["cniVersion", "code", "msg"]
