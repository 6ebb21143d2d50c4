"""Nodes of a cloud: the test cloud says who has which address, and the fabric goes by it.

Each node is a namespace with files of its own and the node agent in its role vpc; an ENI that the
cloud attaches appears in its namespace, as in a real instance, and goes when it is detached.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

from cni.kernel.netns import entered
from tests import lab
from tests.agent.machines import WAIT, Machine, machine, make_places
from tests.cloud.cloud import Cloud
from tests.conftest import ROOT
from tests.vpc import nodes
from tests.vpc.fabric import Fabric, Port

SUBNETS = {"n1": "10.0.1.0/24", "n2": "10.0.2.0/24"}
CONFLISTS = ROOT / "conflists"
TURN = 0.02  # seconds between two looks at the cloud
GROWS = "more are asked for"  # what an ADD says that has waited for the pool in vain (code 11)
TRIES = 5


class World:
    """The cloud, the fabric that follows it, and the nodes."""

    def __init__(self, cloud: Cloud, fabric: Fabric, instances: dict[str, str]) -> None:
        self.cloud, self.fabric, self.instances = cloud, fabric, instances
        self.machines: dict[str, Machine] = {}
        self.urls: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def ports(self) -> list[Port]:
        """Return the ENIs that are attached to the nodes, as the cloud has them now."""
        return [
            port
            for node, instance in self.instances.items()
            for port in _ports(self, node, instance)
        ]

    def sync(self) -> None:
        """Let the fabric be what the cloud says."""
        wanted = self.ports()
        if wanted != list(self.fabric.ports.values()):
            self.fabric.sync(wanted)

    def start(self) -> None:
        """Follow the cloud from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Follow it no more."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        lab._call("unshare", lab.CLONE_FS)  # the test leaves its mount namespace when it ends
        while not self._stop.wait(TURN):
            self.sync()

    def start_agent(self, node: str, network: str = "aws-vpc", **variables: str) -> None:
        """Start the agent of a node; wait until it can serve."""
        one = self.machines[node]
        settings = {"roles": ["vpc"], "vpc": {"cloud": "azure" if network == "azure" else "ec2"}}
        one.path("/run/pycni/settings.json").write_text(json.dumps(settings))
        environment = {
            **os.environ,
            **self.cloud.environ(self.urls[node], self.instances[node]),
            **variables,
            "NODE_NAME": node,
        }
        words = [str(one.bin_dir / "pycnid"), "--config", "/run/pycni/settings.json"]
        with one.log.open("ab") as log:
            one.agent = subprocess.Popen(one.words(*words), env=environment, stderr=log)
        assert lab.wait_until(lambda: self.status(node, network).exit == 0, WAIT), (
            one.log.read_text()
        )

    def status(self, node: str, network: str = "aws-vpc") -> lab.Reply:
        """Ask whether the node can serve pods."""
        return self.machines[node].run("cnictl", "status", network, lab.netns_path(node))

    def add(self, pod: str, node: str, network: str = "aws-vpc") -> str:
        """Let a pod start on a node; return its address."""
        lab.add_netns(pod)
        reply = self.call("add", pod, node, network)
        for _ in range(TRIES):  # as a runtime does
            if GROWS not in reply.stderr:
                break
            reply = self.call("add", pod, node, network)
        return str(reply.ok().json["ips"][0]["address"].partition("/")[0])

    def call(self, verb: str, pod: str, node: str, network: str = "aws-vpc") -> lab.Reply:
        """Call another verb for a pod."""
        return self.machines[node].run("cnictl", verb, network, lab.netns_path(pod))

    def port(self, node: str) -> Port:
        """Return a node's primary as the cloud has it."""
        return next(one for one in self.ports() if (one.node, one.ifname) == (node, "eth0"))

    def give(self, node: str, count: int) -> None:
        """Put more addresses on a node's primary, without its asking."""
        wanted = len(self.port(node).addresses) + count
        self.cloud.backend.assign_private_ip_addresses(self.port(node).name, None, count)
        assert len(self.port(node).addresses) == wanted
        assert lab.wait_until(lambda: self.ports() == list(self.fabric.ports.values()))

    def device(self, address: str) -> int:
        """Return the number of the ENI that has an address in the cloud."""
        return int(self.cloud.enis()[self.cloud.holder(address)].device_index)


def _ports(world: World, node: str, instance: str) -> Iterator[Port]:
    blocks = world.cloud.blocks(instance)
    for eni in world.cloud.enis().values():
        if eni.id in blocks:
            others = sorted(str(one).removesuffix("/32") for one in blocks[eni.id])
            addresses = (str(eni.private_ip_address), *others)
            device = f"eth{eni.device_index}"
            yield Port(eni.id, node, device, eni.mac_address, addresses)


@contextmanager
def running(bin_dir: Path, kind: str = "t3.small") -> Iterator[World]:
    """Have two nodes without agents; a t3.small has three ENIs of three addresses for pods."""
    make_places()
    with ExitStack() as stack:
        cloud = Cloud()
        stack.callback(cloud.close)
        fabric = Fabric(*SUBNETS.values())
        names = {node: cloud.instance(cloud.subnet(cidr), kind) for node, cidr in SUBNETS.items()}
        world = World(cloud, fabric, names)
        for node in SUBNETS:
            lab.add_netns(node)
        world.sync()
        for node, cidr in SUBNETS.items():
            (own,) = (port.addresses[0] for port in fabric.ports.values() if port.node == node)
            nodes.start(node, f"{own}/24", str(ip_network(cidr)[1]))
            with entered(lab.netns_path(node)):
                world.urls[node] = cloud.listen()
            world.machines[node] = stack.enter_context(machine(node, bin_dir))
            for path in CONFLISTS.glob("10-a*.conflist"):
                text = path.read_text().replace('"1.0.0"', '"1.1.0"')  # the first that has STATUS
                world.machines[node].path(f"/run/net.d/{path.name}").write_text(text)
        world.start()
        stack.callback(world.stop)
        yield world
