"""Whole nodes: the network of tests.overlay.nodes, and on each an agent with files of its own."""

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cni.cluster import describe
from cni.kernel.netns import entered
from tests import lab
from tests.conftest import ROOT
from tests.overlay import nodes

OWN = ("/run/pycni", "/var/lib/cni", "/var/lib/pycni", "/run/net.d")  # of each node
NODES_FILE = Path("/run/nodes.json")
TEMPLATE = ROOT / "conflists/templates/10-vxlan.conflist"
CONFLIST = "/run/net.d/10-vxlan.conflist"
WAIT = 30  # seconds for what takes a fraction of one
PAUSE = 0.002  # seconds between two datagrams of a stream
LATE = 0.5  # seconds after which a datagram is lost


class Machine:
    """A node: the process that holds its namespaces, and its agent while one runs."""

    def __init__(self, name: str, holder: int, bin_dir: Path) -> None:
        self.name, self.holder, self.bin_dir = name, holder, bin_dir
        self.agent: subprocess.Popen[bytes] | None = None
        self.log = Path(f"/run/{name}.log")

    def path(self, path: str) -> Path:
        """Return how a file of this node is reached from the test."""
        return Path(f"/proc/{self.holder}/root{path}")

    def words(self, *words: str) -> list[str]:
        """Return a command that runs `words` on this node."""
        inside = [f"--target={self.holder}", "--mount", "--net"]
        return ["nsenter", *inside, "--wdns=/", *words]

    def run(self, program: str, *words: str, **environ: str) -> lab.Reply:
        """Run a program of the suite on this node."""
        command = self.words(str(self.bin_dir / program), *words)
        environment = {
            "PATH": os.environ["PATH"],
            "NETCONFPATH": "/run/net.d",
            "CNI_PATH": str(self.bin_dir),
            **environ,
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return lab.Reply(done.returncode, done.stdout, done.stderr)

    def start(self, *options: str, roles: tuple[str, ...] = ("warm", "vxlan", "masq")) -> None:
        """Start the agent."""
        words = [word for role in roles for word in ("--role", role)]
        words += ["--node-name", self.name, "--nodes-file", str(NODES_FILE)]
        words += ["--template", str(TEMPLATE), "--conflist", CONFLIST, *options]
        with self.log.open("ab") as log:
            command = self.words(str(self.bin_dir / "pycnid"), *words)
            self.agent = subprocess.Popen(command, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the agent; its children go with it."""
        if self.agent:
            family = [self.agent.pid, *self.children()]
            self.agent.send_signal(number)
            self.agent.wait(WAIT)
            assert lab.wait_until(lambda: not any(map(_alive, family)), WAIT)
        self.agent = None

    def children(self) -> list[int]:
        """Return the agent's processes, but for the first."""
        assert self.agent
        return [int(pid) for pid in lab.run(f"pgrep -P {self.agent.pid}", check=False).split()]

    def page(self, path: str) -> tuple[int, str]:
        """Return status and text of a page that the agent serves; 0 when it does not."""
        url = f"http://127.0.0.1:9473{path}"
        said = lab.run(f"curl -s -w %{{http_code}} {url}", netns=self.name, check=False)
        return int(said[-3:] or 0), said[:-3]

    def is_ready(self) -> bool:
        """Tell whether the agent says so."""
        return self.page("/readyz")[0] == 200

    def wait_ready(self) -> None:
        """Wait until the node can serve pods."""
        assert lab.wait_until(self.is_ready, WAIT), self.log.read_text()

    def add_pod(self) -> str:
        """Let the runtime give a pod its network, as the conflist of this node says."""
        name = nodes.pod(self.name)
        path = lab.add_netns(name)
        result = self.run("cnictl", "add", "vxlan", path).ok().json
        return str(result["ips"][0]["address"].partition("/")[0])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def cluster(bin_dir: Path, *names: str) -> Iterator[list[Machine]]:
    """Make the machines of tests.overlay.nodes; those of `names` have files of their own."""
    nodes.machines()
    make_places()
    write_nodes(*nodes.NAMES)
    with ExitStack() as stack:
        machines = [stack.enter_context(machine(name, bin_dir)) for name in names]
        yield machines


def make_places() -> None:
    """Make the places of which each machine has its own."""
    for place in OWN:
        Path(place).mkdir(parents=True, exist_ok=True)


@contextmanager
def machine(name: str, bin_dir: Path) -> Iterator[Machine]:
    """Give the namespace `name` files of its own, at the places OWN, which are there."""
    mounts = "; ".join(f"mount -t tmpfs none {place}" for place in OWN)
    script = f"set -e; {mounts}; echo ready; exec sleep 600"
    enter = ["nsenter", f"--net={lab.netns_path(name)}", "unshare", "--mount", "--propagation"]
    words = [*enter, "slave", "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"ready\n"
        found = Machine(name, holder.pid, bin_dir)
        try:
            yield found
        finally:
            found.stop()
            holder.kill()


def write_nodes(*names: str, versions: tuple[int, ...] = (4,)) -> None:
    """Write the nodes file: these nodes, with addresses and pods of these IP versions."""
    entries = [describe(nodes.member(name, versions, versions)) for name in names]
    new = NODES_FILE.with_suffix(".new")
    new.write_text(json.dumps(entries))
    new.rename(NODES_FILE)


@contextmanager
def stream(source: str, target: str) -> Iterator[list[int]]:
    """Let the pod on one node send datagrams to that on another, as long as the block runs.

    Yields a list; after the block it is [how many were sent, how many were lost].
    """
    to = nodes.pod_address(target, 4), 9002
    with entered(lab.netns_path(nodes.pod(target))):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered(lab.netns_path(nodes.pod(source))):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found: list[int] = []
    with ear, mouth:
        ear.bind(("", to[1]))
        reader, writer = os.pipe()
        stop, stopping = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(stopping)
            _send(ear, mouth, to, writer, stop)
        os.close(writer)
        os.close(stop)
        try:
            yield found
        finally:
            os.close(stopping)
            found += json.loads(os.read(reader, 100) or b"[0, 0]")
            os.close(reader)
            os.waitpid(child, 0)


def _send(
    ear: socket.socket, mouth: socket.socket, to: tuple[str, int], writer: int, stop: int
) -> None:
    """Send, and look whether each datagram comes, until `stop` is closed; write the counts."""
    try:
        os.set_blocking(stop, False)
        sent = lost = 0
        while not select.select([stop], [], [], PAUSE)[0]:
            sent += 1
            data = sent.to_bytes(8, "big")
            mouth.sendto(data, to)
            ear.settimeout(LATE)
            try:
                while ear.recv(100) != data:
                    pass
            except TimeoutError:
                lost += 1
        os.write(writer, json.dumps([sent, lost]).encode())
    finally:
        os._exit(0)
