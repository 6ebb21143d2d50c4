"""Another kernel than this machine's: User Mode Linux, which is a program (Debian's own).

It sees this machine's files, read-only, and has a network of its own.
"""

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

KERNEL = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")
WANTED = (
    "net/llc/llc",
    "net/802/stp",
    "lib/crc-ccitt",
    "net/ipv6/ipv6",
    "net/bridge/bridge",
    "drivers/net/veth",
    "net/netfilter/nfnetlink",
    "net/netfilter/nf_tables",
)
MEMORY, TIMEOUT_S = "512M", 1200
EXIT = "guest: exit "  # said when the command is over, with its status
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
export TMPDIR=/mnt
for module in {modules}; do busybox insmod $module; done
cd {directory}
{command}
echo "{exit}$?"
busybox poweroff -f
"""


def run(command: list[str], directory: Path, scratch: Path) -> tuple[bool, str]:
    """Run `command` in `directory` there; tell whether it succeeded, and what it said."""
    (version,) = MODULES.iterdir()
    modules = " ".join(str(version / "kernel" / f"{one}.ko") for one in WANTED)
    init = scratch / "init"
    init.write_text(
        INIT.format(modules=modules, directory=directory, exit=EXIT, command=shlex.join(command))
    )
    init.chmod(0o755)
    words = [str(KERNEL), f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/"]
    words += [
        "ro",
        f"init={init}",
        "con=null",
        "con0=null,fd:1",
        "quiet",
        "loglevel=0",
        f"umid={scratch.name}-{os.getpid()}",
        f"uml_dir={scratch}",
    ]
    guest = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=os.environ | {"TMPDIR": str(scratch)},
        start_new_session=True,
    )
    try:
        said, _ = guest.communicate(timeout=TIMEOUT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(guest.pid, signal.SIGKILL)  # helpers of one that did not end by itself
        guest.wait()
    return f"{EXIT}0" in said, said
