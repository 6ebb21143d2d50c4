"""ptp gives a pod a routed veth pair, whole or not at all, and takes all of it back."""

from typing import Any

import pytest

from tests import lab, networks, packets, snapshot
from tests.pods import add, addresses, elements, leases, outside, verb, veths

pytestmark = pytest.mark.usefixtures("host")
SUBNETS = {
    "IPv4": ("10.244.0.0/24",),
    "IPv6": ("fd00:10:244::/64",),
    "dual stack": ("10.244.0.0/24", "fd00:10:244::/64"),
}


@pytest.mark.parametrize("subnets", SUBNETS.values(), ids=SUBNETS)
def test_the_result_is_what_the_kernel_has(suite: lab.Suite, subnets: tuple[str, ...]) -> None:
    result = add(suite, networks.ptp(*subnets, mtu=1400))

    host, container = result["interfaces"]
    near = lab.ip(f"link show {host['name']}")[0]
    far = lab.ip("link show eth0", netns="pod")[0]
    assert (near["address"], near["mtu"]) == (host["mac"], 1400)
    assert (far["address"], far["mtu"]) == (container["mac"], 1400)
    assert container["sandbox"] == lab.netns_path("pod")
    assert {ip["address"] for ip in result["ips"]} == addresses("pod", "eth0")
    assert {ip["interface"] for ip in result["ips"]} == {1}
    assert len(result["routes"]) == len(subnets)


def test_the_container_reaches_everything_through_its_gateway(suite: lab.Suite) -> None:
    add(suite, networks.ptp())

    routes = lab.run("ip route", netns="pod").split("\n")
    assert [line.strip() for line in routes if line] == [
        "default via 10.244.0.1 dev eth0",
        "10.244.0.0/24 via 10.244.0.1 dev eth0 src 10.244.0.2",
        "10.244.0.1 dev eth0 scope link src 10.244.0.2",
    ]


@pytest.mark.parametrize("subnets", SUBNETS.values(), ids=SUBNETS)
def test_packets_pass_between_pods_and_host(suite: lab.Suite, subnets: tuple[str, ...]) -> None:
    conf = networks.ptp(*subnets)
    first, second = (add(suite, conf, pod) for pod in ("one", "two"))

    for here, there in zip(first["ips"], second["ips"], strict=True):
        source, target = (ip["address"].split("/")[0] for ip in (here, there))
        assert packets.seen_from("one", "two", (target, 80)) == source
        assert packets.seen_from("one", "", (here["gateway"], 80)) == source
        assert packets.seen_from("", "two", (target, 80), kind="udp") == there["gateway"]


def test_an_mtu_that_is_too_small_for_ipv6_is_told(suite: lab.Suite) -> None:
    lab.add_netns("pod")

    reply = verb(suite, "ADD", networks.ptp("fd00:10:244::/64", mtu=1279)).failed(104)

    assert "cannot use IPv6 on eth0" in reply.json["msg"]
    assert (veths(), leases()) == ([], set())


def test_an_address_is_usable_at_once(suite: lab.Suite) -> None:
    add(suite, networks.ptp("fd00:10:244::/64"))

    shown = lab.run("ip -6 addr show tentative", netns="pod") + lab.run("ip -6 addr show tentative")
    assert "fd00" not in shown


def test_a_single_address_needs_no_subnet_on_any_link(suite: lab.Suite) -> None:
    """IPAM programs other than host-local give /32 and /128."""
    address = {"address": "10.9.9.9/32", "gateway": "169.254.1.1"}
    static = {"type": "static", "addresses": [address], "routes": [{"dst": "0.0.0.0/0"}]}
    path = f"{suite.bin_dir}:/usr/lib/cni"

    conf = networks.ptp(cniVersion="1.0.0") | {"ipam": static}
    add(suite, conf, path=path)

    assert addresses("pod", "eth0") == {"10.9.9.9/32"}
    assert packets.seen_from("pod", "", ("169.254.1.1", 80)) == "10.9.9.9"


def test_the_pod_announces_its_address(suite: lab.Suite) -> None:
    add(suite, networks.ptp(*SUBNETS["dual stack"]))

    assert lab.run("cat /proc/sys/net/ipv4/conf/eth0/arp_notify", netns="pod").strip() == "1"
    assert lab.run("cat /proc/sys/net/ipv6/conf/eth0/ndisc_notify", netns="pod").strip() == "1"


def test_addresses_of_the_macs_do_not_change_between_pods_of_one_name(suite: lab.Suite) -> None:
    conf = networks.ptp()
    first = add(suite, conf)
    verb(suite, "DEL", conf).ok()

    second = add(suite, conf)

    assert first["interfaces"] == second["interfaces"]


def test_routes_carry_their_attributes(suite: lab.Suite) -> None:
    routes = [
        {"dst": "0.0.0.0/0", "mtu": 1300, "advmss": 1200},
        {"dst": "192.0.2.0/24", "priority": 50},
        {"dst": "198.51.100.0/24", "table": 100},
        {"dst": "203.0.113.0/24", "scope": 253},
    ]

    result = add(suite, networks.ptp() | {"ipam": networks.ipam(routes=routes)})

    main, table = (lab.run(f"ip route show table {name}", netns="pod") for name in ("main", 100))
    assert "default via 10.244.0.1 dev eth0 mtu 1300 advmss 1200" in main
    assert "192.0.2.0/24 via 10.244.0.1 dev eth0 metric 50" in main
    assert "203.0.113.0/24 dev eth0 scope link" in main
    assert "198.51.100.0/24 via 10.244.0.1 dev eth0" in table
    assert result["routes"] == routes


def test_two_gateways_to_one_destination_both_stand(suite: lab.Suite) -> None:
    gateways = ("10.244.0.1", "10.244.0.9")
    routes = [{"dst": "192.0.2.0/24", "gw": gateway} for gateway in gateways]

    add(suite, networks.ptp() | {"ipam": networks.ipam(routes=routes)})

    text = lab.run("ip route show 192.0.2.0/24", netns="pod")
    assert all(f"via {gateway}" in text for gateway in gateways)


def test_dns_of_the_plugin_replaces_that_of_ipam(suite: lab.Suite, tmp_path: Any) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.1\nsearch example.com\n")
    ipam = networks.ipam(resolvConf=str(resolv))
    cases: dict[str, tuple[networks.Json, networks.Json | None]] = {
        "without": ({}, {"nameservers": ["192.0.2.1"], "search": ["example.com"]}),
        "any key": ({"dns": {"domain": "cluster.local"}}, {"domain": "cluster.local"}),
        "an empty list": ({"dns": {"nameservers": []}}, None),
    }

    for number, (keys, wanted) in enumerate(cases.values()):
        result = add(suite, networks.ptp() | {"ipam": ipam} | keys, f"pod{number}")
        assert result.get("dns") == wanted


def test_masquerade_is_for_the_world_outside_only(suite: lab.Suite) -> None:
    conf = networks.ptp(*SUBNETS["dual stack"], ipMasq=True)
    add(suite, conf, "one")
    add(suite, conf, "two")
    outside({"outside": ("172.18.0.1/24", "172.18.0.2/24"), "out6": ("fd01::1/64", "fd01::2/64")})

    assert packets.seen_from("one", "outside", ("172.18.0.2", 80)) == "172.18.0.1"
    assert packets.seen_from("one", "out6", ("fd01::2", 80)) == "fd01::1"
    assert packets.seen_from("one", "two", ("10.244.0.3", 80)) == "10.244.0.2"
    assert packets.seen_from("one", "two", ("fd00:10:244::3", 80)) == "fd00:10:244::2"
    assert packets.seen_from("one", "", ("10.244.0.1", 80)) == "10.244.0.2"


def test_both_masquerade_backends_are_taken_and_others_refused(suite: lab.Suite) -> None:
    for number, backend in enumerate(("iptables", "nftables")):
        add(suite, networks.ptp(ipMasq=True, ipMasqBackend=backend), f"pod{number}")
    lab.add_netns("last")
    conf = networks.ptp(ipMasq=True, ipMasqBackend="pf")

    reply = suite.call("ptp", "ADD", conf, netns=lab.netns_path("last")).failed(2)

    assert "pf" in reply.json["msg"]
    assert "10.244.0.3" in elements()


def test_del_leaves_nothing(suite: lab.Suite) -> None:
    conf = networks.ptp(*SUBNETS["dual stack"], ipMasq=True)
    add(suite, conf)

    verb(suite, "DEL", conf).ok()

    assert (veths(), leases(), elements()) == ([], set(), "")
    assert "10.244" not in lab.run("ip route")
    assert "eth0" not in lab.run("ip link", netns="pod")


@pytest.mark.parametrize(
    "left_out",
    [("netns",), ("prevResult",), ("netns", "prevResult", "ranges")],
    ids=["no namespace", "no previous result", "a configuration that changed"],
)
def test_del_needs_the_name_only(suite: lab.Suite, left_out: tuple[str, ...]) -> None:
    conf = networks.ptp(ipMasq=True, cniVersion="1.0.0")
    result = add(suite, conf)
    later = dict(conf)
    if "prevResult" not in left_out:
        later["prevResult"] = result
    if "ranges" in left_out:
        later |= {"ipMasq": False, "mtu": "much", "prevResult": {"ips": 1}}
        later["ipam"] = {"type": "host-local", "dataDir": networks.DATA_DIR, "ranges": "gone"}
    netns = "" if "netns" in left_out else lab.netns_path("pod")

    suite.call("ptp", "DEL", later, netns=netns, containerid="pod").ok()
    suite.call("ptp", "DEL", later, netns=netns, containerid="pod").ok()

    assert (veths(), leases(), elements()) == ([], set(), "")


def test_del_after_the_namespace_is_gone_or_no_namespace_any_more(suite: lab.Suite) -> None:
    conf = networks.ptp(ipMasq=True)
    for pod in ("one", "two"):
        add(suite, conf, pod)
        lab.run(f"ip netns del {pod}")
    lab.run("touch /run/netns/two")  # what a reboot leaves

    verb(suite, "DEL", conf, "one").ok()
    verb(suite, "DEL", conf, "two").ok()

    assert (leases(), elements()) == (set(), "")


def test_a_second_add_is_refused_and_harms_nothing(suite: lab.Suite) -> None:
    conf = networks.ptp(ipMasq=True)
    result = add(suite, conf)

    reply = verb(suite, "ADD", conf).failed(101)

    assert "eth0 exists" in reply.json["msg"]
    assert verb(suite, "CHECK", conf | {"prevResult": result}).ok().stdout == ""
    assert packets.seen_from("pod", "", ("10.244.0.1", 80)) == "10.244.0.2"


def test_the_same_container_in_another_namespace_is_refused(suite: lab.Suite) -> None:
    conf = networks.ptp()
    add(suite, conf)
    lab.add_netns("other")

    reply = suite.call("ptp", "ADD", conf, netns=lab.netns_path("other"), containerid="pod")

    assert "host end exists" in reply.failed(101).json["msg"]
    assert leases() == {"10.244.0.2"}


def test_several_interfaces_of_one_container_are_apart(suite: lab.Suite) -> None:
    conf = networks.ptp()
    add(suite, conf)
    second = networks.ptp("10.245.0.0/24", name="second")
    second["ipam"]["routes"] = []
    add(suite, second, ifname="net1")

    verb(suite, "DEL", conf).ok()

    assert addresses("pod") == {"10.245.0.2/24"}
    assert len(veths()) == 1


CHANGES = {
    "address removed": ("ip addr del 10.244.0.2/24 dev eth0", "pod", "10.244.0.2/24"),
    "default route removed": ("ip route del default", "pod", "0.0.0.0/0"),
    "container's link down": ("ip link set eth0 down", "pod", "down"),
    "MAC changed": ("ip link set eth0 address 0a:00:00:00:00:01", "pod", "MAC"),
    "host route removed": ("ip route del 10.244.0.2", "", "10.244.0.2"),
    "host's link down": ("ip link set {veth} down", "", "down"),
    "pair removed": ("ip link del {veth}", "", "missing"),
    "masquerade removed": ("nft delete table inet pycni", "", "masquerading"),
    "lease removed": (f"rm {networks.DATA_DIR}/kindnet/10.244.0.2", "", "pod"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_check_sees(suite: lab.Suite, change: tuple[str, str, str]) -> None:
    command, netns, word = change
    conf = networks.ptp(ipMasq=True)
    conf["prevResult"] = add(suite, conf)
    verb(suite, "CHECK", conf).ok()

    lab.run(command.format(veth=veths()[0]), netns=netns)

    reply = verb(suite, "CHECK", conf)
    assert reply.exit == 1
    assert word in reply.json["msg"]


def test_check_without_the_result_says_so(suite: lab.Suite) -> None:
    conf = networks.ptp()
    add(suite, conf)

    assert "prevResult is missing" in verb(suite, "CHECK", conf).failed(7).json["msg"]


def test_check_changes_nothing(suite: lab.Suite) -> None:
    conf = networks.ptp(ipMasq=True)
    conf["prevResult"] = add(suite, conf)
    with snapshot.unchanged():
        verb(suite, "CHECK", conf).ok()


def test_gc_keeps_the_valid_and_removes_the_rest(suite: lab.Suite) -> None:
    conf = networks.ptp(ipMasq=True)
    other = networks.ptp("10.245.0.0/24", name="other", ipMasq=True)
    for pod in ("one", "two", "three"):
        add(suite, conf, pod)
    add(suite, other, "four")

    suite.call("ptp", "GC", networks.gc(conf, ("two", "eth0"))).ok()

    assert leases() == {"10.244.0.3"}
    assert len(veths()) == 2  # two's, and that of the other network
    assert "10.244.0.3" in elements()
    assert "10.244.0.2 " not in elements()
    assert "10.245.0.2" in elements()
    assert packets.seen_from("two", "", ("10.244.0.1", 80)) == "10.244.0.3"


def test_gc_without_a_list_touches_nothing_and_an_empty_one_takes_all(suite: lab.Suite) -> None:
    conf = networks.ptp(ipMasq=True)
    add(suite, conf)

    suite.call("ptp", "GC", conf).ok()
    assert (leases(), len(veths())) == ({"10.244.0.2"}, 1)
    suite.call("ptp", "GC", networks.gc(conf)).ok()
    assert (leases(), veths(), elements()) == (set(), [], "")


def test_status_speaks_for_ipam(suite: lab.Suite) -> None:
    conf = networks.ptp("10.244.0.0/30")
    suite.call("ptp", "STATUS", conf).ok()

    add(suite, conf)

    assert "10.244.0" in suite.call("ptp", "STATUS", conf).failed(50).stdout


def test_a_reused_address_goes_to_the_new_pod(suite: lab.Suite) -> None:
    """DEL of the first never came, but its lease is gone: its veth must not keep the address."""
    conf = networks.ptp("10.244.0.0/30", ipMasq=True)
    add(suite, conf, "old")
    lab.run(f"rm -r {networks.DATA_DIR}")

    result = add(suite, conf, "new")

    assert result["ips"][0]["address"] == "10.244.0.2/30"
    assert veths() == [result["interfaces"][0]["name"]]
    assert packets.seen_from("", "new", ("10.244.0.2", 80)) == "10.244.0.1"
    assert "kindnet/new/eth0" in elements()


@pytest.mark.parametrize("kind", ["blackhole", "prohibit", "unreachable"])
def test_a_host_may_drop_what_is_for_no_pod(suite: lab.Suite, kind: str) -> None:
    """As routers do that announce the pods' network: a pod is more than the route around it."""
    lab.run(f"ip route add {kind} 10.244.0.0/16")
    lab.run(f"ip -6 route add {kind} fd00:10:244::/48")

    result = add(suite, networks.ptp(*SUBNETS["dual stack"]), "pod")
    portmap = networks.portmap(result, networks.mapping(8080))
    suite.call("portmap", "ADD", portmap, netns=lab.netns_path("pod"), containerid="pod").ok()

    assert packets.reachable("", "pod", ("127.0.0.1", 8080), listen=80)


def test_an_address_of_another_network_is_refused_by_name(suite: lab.Suite) -> None:
    add(suite, networks.ptp("10.244.0.0/30"), "old")
    lab.add_netns("new")
    conf = networks.ptp("10.244.0.0/30", name="other")

    reply = suite.call("ptp", "ADD", conf, netns=lab.netns_path("new"), containerid="new")

    assert "kindnet/old/eth0" in reply.failed(101).json["msg"]
    assert packets.seen_from("", "old", ("10.244.0.2", 80)) == "10.244.0.1"


def test_a_reused_address_inherits_nothing_in_the_firewall(suite: lab.Suite) -> None:
    """The old pod's DEL was lost: its masquerading and its ports are not the new pod's."""
    conf = networks.ptp("10.244.0.0/30", ipMasq=True)
    result = add(suite, conf, "old")
    given = {"netns": lab.netns_path("old"), "containerid": "old"}
    mappings = networks.mapping(8080), networks.mapping(8081, hostIP="127.0.0.1")
    suite.call("portmap", "ADD", networks.portmap(result, *mappings), **given).ok()
    lab.run("ip netns del old")
    lab.run(f"rm -r {networks.DATA_DIR}")

    reply = suite.call("ptp", "ADD", conf | {"ipMasq": False}, netns=lab.add_netns("new"))

    assert reply.ok().json["ips"][0]["address"] == "10.244.0.2/30"
    assert elements() == ""


def test_del_and_add_can_follow_each_other_at_once(suite: lab.Suite) -> None:
    """DEL returns before the kernel has freed the old pair."""
    conf = networks.ptp()
    add(suite, conf)

    for _ in range(5):
        verb(suite, "DEL", conf).ok()
        assert veths() == []
        add(suite, conf)

    assert packets.seen_from("pod", "", ("10.244.0.1", 80)).startswith("10.244.0.")
