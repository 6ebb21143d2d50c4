"""An interface plugin and its IPAM program, be it executed or called in-process."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cni.versions import SUPPORTED
from tests import lab, snapshot
from tests.conformance import streams
from tests.conformance.confs import NETNS, conf, some
from tests.runtime.doubles import Doubles

pytestmark = pytest.mark.usefixtures("pod")
LEASE = {"ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1"}], "routes": [{"dst": "::/0"}]}
EXECUTED = """#!/bin/sh
exec {program} "$@"
"""
BLOCKED = """#!/bin/sh
echo $CNI_COMMAND >> {home}/calls
[ $CNI_COMMAND = DEL ] || read line < {home}/pipe
"""


@pytest.fixture
def doubles(tmp_path: Path) -> Doubles:
    """Return an IPAM program called `fixed` that gives one address."""
    doubles = Doubles(tmp_path / "doubles")
    doubles.program("fixed", LEASE)
    return doubles


def network(version: str = "1.1.0", **keys: Any) -> Any:
    """Return a ptp network that asks `fixed` for its address."""
    return conf("ptp", version, ipam={"type": "fixed", "pool": [1]}, dns=None, **keys)


def call(suite: lab.Suite, doubles: Doubles, verb: str, given: Any, **more: str) -> lab.Reply:
    """Call ptp, with the doubles last in CNI_PATH."""
    path = f"/nowhere::{suite.bin_dir}:{doubles.bin_dir}"
    return suite.call("ptp", verb, given, **{"netns": NETNS, "path": path} | more)


def test_every_verb_reaches_the_delegate_with_all_that_we_got(
    suite: lab.Suite, doubles: Doubles
) -> None:
    given = network()
    result = call(suite, doubles, "ADD", given, args="A=1;B=2").ok().json
    asked = {
        "ADD": given,
        "CHECK": given | {"prevResult": result},
        "STATUS": given,
        "GC": given | {"cni.dev/valid-attachments": []},
        "DEL": given | {"prevResult": result},
    }
    for verb in ("CHECK", "STATUS", "GC", "DEL"):
        call(suite, doubles, verb, asked[verb], args="A=1;B=2").ok()

    assert [(one.verb, one.stdin) for one in doubles.calls] == list(asked.items())
    for one in doubles.calls:
        path = f"/nowhere::{suite.bin_dir}:{doubles.bin_dir}"
        wanted = suite.environment(one.verb, netns=NETNS, args="A=1;B=2", path=path)
        got = {key: value for key, value in one.env.items() if value}
        assert got == wanted


@pytest.mark.parametrize("version", SUPPORTED)
def test_the_delegates_result_may_be_of_any_version_or_say_none(
    suite: lab.Suite, doubles: Doubles, version: str, subtests: pytest.Subtests
) -> None:
    address, gateway = "10.1.2.3/24", "10.1.2.1"
    legacy = {"ip4": {"ip": address, "gateway": gateway}}
    form = legacy if version in SUPPORTED[:2] else LEASE
    said = {"none": form, "its own": form | {"cniVersion": version}}
    for name, result in some(suite, said.items()):
        with subtests.test(name):
            doubles.says("fixed", "ADD", json.dumps(result))

            reply = call(suite, doubles, "ADD", network(version)).ok()

            call(suite, doubles, "DEL", network(version)).ok()
            assert address in reply.stdout
            assert reply.json["cniVersion"] == version


REFUSALS = {
    "a full error": ({"code": 11, "msg": "no", "details": "later"}, 11, "no", "later"),
    "no details": ({"code": 100, "msg": "none left"}, 100, "none left", None),
    "of its own code": ({"code": 4711, "msg": "x" * 300}, 4711, "x" * 300, None),
}


def test_an_error_of_the_delegate_is_ours_and_its_add_is_undone(
    suite: lab.Suite, doubles: Doubles, subtests: pytest.Subtests
) -> None:
    for name, (error, code, msg, details) in REFUSALS.items():
        doubles.says("fixed", "ADD", json.dumps(error))
        (doubles.home / "says" / "fixed.ADD.fails").touch()
        with subtests.test(name), snapshot.unchanged():
            reply = call(suite, doubles, "ADD", network()).failed(code).json

            assert (reply["msg"], reply.get("details")) == (msg, details)
            assert doubles.order[-2:] == [("ADD", "fixed"), ("DEL", "fixed")]


SAYINGS = {  # what it prints on ADD: exit status 0, and 1
    "nothing": (b"", 6, 103),
    "null": (b"null", 7, 103),
    "no JSON": (b"leased 10.1.2.3\n", 6, 103),
    "a list": (b"[]", 6, 103),
    "a result without addresses": (b'{"cniVersion": "1.0.0"}', 7, 103),
    "a result of an unknown version": (b'{"cniVersion": "7.0.0", "ips": []}', 1, 103),
    "an address that is none": (b'{"ips": [{"address": "10.1.2"}]}', 6, 103),
    "an address without gateway": (b'{"ips": [{"address": "10.1.2.3/24"}]}', 7, 103),
    "an error with a code in words": (b'{"code": "busy", "msg": "no"}', 7, 103),
    "an error without a message": (b'{"code": 7}', 7, 103),
    "not UTF-8": (b"\xff\xfe", 6, 103),
    "two results": (b"{}{}", 6, 103),
    "a megabyte": (b"x" * (1 << 20), 6, 103),
}


@pytest.mark.parametrize("status", [0, 1], ids=["success", "failure"])
def test_what_a_delegate_ought_not_to_say_is_refused_by_its_name(
    suite: lab.Suite, doubles: Doubles, status: int, subtests: pytest.Subtests
) -> None:
    cases = SAYINGS if suite.imported else dict(list(SAYINGS.items())[status::4])
    with snapshot.unchanged():
        for name, (text, *codes) in cases.items():
            (doubles.home / "says" / "fixed.ADD").write_bytes(text)
            if status:
                (doubles.home / "says" / "fixed.ADD.fails").touch()
            with subtests.test(name):
                reply = call(suite, doubles, "ADD", network()).failed(codes[status])

                assert "fixed" in reply.json["msg"]
                assert "stdin" not in reply.json.get("details", "")
                assert len(reply.stdout) < 2000


def test_what_the_delegate_says_on_stderr_is_passed_on(suite: lab.Suite, doubles: Doubles) -> None:
    program = doubles.bin_dir / "fixed"
    program.write_text("#!/bin/sh\necho a warning >&2\nexit 3\n")

    reply = call(suite, doubles, "STATUS", network()).failed(103)

    assert reply.stderr == "a warning\n"
    assert "fixed: exit status 3" in reply.json["msg"]


def test_the_first_directory_that_has_the_program_wins(
    suite: lab.Suite, doubles: Doubles, tmp_path: Path
) -> None:
    others = Doubles(tmp_path / "others")
    others.program("fixed")
    (tmp_path / "folder" / "fixed").mkdir(parents=True)  # a directory is no program
    path = f"{tmp_path}/folder:{others.bin_dir}"

    call(suite, doubles, "STATUS", network(), path=f"{path}:{doubles.bin_dir}").ok()

    assert (len(others.calls), len(doubles.calls)) == (1, 0)


def test_a_program_that_cannot_be_executed_is_an_io_failure(
    suite: lab.Suite, doubles: Doubles, subtests: pytest.Subtests
) -> None:
    program = doubles.bin_dir / "fixed"
    program.chmod(0o644)
    with subtests.test("not executable"):
        assert "Permission denied" in call(suite, doubles, "STATUS", network()).failed(5).stdout
    program.chmod(0o755)
    for name, text in {"no program": "hello", "empty": "", "lost": "#!/no/such/shell\n"}.items():
        program.write_text(text)
        with subtests.test(name):
            reply = call(suite, doubles, "STATUS", network()).failed(5)

            assert str(program) in reply.json["msg"]


def test_a_delegate_runs_in_the_environment_that_the_runtime_gave_us(
    suite: lab.Suite, doubles: Doubles, tmp_path: Path
) -> None:
    program = doubles.bin_dir / "fixed"
    program.write_text(f"#!/bin/sh\nexec /usr/bin/env > {tmp_path}/env\n")
    path = f"{suite.bin_dir}:{doubles.bin_dir}"
    given = suite.environment("STATUS", path=path) | {
        "TRACEPARENT": "00-1-2-01",
        "LD_LIBRARY_PATH": "/nowhere",
    }
    suite.invoke("ptp", given, json.dumps(network()).encode()).ok()

    lines = (tmp_path / "env").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    added = {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "CNI_ARGS", "CNI_NETNS"}
    assert {key: value for key, value in seen.items() if key not in added} == given


def test_in_process_and_executed_say_the_same(
    suite: lab.Suite, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    other = tmp_path / "host-local"
    other.write_text(EXECUTED.format(program=suite.bin_dir / "host-local"))
    other.chmod(0o755)
    paths = (str(suite.bin_dir), f"{tmp_path}:{suite.bin_dir}")
    given = conf("ptp")
    full = conf("ptp") | {"ipam": given["ipam"] | {"ranges": [[{"subnet": "10.9.0.0/31"}]]}}
    asked = {
        "ADD": given,
        "ADD again": given,
        "CHECK": given,
        "STATUS": given,
        "STATUS of bad ranges": full,
        "GC": given | {"cni.dev/valid-attachments": [{"containerID": "pod-1", "ifname": "eth0"}]},
        "DEL": given,
        "CHECK of nothing": given,
        "ADD with bad ranges": full,
        "ADD with unknown arguments": given,
    }
    replies = []
    for path in paths:
        (tmp_path / "leases").mkdir(exist_ok=True)
        lab.run("rm -rf /run/leases")
        for name, values in asked.items():
            args = "K=V" if "arguments" in name else ""
            more = {"netns": NETNS, "path": path, "args": args}
            replies.append(suite.call("ptp", name.split()[0], values, **more))

    half = len(asked)
    for name, inside, outside in zip(asked, replies[:half], replies[half:], strict=True):
        with subtests.test(name):
            assert (outside.exit, outside.stdout) == (inside.exit, inside.stdout)


def test_a_signal_to_end_is_an_error_and_what_was_done_is_undone(
    suite: lab.Suite, tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text(BLOCKED.format(home=tmp_path))
    (tmp_path / "slow").chmod(0o755)
    os.mkfifo(tmp_path / "pipe")
    conf_file = tmp_path / "conf"
    conf_file.write_text(json.dumps(conf("ptp", ipam={"type": "slow"})))
    environment = suite.environment("ADD", netns=NETNS, path=str(tmp_path))
    with (
        snapshot.unchanged(),
        conf_file.open() as stdin,
        subprocess.Popen(
            [suite.bin_dir / "ptp"], env=environment, stdin=stdin, stdout=subprocess.PIPE
        ) as process,
    ):
        streams.wait_for((tmp_path / "calls").exists)
        streams.wait_for(lambda: lab.handles(process.pid, signal.SIGTERM))  # whoever serves it
        process.send_signal(signal.SIGTERM)
        said = json.loads(process.communicate(timeout=streams.HANG)[0])

    assert process.returncode == 1
    assert (said["code"], said["msg"]) == (999, "stopped by a signal")
    assert (tmp_path / "calls").read_text() == "ADD\nDEL\n"
    with pytest.raises(OSError, match="No such device or address"):  # nobody reads there
        os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)
