"""The two runtimes of these tests: libcni itself, and the command lines cnitool and cnictl."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import lab

KNOWN = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")  # to Debian's libcni 1.1.2
WITH_INTERFACES = KNOWN[2:]  # results name interfaces
WITH_CHECK = KNOWN[4:]  # CHECK exists, and DEL gets a prevResult
CACHE_DIR = Path("/var/lib/cni/results")


@dataclass(frozen=True)
class Pod:
    """An attachment as a runtime sees it: libcni's RuntimeConf."""

    netns: str
    container_id: str = "pod-1"
    ifname: str = "eth0"
    capabilities: Any = None
    args: str = ""


class Libcni:
    """The reference runtime library, looking for programs in `bin_dirs`, the first one first."""

    def __init__(self, driver: Path, *bin_dirs: Path) -> None:
        self.driver, self.bin_dirs = driver, bin_dirs

    def call(self, verb: str, conflist: Any, pod: Pod) -> lab.Reply:
        """Run `add`, `check`, `del` or `validate` of a list on `pod`."""
        words = ["-id", pod.container_id, "-netns", pod.netns, "-ifname", pod.ifname]
        if pod.capabilities is not None:
            words += ["-capabilities", json.dumps(pod.capabilities)]
        if pod.args:
            words += ["-args", pod.args]
        return self._run([verb, *words, "/dev/stdin"], json.dumps(conflist))

    def add(self, conflist: Any, pod: Pod) -> Any:
        """Attach `pod`; return the driver's answer: `result`, and `as` every version."""
        return self.call("add", conflist, pod).ok().json

    def check(self, conflist: Any, pod: Pod) -> None:
        """CHECK `pod`; it must pass."""
        self.call("check", conflist, pod).ok()

    def delete(self, conflist: Any, pod: Pod) -> None:
        """Detach `pod`; it must succeed."""
        self.call("del", conflist, pod).ok()

    def versions(self, *programs: str) -> Any:
        """Ask each program for the versions it speaks; return them by program."""
        return self._run(["version", *programs], "").ok().json["versions"]

    def _run(self, words: list[str], stdin: str) -> lab.Reply:
        path = ":".join(map(str, self.bin_dirs))
        environment = {"PATH": os.environ["PATH"], "CNI_PATH": path}
        return _reply([str(self.driver), *words], environment, stdin=stdin)


class Tool:
    """A command line with cnitool's arguments and environment: the reference's, or cnictl."""

    def __init__(self, program: Path, bin_dir: Path, net_d: Path) -> None:
        self.program, self.bin_dir, self.net_d = program, bin_dir, net_d

    def call(
        self, verb: str, network: str, netns: str, *, cwd: str = "/", **environment: str
    ) -> lab.Reply:
        """Run `verb` of a network on a namespace; `environment` adds CNI_IFNAME, CAP_ARGS …"""
        settings = {
            "PATH": os.environ["PATH"],
            "CNI_PATH": str(self.bin_dir),
            "NETCONFPATH": str(self.net_d),
            **environment,
        }
        return _reply([str(self.program), verb, network, netns], settings, cwd=cwd)


def _reply(
    words: list[str], environment: dict[str, str], *, stdin: str = "", cwd: str = "/"
) -> lab.Reply:
    done = subprocess.run(
        words, env=environment, input=stdin, cwd=cwd, capture_output=True, text=True, check=False
    )
    return lab.Reply(done.returncode, done.stdout, done.stderr)
