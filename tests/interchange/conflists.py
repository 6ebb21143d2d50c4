"""The networks that both sides serve, and the host that they are on."""

from tests import lab, networks, packets, pods
from tests.interchange.sides import Network, Side

SUBNETS = {4: "10.244.0.0/24", 6: "fd00:10:244::/64"}
NODE, OUTSIDE = "172.18.0.1", "172.18.0.2"
PORTS = (
    networks.mapping(8080),
    networks.mapping(8053, 53, "udp"),
    networks.mapping(8443, 443, hostIP=NODE),
)
NO_DAD = "sysctl -w net.ipv6.conf.default.accept_dad=0"


def ptp(*subnets: str, **keys: object) -> networks.Json:
    """Return a ptp network in the newest version that Debian's reference speaks."""
    return networks.ptp(*subnets, cniVersion="1.0.0", **keys)


def bridge(*subnets: str, **keys: object) -> networks.Json:
    """Return a bridge network in that version, with the bridge as gateway."""
    return networks.bridge(*subnets, cniVersion="1.0.0", isGateway=True, **keys)


BRIDGED = {"ipMasq": True, "hairpinMode": True, "macspoofchk": True}
CHAINS = {
    "routed": Network(ptp(SUBNETS[4])),
    "masqueraded": Network(ptp(SUBNETS[4], ipMasq=True)),
    "with host ports": Network(ptp(SUBNETS[4]), PORTS),
    "dual stack with everything": Network(ptp(*SUBNETS.values(), ipMasq=True), PORTS),
    "bridged": Network(bridge(SUBNETS[4])),
    "bridged, with everything": Network(bridge(*SUBNETS.values(), **BRIDGED), PORTS),
    "bridged, without addresses": Network(networks.bridge(cniVersion="1.0.0", promiscMode=True)),
}
EVERYTHING = Network(ptp(SUBNETS[4], ipMasq=True), PORTS)


def make_world() -> None:
    """Give this host a machine outside, and spare the reference its wait for IPv6.

    It waits until the search for duplicates is over: 2 s for each attachment.
    """
    lab.run(NO_DAD)
    pods.outside({"outside": (f"{NODE}/24", f"{OUTSIDE}/24")})


def add_pod(name: str = "pod") -> None:
    """Make the namespace of a pod; it does not search for duplicates either."""
    lab.add_netns(name)
    lab.run(NO_DAD, netns=name)


def add(side: Side, network: Network, pod: str = "pod") -> networks.Json:
    """Attach a new pod; return the result."""
    add_pod(pod)
    return side.add(network, pod)


def assert_traffic(network: Network, result: networks.Json, pod: str = "pod") -> None:
    """Fail unless the pod is reached, and reaches the world, as its network says."""
    for ip in result.get("ips", ()):
        address = ip["address"].split("/")[0]
        assert packets.seen_from("", pod, (address, 80)) == ip["gateway"]
    if network.interface.get("ipMasq"):
        assert packets.seen_from(pod, "outside", (OUTSIDE, 80)) == NODE
    for one in network.mappings:
        assert seen_through(one, pod) == OUTSIDE


def seen_through(mapping: networks.Json, pod: str, **options: int) -> str:
    """Talk from outside to a host port, answered in `pod`; return what the pod sees."""
    to, listen, kind = (NODE, mapping["hostPort"]), mapping["containerPort"], mapping["protocol"]
    return packets.seen_from("outside", pod, to, listen=listen, kind=kind, **options)
