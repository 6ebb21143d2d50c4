"""Every test is its own host: fresh network and mount namespaces, and hands to work in them.

Nodes, pods and the outside world are network namespaces with names under /run/netns, as
`ip netns` makes them; /run and /var/lib are tmpfs, so a test leaves no trace on the machine.
"""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from typing import Any

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 0x1000, 0x4000, 0x40000, 0x100000
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments):
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")


def mount(source: str, target: str, kind: str = "none", flags: int = 0) -> None:
    """Mount as mount(2) does."""
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)


@contextmanager
def fresh_host() -> Iterator[None]:
    """Put this thread into a host of its own; it is back home afterwards, whatever happened."""
    home = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net")]
    directory, root = os.getcwd(), os.open("/", os.O_RDONLY)
    _call("unshare", CLONE_FS | CLONE_NEWNS | CLONE_NEWNET)
    try:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        for place in ("/run", "/var/lib"):
            mount("tmpfs", place, "tmpfs")
        Path("/run/netns").mkdir()
        # the mount point that `ip netns` would make: shared, so that it need not make it again
        mount("/run/netns", "/run/netns", flags=MS_BIND)
        mount("none", "/run/netns", flags=MS_SHARED)
        yield
    finally:
        for namespace in home:
            assert wait_until(lambda one=namespace: _enters(one))  # type: ignore[misc]
            os.close(namespace)
        os.fchdir(root)  # we may have been in a chroot: setns(2) takes us out of it
        os.chroot(".")
        os.close(root)
        os.chdir(directory)


def _enters(namespace: int) -> bool:
    """Enter a namespace; tell whether that could be: a thread that was joined is not gone yet."""
    try:
        _call("setns", namespace, 0)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        return False
    return True


def run(command: str, *, netns: str = "", check: bool = True, stdin: str | None = None) -> str:
    """Run `command` (split as a shell would) here, or in `netns`; return its stdout."""
    words = shlex.split(command)
    if netns:
        words = ["nsenter", f"--net={netns_path(netns)}", *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, input=stdin)
    if check and done.returncode:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def ip(arguments: str, netns: str = "") -> Any:
    """Run `ip -json`, return what it says."""
    return json.loads(run(f"ip -json -details {arguments}", netns=netns) or "[]")


def netns_path(name: str) -> str:
    """Return the path of the namespace called `name`."""
    return name if name.startswith("/") else f"/run/netns/{name}"


def add_netns(name: str) -> str:
    """Make a network namespace with lo up; return its path."""
    run(f"ip netns add {name}")
    run("ip link set lo up", netns=name)
    return netns_path(name)


class Reply:
    """What a program said: `exit`, `stdout`, `stderr`; `json` is its stdout decoded."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.exit, self.stdout, self.stderr = status, stdout, stderr

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def ok(self) -> "Reply":
        """Return this reply; fail the test unless the program succeeded."""
        assert self.exit == 0, f"exit {self.exit}\n{self.stdout}\n{self.stderr}"
        return self

    def failed(self, code: int) -> "Reply":
        """Return this reply; fail the test unless the program refused with `code`."""
        assert self.exit == 1, f"exit {self.exit}\n{self.stdout}\n{self.stderr}"
        assert self.json["code"] == code, self.stdout
        return self


class Suite:
    """The programs under test: imported here, or the frozen ones in `bin_dir`."""

    def __init__(self, bin_dir: Path, *, imported: bool) -> None:
        self.bin_dir, self.imported = bin_dir, imported
        self.calls = 0  # programs executed

    def environment(self, verb: str, **given: str) -> dict[str, str]:
        """Return the CNI_* variables of one invocation: only those that are not empty."""
        variables = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "pod-1",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.bin_dir),
            **{f"CNI_{key.upper()}": value for key, value in given.items()},
        }
        return {key: value for key, value in variables.items() if value}

    def call(self, program: str, verb: str, conf: Any, **given: str) -> Reply:
        """Run `program`; `given` are CNI variables without prefix: netns=, containerid=, args=."""
        text = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
        return self.invoke(program, self.environment(verb, **given), text)

    def invoke(self, program: str, environment: dict[str, str], stdin: bytes) -> Reply:
        """Run `program` with just this environment and standard input."""
        if self.imported:
            return run_forked(self.bin_dir / program, environment, stdin)
        self.calls += bool(environment.get("CNI_COMMAND"))
        done = subprocess.run(
            [self.bin_dir / program],
            env={"PATH": os.environ["PATH"], **environment},
            input=stdin,
            capture_output=True,
            check=False,
        )
        return Reply(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_forked(
    program: Path, environment: dict[str, str], stdin: bytes, before: Callable[[], object] = bool
) -> Reply:
    """Run the program's code in a child of this process, as an exec would; `before` it too."""
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    os.write(files[0], stdin)
    os.lseek(files[0], 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        _become(program, environment, files, before)
    _, status = os.waitpid(child, 0)
    texts = []
    for file in files[1:]:
        os.lseek(file, 0, os.SEEK_SET)
        texts.append(os.read(file, 1 << 24).decode())
    for file in files:
        os.close(file)
    return Reply(os.waitstatus_to_exitcode(status), *texts)


def _become(
    program: Path, environment: dict[str, str], files: list[int], before: Callable[[], object]
) -> None:
    import sys

    from cni.__main__ import main

    code = 70
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        for number, mode in enumerate(("r", "w", "w")):
            stream = os.fdopen(number, mode, closefd=False)
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)
        os.environ.clear()
        os.environ.update({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment})
        sys.argv = [str(program)]
        before()
        code = main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Agent:
    """A node agent that runs: its process, and the pid of its zygote."""

    def __init__(self, process: "subprocess.Popen[bytes]", socket: Path) -> None:
        self.process, self.socket = process, socket

    @property
    def zygote(self) -> int:
        """Return the pid of the process that forks the workers; it listens a moment before."""
        assert wait_until(lambda: bool(children(self.process.pid))), "the agent has no zygote"
        return children(self.process.pid)[0]


@contextmanager
def agent(bin_dir: Path, socket: Path, *options: str) -> Iterator[Agent]:
    """Run `pycnid` of `bin_dir` until the end of the block; it listens when the block begins."""
    words = [str(bin_dir / "pycnid"), "--socket", str(socket), *options]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(socket.exists), "the agent did not start"
            yield Agent(process, socket)
        finally:
            process.terminate()
            process.wait(30)


def children(pid: int) -> list[int]:
    """Return the processes that `pid` has, zombies too, in the order of their numbers."""
    return [int(word) for word in run(f"pgrep --parent {pid}", check=False).split()]


@contextmanager
def repeated(lines: str) -> Iterator[None]:
    """Let `ip` do `lines` again and again within the block, whether or not it can."""
    forever = "while :; do printf '%s' \"$1\"; done | ip -force -batch - 2>/dev/null"
    with subprocess.Popen(["setsid", "sh", "-c", forever, "repeated", lines]) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def handles(pid: int, number: int) -> bool:
    """Tell whether the process has a handler for a signal: without one it would end it."""
    text = Path(f"/proc/{pid}/status").read_text()
    caught = int(text.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def faults_of_children(pid: int) -> int:
    """Return the page faults of the children that `pid` has reaped (cminflt in man 5 proc)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[8])


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until `condition` holds, at most `seconds`; tell whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
