"""Two nodes of a VPC, each with a primary ENI and a secondary one, as a table says."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, ip_network
from typing import Any

from cni.kernel.netns import entered
from cni.vpc.host import Report, ensure
from cni.vpc.plan import Eni, VpcHost
from cni.vpc.policy import Policy
from tests import lab
from tests.networks import Json
from tests.overlay.nodes import batch
from tests.vpc.agent import Agent, place
from tests.vpc.fabric import VPC, Fabric, Port

SUBNETS = {"n1": "10.0.1.0/24", "n2": "10.0.2.0/24"}
PORTS = {  # the first address of each is its own, the others are for pods
    "eni-10": Port("eni-10", "n1", "eth0", "02:00:00:00:01:00", ("10.0.1.10", "10.0.1.11")),
    "eni-11": Port("eni-11", "n1", "eth1", "02:00:00:00:01:01", ("10.0.1.20", "10.0.1.21")),
    "eni-20": Port("eni-20", "n2", "eth0", "02:00:00:00:02:00", ("10.0.2.10", "10.0.2.11")),
    "eni-21": Port("eni-21", "n2", "eth1", "02:00:00:00:02:01", ("10.0.2.20", "10.0.2.21")),
}
PODS = {  # where they are, and which address the agent gives them
    "a0": ("n1", "10.0.1.11"),
    "a1": ("n1", "10.0.1.21"),
    "b0": ("n2", "10.0.2.11"),
    "b1": ("n2", "10.0.2.21"),
}
CONF: Json = {
    "cniVersion": "1.1.0",
    "name": "vpc",
    "type": "aws-vpc",
    "ipam": {"type": "aws-vpc-ipam"},
}

KUBE_PROXY = """
table ip kube-proxy {{
    chain services {{
        type nat hook prerouting priority dstnat
        fib daddr type local tcp dport {port} dnat to {pod}:80
        ip daddr {service} tcp dport 80 dnat to {pod}:80
    }}
}}
"""


@dataclass
class Nodes:
    """The nodes, on a fabric of their own; both ask the same double of an agent."""

    fabric: Fabric
    hosts: dict[str, VpcHost]

    def ensure(self, **policy: Any) -> dict[str, Report]:
        """Let the agent's part be done on both nodes, with this policy."""
        for name, host in self.hosts.items():
            self.hosts[name] = replace(host, policy=replace(host.policy, **policy))
        return {name: self.pass_on(name) for name in self.hosts}

    def pass_on(self, name: str) -> Report:
        """Let the agent's part be done on one node."""
        with entered(lab.netns_path(name)):
            return ensure(self.hosts[name])


def make(**policy: Any) -> Nodes:
    """Make both nodes, as a cloud starts them, and what the agent makes of them."""
    fabric = Fabric(*SUBNETS.values())
    for name in SUBNETS:
        lab.add_netns(name)
    fabric.sync(PORTS.values())
    for name, subnet in SUBNETS.items():
        start(name, f"{PORTS[f'eni-{name[1]}0'].addresses[0]}/24", str(ip_network(subnet)[1]))
    nodes = Nodes(fabric, {name: _host(name) for name in SUBNETS})
    nodes.ensure(**policy)
    return nodes


def start(name: str, address: str, gateway: str) -> None:
    """Give the node what DHCP gives it: an address on the primary, and the default route."""
    batch(
        name,
        f"addr add {address} dev eth0",
        "link set eth0 up",
        f"route add default via {gateway} dev eth0",
    )


def _host(name: str) -> VpcHost:
    enis = [
        Eni(port.name, port.mac, int(port.ifname[3:]), IPv4Interface(f"{port.addresses[0]}/24"))
        for port in PORTS.values()
        if port.node == name
    ]
    return VpcHost(enis[0], tuple(enis[1:]), (ip_network(VPC),), Policy())


def agent(*pods: str) -> Agent:
    """Return a double of the agent that has an address for each of `pods`, on its ENI."""
    found = Agent([])
    for pod in pods or PODS:
        node, address = PODS[pod]
        port = next(port for port in PORTS.values() if address in port.addresses)
        device, own = int(port.ifname[3:]), port.addresses[0]
        eni = {"id": port.name, "mac": port.mac, "device": device, "address": own}
        subnet = ip_network(SUBNETS[node])
        more = {"subnet": str(subnet), "gateway": str(subnet[1])}
        found.planned[pod] = place(address, eni, **more)
    return found


def add(suite: lab.Suite, pod: str, conf: Json = CONF) -> Any:
    """ADD a pod on its node, in a namespace of its name; return the result."""
    path = lab.add_netns(pod)
    with entered(lab.netns_path(PODS[pod][0])):
        return suite.call(conf["type"], "ADD", conf, netns=path, containerid=pod).ok().json


def call(suite: lab.Suite, verb: str, pod: str, conf: Json = CONF) -> lab.Reply:
    """Call another verb for a pod on its node."""
    with entered(lab.netns_path(PODS[pod][0])):
        return suite.call(conf["type"], verb, conf, netns=lab.netns_path(pod), containerid=pod)
