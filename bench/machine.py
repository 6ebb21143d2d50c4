"""What a figure must stand beside: the machine that it was measured on."""

import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path

from bench.hosts import OURS
from cni import __version__


def describe() -> dict[str, str]:
    """Return what the machine and the two sides are."""
    information = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", information, re.MULTILINE)
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    return {
        "CPU": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 1e6:.0f} GB" if memory else "unknown",
        "kernel": platform.release(),
        "pycni": f"{__version__}, build {_build()}",
        "reference": _say("dpkg-query -W containernetworking-plugins"),
        "its firewall": _say("iptables --version"),
    }


class Company:
    """How busy the machine was before a case, and how much others had of it meanwhile.

    What the kernel does for us after a process has ended (namespaces, RCU) counts as others'.
    """

    def __init__(self) -> None:
        self._load, self._begin = os.getloadavg(), time.monotonic()
        self._busy, self._own = _busy(), _own()

    def describe(self) -> dict[str, str]:
        """Return it in words; all processes of the case must have ended."""
        others = (_busy() - self._busy) - (_own() - self._own)
        seconds = (time.monotonic() - self._begin) * (os.cpu_count() or 1)
        return {
            "load before": " ".join(f"{load:.2f}" for load in self._load),
            "others' share of the processors": f"{max(0.0, 100 * others / seconds):.0f} %",
        }


def _busy() -> float:
    """Return the seconds in which processors had work (man 5 proc, /proc/stat)."""
    user, nice, system, _idle, _wait, *interrupts = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Return the seconds that we and our children had."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, who))


def _build() -> str:
    return next((path.name.removeprefix("_pycni-") for path in OURS.glob("_pycni-*")), "unknown")


def _say(command: str) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())
