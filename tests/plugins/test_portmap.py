"""portmap leads ports of the host to the pod, for everybody who asks, and takes them back."""

from typing import Any

import pytest

from tests import lab, networks, packets
from tests.networks import mapping
from tests.pods import add as add_ptp
from tests.pods import elements, outside

pytestmark = pytest.mark.usefixtures("host")
NODE, FAR = "172.18.0.1", "172.18.0.2"
DUAL = ("10.244.0.0/24", "fd00:10:244::/64")
BOTH = ("tcp", "udp")


def add(suite: lab.Suite, pod: str, *mappings: networks.Json, **keys: Any) -> Any:
    """Give `pod` an interface by ptp and its ports by portmap; return the result."""
    subnets = keys.pop("subnets", ())
    result = add_ptp(suite, networks.ptp(*subnets), pod)
    conf = networks.portmap(result, *mappings, **keys)
    assert verb(suite, "ADD", conf, pod).ok().json == result
    return conf


def verb(suite: lab.Suite, name: str, conf: networks.Json, pod: str) -> lab.Reply:
    """Call portmap for that pod."""
    return suite.call("portmap", name, conf, netns=lab.netns_path(pod), containerid=pod)


@pytest.fixture
def node(host: None) -> None:  # noqa: ARG001  # the machines stand on the test host
    """Give the host a neighbour called `outside`, at FAR."""
    outside({"outside": (f"{NODE}/24", f"{FAR}/24")})


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_host_port_is_reached_from_everywhere(suite: lab.Suite, kind: str) -> None:
    add(suite, "web", mapping(8080, protocol=kind))
    add(suite, "other")

    seen = {
        client: packets.seen_from(client, "web", (to, 8080), listen=80, kind=kind)
        for client, to in {"outside": NODE, "": NODE, "web": NODE, "other": NODE}.items()
    }
    # who is outside stays visible; who is in the pod's own subnet must be answered by the host
    assert seen == {"outside": FAR, "": NODE, "web": "10.244.0.1", "other": "10.244.0.1"}
    localhost = packets.seen_from("", "web", ("127.0.0.1", 8080), listen=80, kind=kind)
    assert localhost == "10.244.0.1"


@pytest.mark.usefixtures("node")
def test_only_the_mapped_protocol_and_port_are_led_away(suite: lab.Suite) -> None:
    add(suite, "web", mapping(8080))

    assert packets.reachable("outside", "web", (NODE, 8080), listen=80)
    assert packets.seen_from("outside", "", (NODE, 8080), kind="udp") == FAR
    assert packets.seen_from("outside", "", (NODE, 8081)) == FAR


def test_traffic_to_others_is_not_captured(suite: lab.Suite) -> None:
    """A packet through the host to port 8080 of another machine is none of ours."""
    outside({"outside": (f"{NODE}/24", f"{FAR}/24"), "far": ("172.19.0.1/24", "172.19.0.2/24")})
    lab.run(f"ip route add default via {NODE}", netns="outside")
    lab.run("ip route add default via 172.19.0.1", netns="far")
    add(suite, "web", mapping(8080))

    assert packets.seen_from("outside", "far", ("172.19.0.2", 8080)) == FAR


def test_ipv6_and_dual_stack(suite: lab.Suite) -> None:
    outside({"outside": (f"{NODE}/24", f"{FAR}/24"), "out6": ("fd01::1/64", "fd01::2/64")})
    add(suite, "web", mapping(8080), subnets=DUAL)

    assert packets.seen_from("outside", "web", (NODE, 8080), listen=80) == FAR
    assert packets.seen_from("out6", "web", ("fd01::1", 8080), listen=80) == "fd01::2"
    assert packets.seen_from("web", "web", ("fd01::1", 8080), listen=80) == "fd00:10:244::1"


@pytest.mark.usefixtures("node")
def test_host_ip_limits_a_mapping_to_one_address(suite: lab.Suite) -> None:
    lab.run("ip addr add 172.18.0.9/24 dev out0")
    add(suite, "web", mapping(8080, hostIP="172.18.0.9"), mapping(8081, hostIP="0.0.0.0"))

    assert packets.seen_from("outside", "web", ("172.18.0.9", 8080), listen=80) == FAR
    assert packets.seen_from("outside", "", (NODE, 8080)) == FAR
    assert packets.seen_from("outside", "web", (NODE, 8081), listen=80) == FAR


@pytest.mark.usefixtures("node")
def test_one_port_of_two_addresses_leads_to_two_pods(suite: lab.Suite) -> None:
    lab.run("ip addr add 172.18.0.9/24 dev out0")
    add(suite, "one", mapping(8080, hostIP=NODE))
    add(suite, "two", mapping(8080))

    assert packets.reachable("outside", "one", (NODE, 8080), listen=80)
    assert packets.reachable("outside", "two", ("172.18.0.9", 8080), listen=80)


def test_host_ip_of_another_family_is_left_out(suite: lab.Suite) -> None:
    add(suite, "web", mapping(8080, hostIP="::"), mapping(8081, hostIP="fd01::1"))

    assert elements() == ""


def test_sctp_is_mapped(suite: lab.Suite) -> None:
    """This kernel has no SCTP sockets to send with: the rule is all that can be seen."""
    add(suite, "web", mapping(8080, protocol="SCTP"))

    assert "sctp . 8080" in elements()
    assert "10.244.0.2 . 80" in elements()


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("keys", "far", "neighbour"),
    [({"masqAll": True}, "10.244.0.1", "10.244.0.1"), ({"snat": False}, FAR, "10.244.0.3")],
    ids=["masqAll", "no snat"],
)
def test_whose_address_the_pod_sees(
    suite: lab.Suite, keys: networks.Json, far: str, neighbour: str
) -> None:
    add(suite, "web", mapping(8080), **keys)
    add(suite, "other")

    assert packets.seen_from("outside", "web", (NODE, 8080), listen=80) == far
    assert packets.seen_from("other", "web", (NODE, 8080), listen=80) == neighbour


def test_the_mark_bit_is_the_one_asked_for(suite: lab.Suite) -> None:
    add(suite, "web", mapping(8080), markMasqBit=14)

    rules = lab.run("nft list table inet pycni")
    assert "meta mark set meta mark | 0x00004000" in rules
    assert "meta mark & 0x00004000 != 0x00000000 masquerade" in rules
    assert packets.seen_from("web", "web", ("10.244.0.1", 8080), listen=80) == "10.244.0.1"


def test_no_mappings_leave_no_trace(suite: lab.Suite) -> None:
    add(suite, "web")

    assert lab.run("nft list ruleset") == ""


def test_capability_keys_in_go_capitals_are_understood(suite: lab.Suite) -> None:
    """As containerd sends them."""
    entry = {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}

    add(suite, "web", entry)

    assert packets.reachable("", "web", ("127.0.0.1", 8080), listen=80)


@pytest.mark.usefixtures("node")
def test_udp_follows_the_port_to_another_pod(suite: lab.Suite) -> None:
    """A client that goes on sending from one port must not stay with the pod of before."""
    conf = add(suite, "one", mapping(5353, protocol="udp"))
    talk = {"listen": 80, "kind": "udp", "source_port": 40000}
    assert packets.reachable("outside", "one", (NODE, 5353), **talk)
    verb(suite, "DEL", conf, "one").ok()

    add(suite, "two", mapping(5353, protocol="udp"))

    assert packets.reachable("outside", "two", (NODE, 5353), **talk)


@pytest.mark.usefixtures("node")
def test_udp_flows_end_with_del(suite: lab.Suite) -> None:
    conf = add(suite, "one", mapping(5353, protocol="udp"))
    talk = {"kind": "udp", "source_port": 40000}
    assert packets.reachable("outside", "one", (NODE, 5353), listen=80, **talk)

    verb(suite, "DEL", conf, "one").ok()

    assert packets.reachable("outside", "", (NODE, 5353), **talk)


@pytest.mark.usefixtures("node")
def test_flows_to_other_ports_go_on(suite: lab.Suite) -> None:
    lab.run("sysctl -q -w net.netfilter.nf_conntrack_acct=0")
    add(suite, "one", mapping(5353, protocol="udp"))
    assert packets.reachable("outside", "one", (NODE, 5353), listen=80, kind="udp")

    add(suite, "two", mapping(5354, protocol="udp"))

    assert "dport=5353" in lab.run("conntrack -L -p udp")


@pytest.mark.usefixtures("node")
def test_a_port_used_again_leads_to_the_new_pod(suite: lab.Suite) -> None:
    add(suite, "one", mapping(8080))

    add(suite, "two", mapping(8080))

    assert packets.reachable("outside", "two", (NODE, 8080), listen=80)
    assert "portmap" not in elements()
    assert "kindnet/one/eth0" not in elements()


def test_del_needs_the_name_only_and_leaves_others_alone(suite: lab.Suite) -> None:
    add(suite, "one", mapping(8080), mapping(8081, protocol="udp"), subnets=DUAL)
    add(suite, "two", mapping(8082))
    conf = networks.portmap(None, backend="none", runtimeConfig={"portMappings": "gone"})

    for _ in range(2):
        suite.call("portmap", "DEL", conf, containerid="one").ok()

    assert "kindnet/one/eth0" not in elements()
    assert packets.reachable("", "two", ("127.0.0.1", 8082), listen=80)


def test_del_after_the_port_went_to_another_pod_takes_nothing(suite: lab.Suite) -> None:
    conf = add(suite, "one", mapping(8080))
    add(suite, "two", mapping(8080))

    verb(suite, "DEL", conf, "one").ok()

    assert packets.reachable("", "two", ("127.0.0.1", 8080), listen=80)


def test_a_pod_may_have_thousands_of_ports_and_lose_them_to_another(suite: lab.Suite) -> None:
    """More than a socket has room for as it comes: what is sent, the answers, the refusals."""
    ports = [mapping(port, protocol=kind) for port in range(20000, 20600) for kind in BOTH]
    conf = add(suite, "one", *ports, subnets=DUAL)
    assert elements().count("kindnet/one/eth0") == 4 * len(ports)

    add(suite, "two", *ports, subnets=DUAL)
    assert elements().count("kindnet/two/eth0") == 4 * len(ports)
    assert "kindnet/one/eth0" not in elements()

    suite.call("portmap", "GC", networks.gc(conf)).ok()
    assert elements() == ""


def test_two_interfaces_of_one_container_are_apart(suite: lab.Suite) -> None:
    conf = add(suite, "web", mapping(8080))
    second = conf | {"name": "second", "runtimeConfig": {"portMappings": [mapping(8081)]}}
    verb(suite, "ADD", second, "web").ok()

    verb(suite, "DEL", conf, "web").ok()

    assert not packets.reachable("", "web", ("127.0.0.1", 8080), listen=80)
    assert packets.reachable("", "web", ("127.0.0.1", 8081), listen=80)


def test_a_second_add_changes_nothing(suite: lab.Suite) -> None:
    conf = add(suite, "web", mapping(8080))
    before = lab.run("nft list ruleset")

    verb(suite, "ADD", conf, "web").ok()

    assert lab.run("nft list ruleset") == before


@pytest.mark.parametrize(
    "command",
    [
        "nft delete element inet pycni ports4 { tcp . 8080 }",
        "nft delete element inet pycni hairpin4 { tcp . 8080 }",
        "nft delete table inet pycni",
    ],
    ids=["port", "hairpin", "table"],
)
def test_check_sees_what_was_removed(suite: lab.Suite, command: str) -> None:
    conf = add(suite, "web", mapping(8080))
    verb(suite, "CHECK", conf, "web").ok()

    lab.run(command)

    assert "host ports are incomplete" in verb(suite, "CHECK", conf, "web").failed(102).stdout


def test_what_was_flushed_comes_back_with_the_next_add(suite: lab.Suite) -> None:
    conf = add(suite, "web", mapping(8080))
    lab.run("nft flush ruleset")

    verb(suite, "ADD", conf, "web").ok()

    assert packets.reachable("", "web", ("127.0.0.1", 8080), listen=80)


def test_gc_keeps_the_valid_and_other_networks(suite: lab.Suite) -> None:
    conf = add(suite, "one", mapping(8080))
    add(suite, "two", mapping(8081))
    add(suite, "three", mapping(8082), name="other")

    suite.call("portmap", "GC", conf).ok()
    assert "kindnet/one/eth0" in elements()
    suite.call("portmap", "GC", networks.gc(conf, ("two", "eth0"))).ok()

    assert "kindnet/one/eth0" not in elements()
    assert "kindnet/two/eth0" in elements()
    assert "other/three/eth0" in elements()


def test_status_is_ready_and_quiet(suite: lab.Suite) -> None:
    assert suite.call("portmap", "STATUS", networks.portmap(None)).ok().stdout == ""


REFUSED = {
    "no previous result": ({"prevResult": None}, 7, "prevResult is missing"),
    "backend": ({"backend": "pf"}, 2, 'unrecognized backend "pf"'),
    "host port 0": ({"mapping": {"hostPort": 0}}, 7, "Invalid host port number: 0"),
    "host port 65536": ({"mapping": {"hostPort": 65536}}, 7, "Invalid host port number: 65536"),
    "container port -1": ({"mapping": {"containerPort": -1}}, 7, "container port number: -1"),
    "protocol": ({"mapping": {"protocol": "icmp"}}, 2, "protocol 'icmp'"),
    "host IP": ({"mapping": {"hostIP": "here"}}, 7, "hostIP"),
    "mark bit": ({"markMasqBit": 32}, 7, "MasqMarkBit must be between 0 and 31"),
    "mark chain": ({"externalSetMarkChain": "KUBE-MARK-MASQ"}, 2, "KUBE-MARK-MASQ"),
    "mark chain and bit": (
        {"externalSetMarkChain": "X", "markMasqBit": 1},
        7,
        "Cannot specify externalSetMarkChain and markMasqBit",
    ),
    "conditions": ({"conditionsV4": ["-s", "1.2.3.4"]}, 2, "conditionsV4"),
    "conditions for IPv6": ({"conditionsV6": ["ip6", "saddr", "::1"]}, 2, "conditionsV6"),
    "one port twice": ({"second": {"containerPort": 81}}, 7, "cannot map host port 8080/tcp twice"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(suite: lab.Suite, case: tuple[networks.Json, int, str]) -> None:
    keys, code, words = case
    keys = dict(keys)
    entries = [mapping(8080) | keys.pop("mapping", {})]
    if "second" in keys:
        entries.append(mapping(8080) | keys.pop("second"))
    prev_result = {"cniVersion": "1.1.0", "ips": [{"address": "10.244.0.2/24"}]}
    lab.add_netns("web")

    reply = verb(suite, "ADD", networks.portmap(prev_result, *entries) | keys, "web")

    assert words in reply.failed(code).json["msg"]
    assert lab.run("nft list ruleset") == ""


def test_an_address_without_an_interface_is_the_containers(suite: lab.Suite) -> None:
    lab.add_netns("web")
    prev_result = {"cniVersion": "1.1.0", "ips": [{"address": "10.9.9.9/24"}]}

    verb(suite, "ADD", networks.portmap(prev_result, mapping(8080)), "web").ok()

    assert "10.9.9.9 . 80" in elements()


def test_addresses_of_other_interfaces_are_not_mapped(suite: lab.Suite) -> None:
    lab.add_netns("web")
    interfaces = [{"name": "cni0"}, {"name": "eth0", "sandbox": "/run/netns/web"}]
    ips = [
        {"interface": 0, "address": "10.9.9.1/24"},
        {"interface": 1, "address": "10.9.9.9/24"},
        {"interface": 1, "address": "10.9.9.10/24"},
    ]
    prev_result = {"cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips}

    verb(suite, "ADD", networks.portmap(prev_result, mapping(8080)), "web").ok()

    assert "10.9.9.9 . 80" in elements()
    assert "10.9.9.10" not in elements()
    assert "10.9.9.1 . 80" not in elements()
