"""Run the programs of a conflist as a runtime does, and account for what they cost.

ADD goes forwards and hands on the result, DEL goes backwards.  A program is started with
posix_spawn(3) and talks through pipes; as in a runtime, it has ended when its output is closed
and the process is gone.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stats import Cost

Json = dict[str, Any]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PIPE = 65536  # bytes that a pipe takes without a reader
KINDNET = Path(__file__).resolve().parent.parent / "conflists/10-kindnet.conflist"
# the reference hands no result to DEL before this version of the SPEC
DEL_WITH_RESULT = (0, 4, 0)


class FailedError(Exception):
    """A program that is measured did not succeed, so there is nothing to measure."""


@dataclass(frozen=True)
class Pod:
    """One attachment; `port` is its host port, 0: none."""

    container_id: str
    netns: str
    port: int = 0


@dataclass(frozen=True)
class Network:
    """A conflist: what all programs are told, and each program's own part."""

    common: Json
    plugins: tuple[Json, ...]

    @classmethod
    def kindnet(cls, subnet: str = "", **keys: Any) -> "Network":
        """Return the project's kindnet conflist, with `keys` for its ptp."""
        conflist = json.loads(KINDNET.read_text())
        first, *others = conflist.pop("plugins")
        first |= keys
        if subnet:
            first["ipam"]["ranges"] = [[{"subnet": subnet}]]
        return cls(conflist, (first, *others))

    def conf(self, plugin: Json, pod: Pod, result: Json | None) -> bytes:
        """Return what a runtime writes to the program's stdin."""
        conf = self.common | plugin
        if pod.port and "portMappings" in conf.get("capabilities", {}):
            mapping = {"hostPort": pod.port, "containerPort": 80, "protocol": "tcp"}
            conf["runtimeConfig"] = {"portMappings": [mapping]}
        if result is not None:
            conf["prevResult"] = result
        return json.dumps(conf).encode()

    def add(self, bin_dir: str, pod: Pod) -> tuple[Json, Cost]:
        """Attach `pod` with the programs in `bin_dir`; return the result, and what it cost."""
        result, cost = None, Cost(0, 0)
        for plugin in self.plugins:
            stdin = self.conf(plugin, pod, result)
            stdout, one = execute(bin_dir, plugin["type"], environment("ADD", bin_dir, pod), stdin)
            result, cost = json.loads(stdout), cost.plus(one)
        return result or {}, cost

    def delete(self, bin_dir: str, pod: Pod, result: Json) -> Cost:
        """Detach `pod`; return what it cost."""
        version = tuple(map(int, self.common["cniVersion"].split(".")))
        told = result if version >= DEL_WITH_RESULT else None
        cost = Cost(0, 0)
        for plugin in reversed(self.plugins):
            stdin = self.conf(plugin, pod, told)
            _, one = execute(bin_dir, plugin["type"], environment("DEL", bin_dir, pod), stdin)
            cost = cost.plus(one)
        return cost


def environment(verb: str, bin_dir: str, pod: Pod) -> dict[str, str]:
    """Return the environment of a program."""
    return {
        "PATH": PATH,
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": bin_dir,
    }


def execute(
    bin_dir: str, program: str, variables: dict[str, str], stdin: bytes
) -> tuple[bytes, Cost]:
    """Run a program to its end; return its stdout, and what it and its children cost.

    Raises FailedError unless it succeeds.
    """
    path = f"{bin_dir}/{program}"
    given, take = os.pipe()
    receive, tell = os.pipe()
    if os.write(take, stdin) != len(stdin) or len(stdin) >= PIPE:
        raise FailedError(f"{program}: the configuration is too long for a pipe")
    os.close(take)
    actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, tell, 1)]
    begin = time.perf_counter()
    pid = os.posix_spawn(path, [path], variables, file_actions=actions)
    os.close(given)
    os.close(tell)
    stdout = b"".join(iter(lambda: os.read(receive, PIPE), b""))
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    os.close(receive)
    if status:
        where = f"{path} {variables['CNI_COMMAND']} {variables['CNI_CONTAINERID']}"
        raise FailedError(f"{where}: status {status}: {stdout.decode()}")
    return stdout, Cost(wall, usage.ru_utime + usage.ru_stime)
