"""Every program answers every verb of every version of the SPEC, or says why not."""

import json

import pytest

from cni.programs import PROGRAMS
from cni.versions import SUPPORTED, at_least
from tests import lab, snapshot
from tests.conformance import golden
from tests.conformance.confs import NETNS, conf

EVERY_PROGRAM = pytest.mark.parametrize("program", PROGRAMS)
SINCE = {"ADD": "0.1.0", "DEL": "0.1.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
pytestmark = pytest.mark.usefixtures("pod")


@EVERY_PROGRAM
def test_add_prints_its_result_in_the_version_of_the_configuration_and_del_takes_it_back(
    suite: lab.Suite, program: str, subtests: pytest.Subtests
) -> None:
    for version in SUPPORTED:
        with subtests.test(version=version):
            given = conf(program, version)

            reply = suite.call(program, "ADD", given, netns=NETNS).ok()

            assert reply.stdout == golden.text(program, version)
            assert reply.stderr == ""
            assert suite.call(program, "DEL", given, netns=NETNS).ok().stdout == ""


@EVERY_PROGRAM
def test_check_gc_and_status_are_there_from_their_version_on(
    suite: lab.Suite, program: str, subtests: pytest.Subtests
) -> None:
    given = conf(program)
    result = suite.call(program, "ADD", given, netns=NETNS).ok().json
    state = snapshot.take()

    for version in SUPPORTED if suite.imported else SUPPORTED[3:]:
        for verb in ("CHECK", "GC", "STATUS"):
            with subtests.test(version=version, verb=verb):
                asked = given | {"cniVersion": version}
                asked |= {"prevResult": result} if verb == "CHECK" else {}

                reply = suite.call(program, verb, asked, netns=NETNS)

                if at_least(version, SINCE[verb]):
                    assert (reply.ok().stdout, reply.stderr) == ("", "")
                else:
                    reply.failed(1)
                    assert reply.json["msg"] == f"config version does not allow {verb}"
    assert snapshot.changes(state) == {}


@EVERY_PROGRAM
def test_a_configuration_without_a_version_is_of_0_1_0(suite: lab.Suite, program: str) -> None:
    given = conf(program, "")

    reply = suite.call(program, "ADD", given, netns=NETNS).ok()

    assert reply.stdout == golden.text(program, "0.1.0")
    suite.call(program, "CHECK", given | {"cniVersion": ""}, netns=NETNS).failed(1)
    suite.call(program, "DEL", given | {"cniVersion": None}, netns=NETNS).ok()


@EVERY_PROGRAM
def test_version_lists_every_version_of_the_spec(suite: lab.Suite, program: str) -> None:
    reply = suite.call(program, "VERSION", b"").ok()

    wanted = {"cniVersion": "1.1.0", "supportedVersions": list(SUPPORTED)}
    assert reply.stdout == f"{json.dumps(wanted)}\n"
    assert reply.stderr == ""
