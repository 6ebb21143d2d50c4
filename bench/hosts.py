"""The sides of a comparison: each has a host of its own (tests/lab.py), and its programs.

A host is network and mount namespaces with tmpfs on /run and /var/lib; the thread changes
between them, so that a pair of samples is taken one right after the other.
"""

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.chain import FailedError
from bench.stats import Cost
from cni.agent.warm import SPARE
from cni.agent.worker import IDLE
from tests import lab

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "dist/bin"
REFERENCE = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
CGROUPS = (  # (where, file, what is a second)
    (Path("/sys/fs/cgroup/cpuacct"), "cpuacct.usage", 1e9),  # version 1
    (Path("/sys/fs/cgroup"), "cpu.stat", 1e6),  # version 2
)
WORKER_MIN = 1e-3  # seconds of processor time; a fork alone takes as long
_libc = ctypes.CDLL(None, use_errno=True)


class Meter:
    """The processor time of a running agent and of all its workers: a control group."""

    def __init__(self, name: str) -> None:
        for where, file, second in CGROUPS:
            if (where / file).exists():
                self._group, self._file, self._second = where / name, file, second
                break
        else:
            raise FileNotFoundError("no control group tells processor time: mount /sys/fs/cgroup")
        self._group.mkdir()

    def take(self, *pids: int) -> None:
        """Account for these processes, and their children to come."""
        for pid in pids:
            (self._group / "cgroup.procs").write_text(str(pid))

    def read(self) -> float:
        """Return the seconds so far, once no worker serves any more."""
        while any(map(_serves, (self._group / "cgroup.procs").read_text().split())):
            time.sleep(0.0005)
        text = (self._group / self._file).read_text()
        return int(text.removeprefix("usage_usec ").split()[0]) / self._second

    def close(self) -> None:
        """Remove the group, once the agent has ended."""
        lab.wait_until(lambda: not (self._group / "cgroup.procs").read_text())
        self._group.rmdir()


def _name(pid: int | str) -> str:
    """Return what `ps` calls a process; nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _serves(pid: str) -> bool:
    """Tell whether a process of the agent's is a worker that has a caller."""
    name = _name(pid)
    return bool(name) and not name.startswith("pycnid")


class Side:
    """Programs on a host: `name` is reference, warm or cold."""

    def __init__(self, name: str, meter: Meter | None) -> None:
        self.name = name
        self.bin_dir = str(REFERENCE if name == "reference" else OURS)
        self._meter = meter
        self._namespaces = [os.open(f"/proc/thread-self/ns/{kind}", 0) for kind in ("mnt", "net")]

    def enter(self) -> None:
        """Be on this side's host; a thread can enter only while it is the only one."""
        lab.wait_until(lambda: len(os.listdir("/proc/self/task")) == 1)
        for namespace in self._namespaces:
            setns(namespace)

    def measure(self, work: Callable[[], Cost]) -> Cost:
        """Return what `work` costs, with the agent's part of it: there must be one."""
        if self._meter is None:
            return work()
        before = self._meter.read()
        cost = work()
        served = self._meter.read() - before
        if served < WORKER_MIN:
            raise FailedError("the agent has served nothing: what was measured is not warm")
        return Cost(cost.wall, cost.cpu + served)


def setns(namespace: int) -> None:
    """Enter a namespace by its file descriptor (man 2 setns; os.setns comes with Python 3.12)."""
    if _libc.setns(namespace, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def sides(*names: str) -> Iterator[list[Side]]:
    """Make the sides called `names`; warm has an agent that runs until the end of the block."""
    with ExitStack() as stack:
        yield [_open(stack, name) for name in names]


def _open(stack: ExitStack, name: str) -> Side:
    stack.enter_context(lab.fresh_host())
    lab.run("ip link set lo up")
    meter = None
    if name == "warm":
        meter = Meter(f"pycni-bench-{os.getpid()}-{time.monotonic_ns()}")
        stack.callback(meter.close)
        agent = stack.enter_context(lab.agent(OURS, Path("/run/pycni/warm.sock")))
        lab.wait_until(
            lambda: list(map(_name, lab.children(agent.zygote))) == [IDLE.decode()] * SPARE
        )
        meter.take(agent.process.pid, agent.zygote, *lab.children(agent.zygote))
    return Side(name, meter)


Costs = dict[str, dict[str, list[Cost]]]


def interleave(
    every: list[Side], rounds: int, sample: Callable[[Side], dict[str, Cost]], *, warm_up: int = 3
) -> Costs:
    """Take `rounds` samples on each side in turn: A B A B …; return them by side and operation.

    The first `warm_up` rounds do not count: they fill caches.
    """
    costs: Costs = {side.name: {} for side in every}
    for number in range(-warm_up, rounds):
        for side in every:
            side.enter()
            for what, cost in sample(side).items():
                if number >= 0:
                    costs[side.name].setdefault(what, []).append(cost)
    return costs


def on_each(every: Iterable[Side], make: Callable[[Side], Any]) -> dict[str, Any]:
    """Do `make` on every host; return what it says by the side's name."""
    made = {}
    for side in every:
        side.enter()
        made[side.name] = make(side)
    return made
