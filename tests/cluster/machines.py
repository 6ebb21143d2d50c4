"""Machines made of namespaces: each is held by its first process, and gone with it."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests import lab
from tests.runtimes import leftovers

HERE = Path(__file__).parent
CGROUPS = Path("/sys/fs/cgroup")
WAIT = 60  # seconds for what takes a fraction of one, on a machine that does other things too
# what a node's services see: none of what the tests were started with
ENVIRONMENT = {
    "PATH": "/opt/kubernetes:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "AWS_EC2_METADATA_DISABLED": "true",  # a kubelet would look for it, for seconds
}


class Machine:
    """A machine that runs: its network namespace, or all kinds of namespaces (a node)."""

    def __init__(self, *first: str, log: Path | None = None) -> None:
        """Start the machine by the command that makes its namespaces; it says `up` when it is."""
        words = ["setpriv", "--pdeathsig", "KILL", "unshare", *first]
        with (log or Path("/dev/null")).open("ab") as errors:
            self._first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors)
        assert self._first.stdout
        with self._first.stdout as said:
            assert said.readline() == b"up\n", f"{words} did not start: {log}"
        self.pid = (lab.children(self._first.pid) or [self._first.pid])[0]

    def end(self) -> None:
        """End the machine, as by pulling its plug."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._first.wait(WAIT)


class Switch(Machine):
    """The bridge that joins all machines, and the way out."""

    def __init__(self, address: str) -> None:
        super().__init__("--net", "sh", "-c", "echo up; exec sleep infinity")
        self.address = address
        batch(self.pid, "link set lo up", "link add br0 up type bridge mcast_snooping 0")
        batch(self.pid, f"address add {address} dev br0")
        lab.run(  # the rules of nobody see what is bridged here
            "sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 >$f; done'",
            netns=f"/proc/{self.pid}/ns/net",
            check=False,
        )

    def plug(self, name: str, machine: Machine, address: str) -> None:
        """Connect a machine's network card, and give it its address and its way out."""
        card = f"master br0 up type veth peer name eth0 netns {machine.pid}"
        batch(self.pid, f"link add {_port(name)} {card}")
        batch(
            machine.pid,
            "link set lo up",
            "link set eth0 up",
            f"address add {address}/16 dev eth0",
            f"route add default via {self.address.partition('/')[0]}",
        )

    def unplug(self, name: str) -> None:
        """Forget a machine that is gone; the kernel may have done so already."""
        lab.run(f"ip link del {_port(name)}", netns=f"/proc/{self.pid}/ns/net", check=False)


def _port(name: str) -> str:
    """Return a name for the switch's end of a cable, which a link may have: 15 bytes at most."""
    return name.removeprefix("pycni-")


def outside() -> Machine:
    """Return a machine beside the nodes, that is none of them."""
    return Machine("--net", "sh", "-c", "echo up; exec sleep infinity")


class Node(Machine):
    """A node of a cluster: a machine with a disk and control groups."""

    def __init__(self, disk: Path, cgroup: str, kube_bin: Path) -> None:
        """Boot from `disk`, whose name is the node's; `cgroup` is the cluster's."""
        self.disk, self.name = disk, disk.name
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        for folder in ("root", "layers", "etc/cni/net.d", "etc/kubernetes", "opt/cni/bin"):
            (disk / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("log", "lib", "tmp", "cache"):
            (disk / "var" / folder).mkdir(parents=True, exist_ok=True)
        (disk / "etc/hosts").touch()
        group = f"{cgroup}/{disk.name}"
        make_cgroup(group)
        kinds = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        words = (str(HERE / "node.sh"), str(disk), group, str(kube_bin))
        super().__init__(*kinds, *words, log=self.log("node"))

    def words(self, *words: str) -> list[str]:
        """Return a command that runs `words` on this node."""
        variables = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
        kinds = ("--mount", "--net", "--uts", "--ipc", "--pid", "--wdns=/")
        return ["nsenter", f"--target={self.pid}", *kinds, "env", "-i", *variables, *words]

    def path(self, path: str) -> Path:
        """Return how a file of this node is reached from the test."""
        return Path(f"/proc/{self.pid}/root{path}")

    def serve(self, name: str, *words: str) -> None:
        """Run a service on this node, as long as the node runs; its log is on the disk."""
        with self.log(name).open("ab") as log:
            self._services[name] = started = subprocess.Popen(
                self.words(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        assert started.poll() is None, f"{name} of {self.name} does not run"

    def log(self, name: str) -> Path:
        """Return where a service's log is."""
        return self.disk / f"var/log/{name}.log"

    def stop(self, name: str) -> None:
        """End a service for good; what it has started stays."""
        service = self._services.pop(name)
        for pid in lab.children(service.pid):
            os.kill(pid, signal.SIGKILL)
        service.wait(WAIT)

    def fallen(self) -> list[str]:
        """Return the services that have ended though nobody told them to."""
        return [name for name, one in self._services.items() if one.poll() is not None]

    def end(self) -> None:
        super().end()
        for service in self._services.values():
            service.wait(WAIT)


def batch(pid: int, *lines: str) -> None:
    """Run several `ip` commands on a machine."""
    lab.run("ip -batch -", netns=f"/proc/{pid}/ns/net", stdin="\n".join(lines) + "\n")


def make_cgroup(name: str) -> None:
    """Make a control group in every hierarchy of version 1; cpuset's must be filled by hand.

    Pods weigh as they do on a node, four of them: as a process for each processor, not as one.
    """
    tops = [top for top in CGROUPS.iterdir() if (top / "tasks").exists()]
    assert tops, "this machine has no control groups of version 1, which this Kubernetes needs"
    for top in tops:
        folder = top
        for part in name.split("/"):
            folder /= part
            folder.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (folder / file).exists():
                    (folder / file).write_text((folder.parent / file).read_text())
            if (folder / "cpu.shares").exists():
                (folder / "cpu.shares").write_text(str(4 * 1024 * (os.cpu_count() or 1)))


def remove_cgroups(name: str) -> None:
    """Remove a control group with all in it."""
    leftovers.wait_for(lambda: _removed(name), f"the control groups of {name} to be free", WAIT)


def _removed(name: str) -> bool:
    folders = leftovers.cgroups(name)
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
    return not any(folder.exists() for folder in folders)
