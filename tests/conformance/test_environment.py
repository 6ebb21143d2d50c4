"""The variables of one invocation: what is missing or malformed is refused, and nothing is done."""

import json
import os

import pytest

from cni.programs import PROGRAMS
from tests import lab, snapshot
from tests.conformance.confs import NETNS, conf, in_turn, on_programs, some

REQUIRED = {  # facts of the reference library: CNI_PATH too, though the SPEC calls it optional
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
LONG = "a" * (64 << 10)
NOT_UTF8 = os.fsdecode(b"pod\xff")
EVERY_PROGRAM = pytest.mark.parametrize("program", PROGRAMS)
pytestmark = pytest.mark.usefixtures("pod")


def invoke(suite: lab.Suite, verb: str, program: str = "ptp", **variables: str) -> lab.Reply:
    """Run `program`; `variables` are added, and empty ones are set to nothing."""
    environment = suite.environment(verb, netns=NETNS) | variables
    stdin = json.dumps(conf(program)).encode()
    return suite.invoke(program, environment, stdin)


def missing(*names: str) -> str:
    return f"required env variables [{','.join(names)}] missing"


def test_each_required_variable_is_missed_by_name(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    cases = [(verb, name) for verb, names in REQUIRED.items() for name in names]
    with snapshot.unchanged():
        for program, (verb, name) in on_programs(suite, cases):
            with subtests.test(program=program, verb=verb, missing=name):
                reply = invoke(suite, verb, program, **{name: ""}).failed(4)

                assert reply.json["msg"] == missing(name)


def test_all_missing_variables_are_reported_together(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    with snapshot.unchanged():
        for program, verb in on_programs(suite, ("ADD", "DEL", "CHECK", "GC", "STATUS")):
            with subtests.test(program=program, verb=verb):
                reply = suite.invoke(program, {"CNI_COMMAND": verb}, b"{}").failed(4)

                assert reply.json["msg"] == missing(*REQUIRED[verb])


def test_what_a_verb_does_not_require_may_be_missing(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    for program, verb in on_programs(suite, ("GC", "VERSION", "DEL", "STATUS")):
        with subtests.test(program=program, verb=verb):
            environment = suite.environment(verb, netns=NETNS)
            needed = {name: environment[name] for name in ("CNI_COMMAND", *REQUIRED[verb])}

            suite.invoke(program, needed, json.dumps(conf(program)).encode()).ok()


CONTAINER_IDS = {
    "parent directory": "../../etc/passwd",
    "two dots": "..",
    "hidden": ".pod",
    "dash first": "-pod",
    "absolute": "/etc/passwd",
    "path": "pod/1",
    "newline": "pod\n1",
    "newline at the end": "pod-1\n",
    "space": "pod 1",
    "unicode letter": "pöd",
    "unicode digit": "pod١",
    "unicode white space": "pod\u2003",
    "shell": "pod;reboot",
    "percent": "pod%2f",
    "not UTF-8": NOT_UTF8,
    "64 KiB": LONG,
}
IFNAMES = {
    "16 bytes": ("abcdefghijklmnop", "interface name is too long"),
    "16 bytes of 8 letters": ("é" * 8, "interface name is too long"),
    "64 KiB": (LONG, "interface name is too long"),
    "dot": (".", "interface name is . or .."),
    "two dots": ("..", "interface name is . or .."),
    "path": ("../eth0", "interface name contains / or : or whitespace characters"),
    "colon": ("eth0:1", "interface name contains / or : or whitespace characters"),
    "space": ("eth 0", "interface name contains / or : or whitespace characters"),
    "tab": ("eth\t0", "interface name contains / or : or whitespace characters"),
    "newline at the end": ("eth0\n", "interface name contains / or : or whitespace characters"),
    "em space": ("eth\u2003", "interface name contains / or : or whitespace characters"),
    "no-break space": ("eth\u00a0", "interface name contains / or : or whitespace characters"),
    "next line": ("eth\u0085", "interface name contains / or : or whitespace characters"),
}


def test_a_hostile_container_id_is_refused(suite: lab.Suite, subtests: pytest.Subtests) -> None:
    with snapshot.unchanged():
        for program, name in in_turn(CONTAINER_IDS):
            with subtests.test(name, program=program):
                for verb in ("ADD", "DEL") if suite.imported else ("DEL",):
                    reply = invoke(suite, verb, program, CNI_CONTAINERID=CONTAINER_IDS[name])

                    assert "containerID" in reply.failed(4).json["msg"]
                    assert len(reply.stdout) < 2000


def test_a_hostile_ifname_is_refused(suite: lab.Suite, subtests: pytest.Subtests) -> None:
    with snapshot.unchanged():
        for program, name in in_turn(IFNAMES):
            value, msg = IFNAMES[name]
            with subtests.test(name, program=program):
                for verb in ("ADD", "DEL") if suite.imported else ("ADD",):
                    reply = invoke(suite, verb, program, CNI_IFNAME=value).failed(4)

                    assert reply.json["msg"] == msg
                    assert len(reply.stdout) < 2000


def test_names_as_long_as_a_file_name_may_be_are_used(suite: lab.Suite) -> None:
    given = {"netns": NETNS, "containerid": "a" * 255, "ifname": "abcdefghijklmno"}
    for program in ("host-local", "ptp", "portmap"):
        asked = conf(program, name="n" * 255)
        asked["ipam"] = asked.get("ipam", {}) | {"dataDir": f"/run/{program}"}

        suite.call(program, "ADD", asked, **given).ok()
        suite.call(program, "DEL", asked, **given).ok()


def test_malformed_beats_missing(suite: lab.Suite) -> None:
    reply = invoke(suite, "ADD", CNI_CONTAINERID="", CNI_IFNAME="eth/0", CNI_NETNS="").failed(4)

    assert "contains / or :" in reply.json["msg"]


def test_verbs_without_an_attachment_do_not_look_at_its_name(suite: lab.Suite) -> None:
    hostile = {"CNI_CONTAINERID": "../x", "CNI_IFNAME": "eth/0", "CNI_NETNS": "/nowhere"}
    for program, verb in on_programs(suite, ("GC", "STATUS", "VERSION", "STATUS")):
        invoke(suite, verb, program, **hostile).ok()


VERBS: dict[str, str] = {
    "lower case": "add",
    "unknown": "FOO",
    "white space": " ",
    "with a newline": "ADD\n",
    "method": "delete",
    "64 KiB": LONG,
}


def test_an_unknown_verb_is_refused_and_the_known_ones_are_told(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    with snapshot.unchanged():
        for program, name in in_turn(VERBS):
            with subtests.test(name, program=program):
                reply = invoke(suite, VERBS[name], program).failed(4)

                assert reply.json["msg"] == f"unknown CNI_COMMAND: {VERBS[name][:50]}"
                assert reply.json["details"] == "known: ADD, DEL, CHECK, GC, STATUS, VERSION"


@EVERY_PROGRAM
def test_without_a_verb_a_program_tells_what_it_is(suite: lab.Suite, program: str) -> None:
    environments: tuple[dict[str, str], ...] = ({}, {"CNI_COMMAND": ""})
    for environment in environments:
        reply = suite.invoke(program, environment, b"").ok()

        first, second = reply.stderr.splitlines()
        assert reply.stdout == ""
        assert first.startswith(f"CNI {program} plugin v")
        versions = "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
        assert second == f"CNI protocol versions supported: {versions}"


ARGS: dict[str, str] = {
    "no value": "IP",
    "two equal signs": "IP=10.1.2.3=4",
    "semicolon at the end": "IP=10.1.2.3;",
    "unknown key": "K8S_POD_NAME=web",
    "unknown key, said not to ignore": "IgnoreUnknown=false;K8S_POD_NAME=web",
    "no truth": "IgnoreUnknown=perhaps;IP=10.1.2.3",
    "no address": "IP=../../etc",
    "newline": "IP=10.1.2.3\n",
    "not UTF-8": f"IP={NOT_UTF8}",
    "64 KiB": f"IP={LONG}",
    "64 KiB of pairs": "IP=10.1.2.3;" * (64 << 10 >> 4) + "x",
}


def test_arguments_that_cannot_be_read_are_refused(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    with snapshot.unchanged():
        for name, args in ARGS.items():
            with subtests.test(name):
                reply = invoke(suite, "ADD", "host-local", CNI_ARGS=args).failed(4)

                assert "CNI_ARGS" in reply.json["msg"]
                assert len(reply.stdout) < 2000


def test_del_releases_whatever_the_arguments_say(
    suite: lab.Suite, subtests: pytest.Subtests
) -> None:
    for number, name in enumerate(some(suite, ARGS)):
        with subtests.test(name):
            program = ("host-local", "ptp")[number % 2]
            suite.call(program, "ADD", conf(program), netns=NETNS).ok()

            invoke(suite, "DEL", program, CNI_ARGS=ARGS[name]).ok()

            leases = set(os.listdir(conf(program)["ipam"]["dataDir"] + "/net"))
            assert leases <= {"lock", "last_reserved_ip.0", "last_reserved_ip.1"}
