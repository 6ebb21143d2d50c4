"""An IPAM program that says what it sees, and takes as long as the test wants.

It keeps one lease for each container, a file, so that what an ADD took and nobody gave back is
there to be seen; and it notes each run, so that a second one is.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests import lab

PLACE = Path("/run/probe")
PROGRAM = """#!/bin/sh
echo "$CNI_COMMAND" >> /run/probe/runs
case $CNI_COMMAND in
ADD) : > "/run/probe/lease-$CNI_CONTAINERID" ;;
DEL) rm -f "/run/probe/lease-$CNI_CONTAINERID" ;;
esac
if [ -n "$PROBE_SEES" ]; then
    tr '\\0' '\\n' < /proc/$$/environ > "$PROBE_SEES/environ"
    umask > "$PROBE_SEES/umask"
    for what in cwd ns/net ns/mnt ns/pid; do
        readlink "/proc/$$/$what" > "$PROBE_SEES/$(basename $what)"
    done
    # by the shell itself: while it starts a command, all signals are blocked
    while read -r key value; do
        case $key in SigBlk:|SigIgn:|Uid:|Gid:|Groups:) echo "$key $value" ;; esac
    done < /proc/$$/status > "$PROBE_SEES/status"
    cd /proc/$$/fd && ls > "$PROBE_SEES/fds"
    readlink "/proc/$PPID/exe" > "$PROBE_SEES/parent"
    readlink /proc/$PPID/fd/* > "$PROBE_SEES/parent-fds"
    grep ^PPid "/proc/$PPID/status" > "$PROBE_SEES/grandparent"
fi
[ -z "$PROBE_SAYS" ] || echo "$PROBE_SAYS" >&2
# stdin ends when its caller is past starting it: only then a signal ends what it has started
hold() {
    cat > /dev/null
    : > "/run/probe/held-$PPID"
    while [ -e /run/probe/hold ]; do sleep 0.02; done
}
case " $PROBE_HOLDS " in *" $CNI_COMMAND "*) hold ;; esac
ips="'ips': [{'address': '10.9.8.7/24', 'gateway': '10.9.8.1'}]"
[ "$CNI_COMMAND" != ADD ] || echo "{'cniVersion': '1.1.0', $ips}" | tr "'" '"'
"""
CONF = {"cniVersion": "1.1.0", "name": "probed", "type": "ptp", "ipam": {"type": "probe"}}
DELAY = 30  # seconds that a program has for what takes it a fraction of one


class Probe:
    """The program as `ptp` of `bin_dir` finds it; `/run` must be the test's own."""

    def __init__(self, bin_dir: Path) -> None:
        self.bin_dir = bin_dir
        PLACE.mkdir()
        (PLACE / "probe").write_text(PROGRAM)
        (PLACE / "probe").chmod(0o755)

    def start(
        self, verb: str = "STATUS", pod: str = "pod", *, environ: Any = (), **popen: Any
    ) -> "subprocess.Popen[bytes]":
        """Start `ptp`; its stdin has been said, its stdout and stderr are pipes."""
        cni = {"COMMAND": verb, "CONTAINERID": pod, "IFNAME": "eth0", "NETNS": f"/run/netns/{pod}"}
        environment = {
            "PATH": os.environ["PATH"],
            **{f"CNI_{key}": value for key, value in cni.items()},
            "CNI_PATH": f"{PLACE}:{self.bin_dir}",
            **dict(environ),
        }
        program = popen.pop("program", self.bin_dir / "ptp")
        with TemporaryFile() as stdin:
            stdin.write(json.dumps(CONF).encode())
            stdin.seek(0)
            streams: dict[str, Any] = {
                "stdin": stdin,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
            }
            return subprocess.Popen([program], env=environment, **(streams | popen))

    def run(self, verb: str = "STATUS", pod: str = "pod", **how: Any) -> lab.Reply:
        """Run `ptp` to its end."""
        return end(self.start(verb, pod, **how))

    def sees(self, **how: Any) -> dict[str, str]:
        """Return what the probe sees when `ptp` runs it."""
        place = Path("/run") / f"sees-{time.monotonic_ns()}"
        place.mkdir(mode=0o777)
        environ = {**dict(how.pop("environ", ())), "PROBE_SEES": str(place)}
        self.run(environ=environ, **how).ok()
        seen = {path.name: path.read_text(errors="surrogateescape") for path in place.iterdir()}
        seen["environ"] = seen["environ"].replace(str(place), "")
        return seen

    def server(self) -> str:
        """Return the name of the program that serves a call: `ptp` itself, or the agent."""
        return Path(self.sees()["parent"].strip()).name

    def hold(self, verb: str = "STATUS", **how: Any) -> "subprocess.Popen[bytes]":
        """Start `ptp` and return when the probe has begun; it waits for `release`."""
        (PLACE / "hold").touch()
        known = len(self.holders())
        process = self.start(verb, environ={"PROBE_HOLDS": verb}, **how)
        assert lab.wait_until(lambda: len(self.holders()) > known, DELAY)
        return process

    @staticmethod
    def release() -> None:
        """Let those who wait go on."""
        (PLACE / "hold").unlink(missing_ok=True)

    @staticmethod
    def holders() -> list[int]:
        """Return the processes whose probe waits, or has waited."""
        return [int(path.name.removeprefix("held-")) for path in PLACE.glob("held-*")]

    @staticmethod
    def runs() -> list[str]:
        """Return the verbs of all runs."""
        path = PLACE / "runs"
        return path.read_text().split() if path.exists() else []

    @staticmethod
    def leases() -> list[str]:
        """Return who has a lease."""
        return [path.name.removeprefix("lease-") for path in PLACE.glob("lease-*")]


def end(process: "subprocess.Popen[bytes]") -> lab.Reply:
    """Wait for the end of a program that was started with pipes; return what it said."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=DELAY)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return lab.Reply(process.returncode, (stdout or b"").decode(), (stderr or b"").decode())
