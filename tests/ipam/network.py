"""One network served by host-local, ours and the reference plugin's, and a look at its files."""

import copy
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cni import skel
from cni.leases.index import Owner
from cni.leases.store import Store
from tests import lab

Json = dict[str, Any]
REFERENCE = "/usr/lib/cni/host-local"
HERE = "/proc/self/ns/net"  # IPAM does nothing in the namespace, so any will do
RANGE_V4 = [{"subnet": "10.1.2.0/24"}]
RANGE_V6 = [{"subnet": "2001:db8:1::/64"}]


class Network:
    """The network `mynet` with its leases below `data_dir`; `keys` go into its `ipam`."""

    def __init__(self, data_dir: Path, version: str = "1.1.0", **keys: Any) -> None:
        self.data_dir, self.path = data_dir, data_dir / "mynet"
        ipam = {"type": "host-local", "dataDir": str(data_dir), "ranges": [RANGE_V4]} | keys
        self.conf: Json = {"cniVersion": version, "name": "mynet", "type": "ptp", "ipam": ipam}

    def changed(self, **keys: Any) -> "Network":
        """Return this network with other keys in `ipam`; None takes one away."""
        other = copy.copy(self)
        ipam = {
            key: value for key, value in (self.conf["ipam"] | keys).items() if value is not None
        }
        other.conf = self.conf | {"ipam": ipam}
        return other

    def with_conf(self, **keys: Any) -> "Network":
        """Return this network with other keys beside `ipam`."""
        other = copy.copy(self)
        other.conf = self.conf | keys
        return other

    def call(
        self, verb: str, container_id: str = "pod-1", ifname: str = "eth0", args: str = ""
    ) -> lab.Reply:
        """Run our host-local in this process."""
        environment = _environment(verb, container_id, ifname, args)
        stdin = json.dumps(self.conf).encode()
        output, status = skel.run("host-local", environment, lambda: stdin)
        return lab.Reply(status, output, "")

    def reference(
        self, verb: str, container_id: str = "pod-1", ifname: str = "eth0", args: str = ""
    ) -> lab.Reply:
        """Run the reference plugin; the one in Debian 12 knows SPEC 1.0.0 at most."""
        done = subprocess.run(
            [REFERENCE],
            env=_environment(verb, container_id, ifname, args),
            input=json.dumps(self.conf | {"cniVersion": "1.0.0"}),
            capture_output=True,
            text=True,
            check=False,
        )
        return lab.Reply(done.returncode, done.stdout, done.stderr)

    def add(self, container_id: str = "pod-1", ifname: str = "eth0", args: str = "") -> list[str]:
        """ADD; return the addresses without their prefix length."""
        return addresses(self.call("ADD", container_id, ifname, args))

    def files(self) -> dict[str, bytes]:
        """Return the lease directory, without the lock."""
        names = sorted(os.listdir(self.path)) if self.path.exists() else []
        return {name: (self.path / name).read_bytes() for name in names if name != "lock"}

    def leases(self) -> dict[str, bytes]:
        """Return the files that are called after addresses."""
        return {name: text for name, text in self.files().items() if name[:4] != "last"}

    def entries(self) -> list[str]:
        """Return the index: all but its directories and marks."""
        index = self.data_dir / ".pycni" / "mynet"
        return sorted(path.name for path in index.glob("*/*"))

    def put(self, name: str, text: bytes) -> None:
        """Write a file into the lease directory, as another program does."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(text)

    def store(self, **keys: Any) -> Store:
        """Return the lease directory as the code sees it."""
        return Store(str(self.data_dir), "mynet", **keys)


def _environment(verb: str, container_id: str, ifname: str, args: str) -> dict[str, str]:
    variables = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container_id,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": HERE,
        "CNI_NETNS_OVERRIDE": "1",
        "CNI_PATH": "/usr/lib/cni",
        "CNI_ARGS": args,
    }
    return {key: value for key, value in variables.items() if value}


def addresses(reply: lab.Reply) -> list[str]:
    """Return the addresses of a successful ADD without their prefix length."""
    return [ip["address"].split("/")[0] for ip in reply.ok().json["ips"]]


def owner(container_id: str, ifname: str = "eth0") -> Owner:
    """Return an owner of leases."""
    return Owner(container_id, ifname)


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a child of this process; return its wait status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]
