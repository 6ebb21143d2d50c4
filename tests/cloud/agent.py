"""The node agent with the role vpc, as processes of their own, on a test host with a cloud."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cni.errors import Code
from cni.vpc.client import SOCKET
from tests import lab
from tests.cloud.cloud import Cloud

WAIT = 30  # seconds for what takes a few
TRIES = 5  # of an ADD; each waits for the pool by itself
RECORD = Path("/var/lib/pycni/vpc/pool.json")
STATE = Path("/run/pycni/vpc.json")


class Agent:
    """`pycnid` of `bin_dir`, as an instance of a cloud."""

    def __init__(self, bin_dir: Path, cloud: Cloud, instance: str, url: str) -> None:
        self.bin_dir, self.cloud, self.instance, self.url = bin_dir, cloud, instance, url
        self.variables: dict[str, str] = {}
        self.log = Path("/run/agent.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it."""
        environment = {
            **os.environ,
            **self.cloud.environ(self.url, self.instance),
            **self.variables,
            "NODE_NAME": "n1",
        }
        words = [str(self.bin_dir / "pycnid"), "--config", self.settings(), "--role", "vpc"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*words, *options], env=environment, stderr=log)

    @staticmethod
    def settings(**values: Any) -> str:
        """Write a settings file; return its path."""
        path = Path("/run/agent.json")
        if values or not path.exists():
            path.write_text(json.dumps(values))
        return str(path)

    def role(self) -> int:
        """Return the pid of the role's process, once there is one."""
        assert self.process
        process = self.process
        assert lab.wait_until(lambda: bool(lab.children(process.pid)), WAIT), self.log.read_text()
        return lab.children(self.process.pid)[0]

    def wait_ready(self) -> None:
        """Wait until the pool can serve."""
        assert lab.wait_until(lambda: ask("STATUS") == {}, WAIT), self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, and its children with it."""
        if self.process:
            family = [self.process.pid, *lab.children(self.process.pid)]
            self.process.send_signal(number)
            self.process.wait(WAIT)
            assert lab.wait_until(lambda: not any(map(alive, family)), WAIT)
        self.process = None


def alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ask(verb: str, pod: str = "", **given: Any) -> dict[str, Any]:
    """Ask as a program does; {"code": 0} when nobody answers."""
    names = {"containerID": pod, "ifname": "eth0"} if pod else {}
    request = json.dumps({"verb": verb, "network": "vpc", **names, **given}).encode() + b"\n"
    said = raw(request)
    return dict(json.loads(said)) if said else {"code": 0}


def add(pod: str) -> str:
    """Let a pod have an address, as a runtime does: again when told to; return it."""
    answers = [ask("ADD", pod)]
    while answers[-1].get("code") == Code.TRY_AGAIN and len(answers) < TRIES:
        answers.append(ask("ADD", pod))
    assert "address" in answers[-1], answers
    return str(answers[-1]["address"])


def raw(request: bytes) -> bytes:
    """Send what may be no request; return what is answered."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT)
            connection.connect(SOCKET)
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                return answer.read()
    except (FileNotFoundError, ConnectionError):
        return b""


@contextmanager
def on_host(bin_dir: Path, kind: str = "m5.large", cidr: str = "10.0.1.0/24") -> Iterator[Agent]:
    """Have a cloud with one instance; its agent, which is this host's, has not been started."""
    cloud = Cloud()
    agent = None
    try:
        instance = cloud.instance(cloud.subnet(cidr), kind)
        (primary,) = cloud.enis().values()
        lab.run(f"ip link add eth0 address {primary.mac_address} type veth peer name eth0-cloud")
        agent = Agent(bin_dir, cloud, instance, cloud.listen())
        yield agent
    finally:
        if agent:
            agent.stop(signal.SIGKILL)
        cloud.close()
