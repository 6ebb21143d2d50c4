"""The network of a VPC among nodes that are network namespaces: it knows who has which address.

Every ENI that is attached to a node is a veth pair between the node's namespace, where it has the
ENI's MAC, and the namespace called fabric.  The fabric takes a packet from an ENI only if its
source is one of that ENI's addresses, and brings it to the ENI that has the destination, by its
MAC: the node need not have the address on an interface.  It is the router of every subnet, and
answers ARP for whatever is assigned, as a VPC does.  `outside` is a machine in no subnet of the
VPC that knows the way into it, as one behind a peering or a VPN does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

from tests import lab
from tests.overlay.nodes import batch

FABRIC, OUTSIDE = "fabric", "outside"
VPC = "10.0.0.0/16"
OUTSIDE_ADDRESS, OUTSIDE_GATEWAY = "198.51.100.7", "198.51.100.1"
FILTER = """
table ip fabric {
    set assigned { type ifname . ipv4_addr; flags interval; }
    counter strangers { }
    chain prerouting {
        type filter hook prerouting priority raw
        iifname "eni*" iifname . ip saddr != @assigned counter name strangers drop
    }
}
"""


@dataclass(frozen=True)
class Port:
    """An ENI that is attached to a node as `ifname`; the first of `addresses` is its own.

    The others are secondary addresses and /28 prefixes.
    """

    name: str  # eni-…
    node: str
    ifname: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def device(self) -> str:
        """Return the name of the fabric's end: its last ten characters are the ENI's."""
        return f"eni{self.name.removeprefix('eni-')[-10:]}"

    @property
    def networks(self) -> list[IPv4Network]:
        return [ip_network(one) for one in self.addresses if ":" not in one]  # type: ignore[misc]


class Fabric:
    """The fabric, and what is plugged in."""

    def __init__(self, *subnets: str) -> None:
        self.ports: dict[str, Port] = {}
        lab.add_netns(FABRIC)
        lab.add_netns(OUTSIDE)
        lab.run("sysctl -q net.ipv4.ip_forward=1", netns=FABRIC)
        batch(
            FABRIC,
            *(f"addr add {ip_network(subnet)[1]}/32 dev lo" for subnet in subnets),
            f"route add blackhole {VPC}",
            f"link add outside up type veth peer name eth0 netns {OUTSIDE}",
            f"addr add {OUTSIDE_GATEWAY}/24 dev outside",
        )
        batch(
            OUTSIDE,
            f"addr add {OUTSIDE_ADDRESS}/24 dev eth0",
            "link set eth0 up",
            f"route add {VPC} via {OUTSIDE_GATEWAY}",
        )
        lab.run("nft -f -", netns=FABRIC, stdin=FILTER)

    def sync(self, ports: Iterable[Port]) -> None:
        """Make it what the cloud says: which ENIs are attached where, with which addresses."""
        wanted = {port.name: port for port in ports}
        for name in [*self.ports]:
            old, new = self.ports[name], wanted.get(name)
            if new is None or (new.node, new.mac) != (old.node, old.mac):
                batch(FABRIC, f"link del {old.device}")
                del self.ports[name]
        for name, port in wanted.items():
            old_addresses = self.ports[name].addresses if name in self.ports else ()
            if name not in self.ports:
                _plug(port)
            if old_addresses != port.addresses:
                _route(port, old_addresses)
            self.ports[name] = port
        self._filter()

    def own(self, node: str) -> str:
        """Return a node's own address: that of its primary."""
        return next(
            port.addresses[0]
            for port in self.ports.values()
            if (port.node, port.ifname) == (node, "eth0")
        )

    def assign(self, name: str, *addresses: str) -> None:
        """Put more addresses on an ENI."""
        self._change(name, (*self.ports[name].addresses, *addresses))

    def unassign(self, name: str, *addresses: str) -> None:
        """Take addresses from an ENI."""
        kept = [one for one in self.ports[name].addresses if one not in addresses]
        self._change(name, tuple(kept))

    def _change(self, name: str, addresses: tuple[str, ...]) -> None:
        old = self.ports[name]
        new = Port(old.name, old.node, old.ifname, old.mac, addresses)
        self.sync([*(port for port in self.ports.values() if port.name != name), new])

    def _filter(self) -> None:
        elements = [
            f'"{port.device}" . {one}' for port in self.ports.values() for one in port.networks
        ]
        text = "flush set ip fabric assigned\n"
        if elements:
            text += f"add element ip fabric assigned {{ {', '.join(elements)} }}\n"
        lab.run("nft -f -", netns=FABRIC, stdin=text)

    @staticmethod
    def dropped() -> int:
        """Return how many packets came from an ENI that has not their source."""
        text = lab.run("nft list counter ip fabric strangers", netns=FABRIC)
        return int(text.split("packets ")[1].split()[0])


def _plug(port: Port) -> None:
    batch(
        FABRIC,
        f"link add {port.device} mtu 9001 type veth peer name {port.ifname} address {port.mac}"
        f" netns {port.node}",
        f"link set {port.device} up",
    )
    settings = ("conf.{}.proxy_arp=1", "conf.{}.rp_filter=0", "neigh.{}.proxy_delay=0")
    words = " ".join(f"net.ipv4.{one.format(port.device)}" for one in settings)
    lab.run(f"sysctl -q {words}", netns=FABRIC)


def _route(port: Port, before: tuple[str, ...]) -> None:
    """Bring what the ENI has to it, by its MAC: its own address stands for all."""
    own, device = port.addresses[0], port.device
    gone = [one for one in before if one not in port.addresses]
    batch(
        FABRIC,
        f"neigh replace {own} lladdr {port.mac} dev {device} nud permanent",
        f"route replace {own}/32 dev {device}",
        *(f"route del {one} dev {device}" for one in gone),
        *(f"route replace {one} via {own} dev {device} onlink" for one in port.addresses[1:]),
    )
