"""A worker is to a program what an exec would have been."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests import lab
from tests.agent.callers import SOCKET, alive
from tests.agent.probe import CONF, PLACE, Probe

Warm = tuple[Probe, int]


def test_a_call_is_served_by_a_child_of_the_agent(warm: Warm) -> None:
    probe, zygote = warm

    seen = probe.sees()

    assert Path(seen["parent"].strip()).name == "pycnid"
    assert seen["grandparent"].split() == ["PPid:", str(zygote)]


def test_a_delegate_sees_what_it_would_see_without_the_agent(warm: Warm) -> None:
    probe, _ = warm
    with_agent = probe.sees()
    lab.run(f"umount {SOCKET.parent}")

    without = probe.sees()

    own = {"parent", "parent-fds", "grandparent"}
    assert Path(without["parent"].strip()).name == "ptp"
    assert {key: with_agent[key] for key in with_agent.keys() - own} == {
        key: without[key] for key in without.keys() - own
    }


def test_the_environment_is_the_callers_and_nothing_else(warm: Warm) -> None:
    probe, _ = warm
    strange = {"EMPTY": "", "EQUALS": "a=b", "LETTERS": "tschüß", "BYTES": os.fsdecode(b"\xff\xfe")}

    lines = probe.sees(environ=strange)["environ"].splitlines()

    names = {line.partition("=")[0] for line in lines}
    assert {f"{name}={value}" for name, value in strange.items()} <= set(lines)
    assert {name for name in names if not name.startswith("CNI_")} - strange.keys() == {
        "PATH",
        "PROBE_SEES",
    }


def test_directory_and_umask_are_the_callers(warm: Warm) -> None:
    probe, _ = warm
    there = Path("/run/there")
    there.mkdir()

    seen = probe.sees(cwd=there, umask=0o137)

    assert seen["cwd"].strip() == str(there)
    assert int(seen["umask"], 8) == 0o137


def test_the_network_namespace_is_the_callers(warm: Warm) -> None:
    probe, _ = warm
    other = os.stat(lab.add_netns("other")).st_ino

    seen = probe.sees(preexec_fn=lambda: _enter("/run/netns/other"))

    assert seen["net"].strip() == f"net:[{other}]"


def _enter(path: str) -> None:
    lab._call("setns", os.open(path, os.O_RDONLY), lab.CLONE_NEWNET)


def test_the_mount_namespace_is_the_callers(warm: Warm) -> None:
    probe, _ = warm
    program = (PLACE / "probe").read_bytes()
    (PLACE / "probe").unlink()

    def see_it() -> None:
        lab._call("unshare", lab.CLONE_NEWNS)
        lab.mount("tmpfs", "/var/lib", "tmpfs")
        Path("/var/lib/probe").write_bytes(program)
        Path("/var/lib/probe").chmod(0o755)

    seen = probe.sees(preexec_fn=see_it, environ={"CNI_PATH": f"/var/lib:{probe.bin_dir}"})

    assert seen["mnt"].strip() != os.readlink("/proc/thread-self/ns/mnt")
    assert Path(seen["parent"].strip()).name == "pycnid"


def test_the_root_directory_is_the_callers_even_when_it_is_the_same_twice(warm: Warm) -> None:
    """The jail's root is the very directory that the agent has as root; what is in it is not."""
    probe, _ = warm
    jail = Path("/run/jail")
    jail.mkdir()
    lab.mount("/", str(jail), flags=lab.MS_BIND | lab.MS_REC)
    lab.mount("tmpfs", f"{jail}/var/lib", "tmpfs")
    (jail / "var/lib/probe").write_bytes((PLACE / "probe").read_bytes())
    (jail / "var/lib/probe").chmod(0o755)
    (PLACE / "probe").unlink()
    environ = {"CNI_PATH": f"/var/lib:{probe.bin_dir}"}

    seen = probe.sees(preexec_fn=lambda: os.chroot(jail), environ=environ)

    assert Path(seen["parent"].strip()).name == "pycnid"


def test_stdin_stdout_and_stderr_are_the_callers(warm: Warm) -> None:
    probe, _ = warm

    reply = probe.run("ADD", "none", environ={"PROBE_SAYS": "from the probe"})
    told = probe.run("ADD", environ={"CNI_NETNS": lab.add_netns("pod"), "PROBE_SAYS": "it works"})

    assert reply.failed(4).json["cniVersion"] == CONF["cniVersion"]
    assert told.ok().json["ips"][0]["address"] == "10.9.8.7/24"
    assert told.stderr == "it works\n"


def test_the_exit_status_is_the_workers(warm: Warm) -> None:
    probe, _ = warm

    good = probe.run()
    bad = probe.run("NONSENSE")

    assert (good.exit, good.stdout) == (0, "")
    bad.failed(4)


def test_a_link_of_another_name_is_the_program_that_it_points_to(warm: Warm) -> None:
    probe, _ = warm
    link = Path("/run/a-name-of-its-own")
    link.symlink_to(probe.bin_dir / "ptp")

    seen = probe.sees(program=link)

    assert Path(seen["parent"].strip()).name == "pycnid"


def test_a_worker_has_no_file_of_the_agents(warm: Warm) -> None:
    """But for the program itself, which stays open to load from."""
    probe, zygote = warm
    assert probe.server() == "pycnid"  # it has all its files by now
    files = [os.readlink(one) for one in Path(f"/proc/{zygote}/fd").iterdir()]

    seen = probe.sees()

    held = {name for name in files if name.startswith(("socket:", "pipe:", "anon"))}
    assert len(held) >= 2  # the listener, and the pipe that wakes it
    assert not held & set(seen["parent-fds"].split())


@pytest.mark.parametrize("number", [0, 1, 2], ids=["stdin", "stdout", "stderr"])
def test_a_closed_stream_does_no_more_harm_than_without_the_agent(warm: Warm, number: int) -> None:
    probe, _ = warm

    def call() -> tuple[int, bool]:
        reply = probe.run("NONSENSE", preexec_fn=lambda: os.close(number))
        return reply.exit, bool(reply.stdout)

    with_agent = call()
    lab.run(f"umount {SOCKET.parent}")

    assert with_agent == call()


def test_what_is_too_long_for_a_message_is_served_without_the_agent(warm: Warm) -> None:
    probe, _ = warm
    environ = {f"LONG{number}": "x" * 100_000 for number in range(5)}

    seen = probe.sees(environ=environ)

    assert Path(seen["parent"].strip()).name == "ptp"
    assert all(f"{name}={value}" in seen["environ"] for name, value in environ.items())


def test_a_caller_that_numbers_processes_in_another_way_serves_itself(warm: Warm) -> None:
    probe, _ = warm
    own = os.readlink("/proc/self/ns/pid")
    script = Path("/run/ptp-elsewhere")
    script.write_text(f"#!/bin/sh\nexec unshare --pid --fork --mount-proc {probe.bin_dir}/ptp\n")
    script.chmod(0o755)

    seen = probe.sees(program=script)

    assert seen["pid"].strip() != own
    assert Path(seen["parent"].strip()).name == "ptp"


@pytest.mark.parametrize("end_of", ["stdout", "stderr"])
def test_a_runtime_that_hears_no_more_hurts_nobody(warm: Warm, end_of: str) -> None:
    probe, _ = warm
    lab.add_netns("pod")
    reader, writer = os.pipe()
    os.close(reader)
    streams: dict[str, Any] = {end_of: writer}

    reply = probe.run("ADD", **streams)
    os.close(writer)

    assert reply.exit == (1 if end_of == "stdout" else 0)
    assert all(not alive(pid) for pid in probe.holders())
    probe.run("DEL").ok()
    assert probe.leases() == []


@pytest.mark.parametrize(
    ("program", "said"), [("cnictl", "cnictl"), ("pycnid", "another agent listens")]
)
def test_a_program_that_is_no_plugin_is_never_handed_over(
    warm: Warm, program: str, said: str
) -> None:
    probe, _ = warm

    reply = probe.run("VERSION", program=probe.bin_dir / program)

    assert said in reply.stdout + reply.stderr
