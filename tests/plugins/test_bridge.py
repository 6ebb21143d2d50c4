"""bridge gives a pod a port of a bridge, whole or not at all, and takes all of it back."""

from pathlib import Path

import pytest

from cni.agent import state
from tests import lab, networks, packets, snapshot
from tests.pods import add, addresses, elements, leases, outside, verb, veths

pytestmark = pytest.mark.usefixtures("host")
V4, V6 = "10.1.2.0/24", "fd00:1:2::/64"
SUBNETS = {"IPv4": (V4,), "IPv6": (V6,), "dual stack": (V4, V6)}
GATEWAYS = {V4: "10.1.2.1/24", V6: "fd00:1:2::1/64"}


def gateway(*subnets: str, **keys: object) -> networks.Json:
    """Return a network whose bridge is the gateway."""
    return networks.bridge(*(subnets or (V4,)), isGateway=True, **keys)


def ports(bridge: str = "cni0") -> dict[str, dict[str, object]]:
    """Return the settings of the bridge's ports, by name."""
    links = lab.ip(f"link show master {bridge}")
    return {one["ifname"]: one["linkinfo"]["info_slave_data"] for one in links}


def bridges() -> list[str]:
    """Return the names of the bridges."""
    return [one["ifname"] for one in lab.ip("link show type bridge")]


@pytest.mark.parametrize("subnets", SUBNETS.values(), ids=SUBNETS)
def test_the_result_is_what_the_kernel_has(suite: lab.Suite, subnets: tuple[str, ...]) -> None:
    result = add(suite, gateway(*subnets, mtu=1400))

    bridge, near, far = result["interfaces"]
    for said, netns in ((bridge, ""), (near, ""), (far, "pod")):
        there = lab.ip(f"link show {said['name']}", netns=netns)[0]
        assert (there["address"], there["mtu"]) == (said["mac"], 1400)
    assert (bridge["name"], far["name"], far["sandbox"]) == ("cni0", "eth0", "/run/netns/pod")
    assert list(ports()) == [near["name"]]
    assert {ip["address"] for ip in result["ips"]} == addresses("pod", "eth0")
    assert {ip["interface"] for ip in result["ips"]} == {2}
    assert addresses("", "cni0") == {GATEWAYS[subnet] for subnet in subnets}
    assert len(result["routes"]) == len(subnets)


@pytest.mark.parametrize("subnets", SUBNETS.values(), ids=SUBNETS)
def test_packets_pass_between_pods_and_host(suite: lab.Suite, subnets: tuple[str, ...]) -> None:
    conf = gateway(*subnets)
    first, second = (add(suite, conf, pod) for pod in ("one", "two"))

    for here, there in zip(first["ips"], second["ips"], strict=True):
        source, target = (ip["address"].split("/")[0] for ip in (here, there))
        assert packets.seen_from("one", "two", (target, 80)) == source
        assert packets.seen_from("one", "", (here["gateway"], 80)) == source
        assert packets.seen_from("", "two", (target, 80), kind="udp") == there["gateway"]


def test_the_container_has_its_subnet_on_the_link_and_ipams_routes(suite: lab.Suite) -> None:
    add(suite, gateway())

    lines = lab.run("ip route", netns="pod").split("\n")
    assert [line.strip() for line in lines if line] == [
        "default via 10.1.2.1 dev eth0",
        "10.1.2.0/24 dev eth0 proto kernel scope link src 10.1.2.2",
    ]


def test_an_add_ends_with_a_port_that_forwards(suite: lab.Suite) -> None:
    result = add(suite, gateway(*SUBNETS["dual stack"]))

    assert ports()[result["interfaces"][1]["name"]]["state"] == "forwarding"
    shown = lab.run("ip -6 addr show tentative", netns="pod") + lab.run("ip -6 addr show tentative")
    assert "fd00" not in shown


def test_a_bridge_that_is_there_is_used_as_it_is(suite: lab.Suite) -> None:
    lab.run("ip link add br7 address 0a:00:00:00:00:07 type bridge")
    lab.run("ip link set br7 mtu 1450")

    result = add(suite, gateway(bridge="br7"))

    assert result["interfaces"][0] == {"name": "br7", "mac": "0a:00:00:00:00:07", "mtu": 1450}
    assert packets.seen_from("pod", "", ("10.1.2.1", 80)) == "10.1.2.2"
    assert bridges() == ["br7"]


def test_a_bridge_without_gateway_has_no_address(suite: lab.Suite) -> None:
    conf = networks.bridge(V4)
    first, _ = (add(suite, conf, pod) for pod in ("one", "two"))

    assert addresses("", "cni0") == set()
    assert first["ips"][0]["gateway"] == "10.1.2.1"  # IPAM's: another machine on the bridge
    assert packets.seen_from("one", "two", ("10.1.2.3", 80)) == "10.1.2.2"


def test_a_gateway_that_ipam_does_not_name_is_the_first_address(suite: lab.Suite) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.1.2.9/24"}]}
    conf = gateway(cniVersion="1.0.0") | {"ipam": ipam}

    result = add(suite, conf, path=f"{suite.bin_dir}:/usr/lib/cni")

    assert result["ips"][0]["gateway"] == "10.1.2.1"
    assert addresses("", "cni0") == {"10.1.2.1/24"}


def test_a_subnet_that_has_no_first_address_is_refused(suite: lab.Suite) -> None:
    ipam = {"type": "static", "addresses": [{"address": "255.255.255.255/32"}]}
    conf = gateway(cniVersion="1.0.0") | {"ipam": ipam}
    given = {"netns": lab.add_netns("pod"), "path": f"{suite.bin_dir}:/usr/lib/cni"}

    reply = suite.call("bridge", "ADD", conf, **given).failed(7)

    assert "cannot find a gateway for 255.255.255.255/32" in reply.json["msg"]
    assert (bridges(), veths()) == ([], [])


def test_an_mtu_that_is_too_small_for_ipv6_is_told(suite: lab.Suite) -> None:
    lab.add_netns("pod")

    reply = verb(suite, "ADD", gateway(V6, mtu=1279)).failed(104)

    assert "cannot use IPv6 on cni0" in reply.json["msg"]
    assert "MTU of at least 1280" in reply.json["details"]
    assert (bridges(), veths(), leases()) == ([], [], set())
    add(suite, gateway(V6, mtu=1280))


@pytest.mark.parametrize("own", [[], [{"dst": "0.0.0.0/0"}]], ids=["none", "one of IPAM's"])
def test_a_default_gateway_gives_each_family_one_default_route(
    suite: lab.Suite, own: list[networks.Json]
) -> None:
    ipam = networks.ipam(V4, V6, routes=[*own, {"dst": "192.0.2.0/24"}])

    result = add(suite, networks.bridge(isDefaultGateway=True, ipam=ipam))

    assert sum(one["dst"] == "0.0.0.0/0" for one in result["routes"]) == 1
    assert {"dst": "::/0", "gw": "fd00:1:2::1"} in result["routes"]
    for family, via in (("-4", "10.1.2.1"), ("-6", "fd00:1:2::1")):
        assert f"default via {via}" in lab.run(f"ip {family} route show default", netns="pod")
    assert addresses("", "cni0") == set(GATEWAYS.values())


def test_every_range_has_its_gateway_on_the_bridge(suite: lab.Suite) -> None:
    add(suite, gateway(V4, "10.1.3.0/24", V6, "fd00:1:3::/64"))

    assert addresses("", "cni0") == {*GATEWAYS.values(), "10.1.3.1/24", "fd00:1:3::1/64"}
    for target in ("10.1.2.1", "10.1.3.1", "fd00:1:2::1", "fd00:1:3::1"):
        assert packets.reachable("pod", "", (target, 80))


def test_the_host_forwards_only_for_a_gateway(suite: lab.Suite) -> None:
    def forwards() -> list[str]:
        keys = "net.ipv4.ip_forward net.ipv6.conf.all.forwarding"
        return lab.run(f"sysctl -n {keys}").split()

    add(suite, networks.bridge(V4, V6), "one")
    assert forwards() == ["0", "0"]
    add(suite, gateway(V6), "two")
    assert forwards() == ["0", "1"]


def test_masquerade_is_for_the_world_outside_only(suite: lab.Suite) -> None:
    conf = gateway(V4, V6, ipMasq=True)
    for pod in ("one", "two"):
        add(suite, conf, pod)
    outside({"outside": ("172.18.0.1/24", "172.18.0.2/24"), "out6": ("fd01::1/64", "fd01::2/64")})

    assert packets.seen_from("one", "outside", ("172.18.0.2", 80)) == "172.18.0.1"
    assert packets.seen_from("one", "out6", ("fd01::2", 80)) == "fd01::1"
    assert packets.seen_from("one", "two", ("10.1.2.3", 80)) == "10.1.2.2"
    assert packets.seen_from("one", "two", ("fd00:1:2::3", 80)) == "fd00:1:2::2"


def test_host_ports_lead_to_the_pod_and_back_to_itself(suite: lab.Suite) -> None:
    """With hairpin, as podman's and CRI-O's own networks have it."""
    result = add(suite, gateway(ipMasq=True, hairpinMode=True))
    outside({"outside": ("172.18.0.1/24", "172.18.0.2/24")})
    conf = networks.portmap(result, networks.mapping(8080))
    suite.call("portmap", "ADD", conf, netns="/run/netns/pod", containerid="pod").ok()

    assert packets.seen_from("outside", "pod", ("172.18.0.1", 8080), listen=80) == "172.18.0.2"
    assert packets.reachable("", "pod", ("127.0.0.1", 8080), listen=80)
    assert packets.reachable("pod", "pod", ("10.1.2.1", 8080), listen=80)


def test_del_leaves_the_bridge_and_nothing_else(suite: lab.Suite) -> None:
    conf = gateway(V4, V6, ipMasq=True, macspoofchk=True)
    add(suite, conf)

    verb(suite, "DEL", conf).ok()

    assert (veths(), leases(), elements()) == ([], set(), "")
    assert (bridges(), ports()) == (["cni0"], {})
    assert "eth0" not in lab.run("ip link", netns="pod")


@pytest.mark.parametrize(
    "left_out",
    [("netns",), ("prevResult",), ("netns", "prevResult", "keys")],
    ids=["no namespace", "no previous result", "a configuration that changed"],
)
def test_del_needs_the_name_only(suite: lab.Suite, left_out: tuple[str, ...]) -> None:
    conf = gateway(ipMasq=True, macspoofchk=True, cniVersion="1.0.0")
    result = add(suite, conf)
    later = dict(conf)
    if "prevResult" not in left_out:
        later["prevResult"] = result
    if "keys" in left_out:
        later |= {"ipMasq": False, "bridge": "br9", "vlan": "x", "macspoofchk": 1, "args": 7}
        later["ipam"] = {"type": "host-local", "dataDir": networks.DATA_DIR, "ranges": "gone"}
    netns = "" if "netns" in left_out else lab.netns_path("pod")

    for _ in range(2):
        suite.call("bridge", "DEL", later, netns=netns, containerid="pod").ok()

    assert (veths(), leases(), elements()) == ([], set(), "")


def test_del_after_the_namespace_is_gone_or_no_namespace_any_more(suite: lab.Suite) -> None:
    conf = gateway(ipMasq=True, macspoofchk=True)
    for pod in ("one", "two"):
        add(suite, conf, pod)
        lab.run(f"ip netns del {pod}")
    lab.run("touch /run/netns/two")  # what a reboot leaves

    for pod in ("one", "two"):
        verb(suite, "DEL", conf, pod).ok()

    assert (leases(), elements()) == (set(), "")


def test_a_second_add_is_refused_and_harms_nothing(suite: lab.Suite) -> None:
    conf = gateway(ipMasq=True)
    result = add(suite, conf)

    reply = verb(suite, "ADD", conf).failed(101)

    assert "eth0 exists" in reply.json["msg"]
    assert verb(suite, "CHECK", conf | {"prevResult": result}).ok().stdout == ""
    assert packets.seen_from("pod", "", ("10.1.2.1", 80)) == "10.1.2.2"


CHANGES = {
    "address removed": ("ip addr del 10.1.2.2/24 dev eth0", "pod", "10.1.2.2/24"),
    "default route removed": ("ip route del default", "pod", "0.0.0.0/0"),
    "container's link down": ("ip link set eth0 down", "pod", "down"),
    "MAC changed": ("ip link set eth0 address 0a:00:00:00:00:01", "pod", "MAC"),
    "bridge removed": ("ip link del cni0", "", "cni0 is missing"),
    "bridge's MAC changed": ("ip link set cni0 address 0a:00:00:00:00:01", "", "cni0 on the"),
    "bridge down": ("ip link set cni0 down", "", "cni0 on the host is down"),
    "gateway removed": ("ip addr del 10.1.2.1/24 dev cni0", "", "10.1.2.1/24"),
    "host's link down": ("ip link set {veth} down", "", "down"),
    "no port any more": ("ip link set {veth} nomaster", "", "not a port of bridge cni0"),
    "hairpin off": ("bridge link set dev {veth} hairpin off", "", "hairpin off"),
    "isolated no more": ("bridge link set dev {veth} isolated off", "", "isolated off"),
    "pair removed": ("ip link del {veth}", "", "missing"),
    "masquerade removed": ("nft delete table inet pycni", "", "masquerading"),
    "MAC check removed": ("nft flush map bridge pycni macs", "", "macspoofchk"),
    "lease removed": (f"rm {networks.DATA_DIR}/kindnet/10.1.2.2", "", "pod"),
}
ALL = {"ipMasq": True, "hairpinMode": True, "portIsolation": True, "macspoofchk": True}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_check_sees(imported: lab.Suite, change: tuple[str, str, str]) -> None:
    command, netns, word = change
    conf = gateway(**ALL)
    conf["prevResult"] = add(imported, conf)

    lab.run(command.format(veth=veths()[0]), netns=netns)

    reply = verb(imported, "CHECK", conf)
    assert reply.exit == 1
    assert word in reply.json["msg"]


def test_check_is_content_with_what_add_made_and_changes_nothing(suite: lab.Suite) -> None:
    conf = gateway(V4, V6, **ALL)
    conf["prevResult"] = add(suite, conf)

    with snapshot.unchanged():
        verb(suite, "CHECK", conf).ok()


def test_check_leaves_to_others_what_they_added_to_the_result(imported: lab.Suite) -> None:
    """As a chain does whose next program makes an interface, too."""
    conf = gateway()
    result = add(imported, conf)
    ip = {"address": "10.7.0.2/24", "gateway": "10.7.0.1", "interface": len(result["interfaces"])}
    result["interfaces"].append({"name": "net1", "sandbox": lab.netns_path("pod")})
    result["ips"].append(ip)

    verb(imported, "CHECK", conf | {"prevResult": result}).ok()


def test_gc_keeps_the_valid_and_removes_the_rest(suite: lab.Suite) -> None:
    conf = gateway(ipMasq=True, macspoofchk=True)
    other = gateway("10.9.0.0/24", name="other", bridge="br1", ipMasq=True, macspoofchk=True)
    for pod in ("one", "two", "three"):
        add(suite, conf, pod)
    add(suite, other, "four")

    suite.call("bridge", "GC", networks.gc(conf, ("two", "eth0"))).ok()

    assert leases() == {"10.1.2.3"}
    assert (len(ports()), len(ports("br1"))) == (1, 1)
    assert "kindnet/one" not in elements()
    assert all(f"{owner}/eth0" in elements() for owner in ("kindnet/two", "other/four"))
    assert packets.seen_from("two", "", ("10.1.2.1", 80)) == "10.1.2.3"


def test_gc_without_a_list_touches_nothing_and_an_empty_one_takes_all(suite: lab.Suite) -> None:
    conf = gateway(**ALL)
    add(suite, conf)

    suite.call("bridge", "GC", conf).ok()
    assert (leases(), len(ports())) == ({"10.1.2.2"}, 1)
    suite.call("bridge", "GC", networks.gc(conf)).ok()
    assert (leases(), veths(), elements()) == (set(), [], "")


def test_status_speaks_for_the_bridge_and_for_ipam(suite: lab.Suite) -> None:
    conf = gateway("10.1.2.0/30")
    suite.call("bridge", "STATUS", conf).ok()
    add(suite, conf)
    lab.run("ip link add br9 type veth peer name br9p")

    assert "10.1.2" in suite.call("bridge", "STATUS", conf).failed(50).stdout
    reply = suite.call("bridge", "STATUS", conf | {"bridge": "br9"}).failed(50)
    assert '"br9" already exists but is not a bridge' in reply.json["msg"]
    assert "dns" in suite.call("bridge", "STATUS", conf | {"dns": 7}).failed(7).json["msg"]


def test_status_waits_for_the_agent_that_keeps_the_network(imported: lab.Suite) -> None:
    Path("/run/pycni").mkdir()
    said = {"network": "kindnet", "ready": False, "reasons": ["no nodes yet"]}
    state.write(said)

    reply = imported.call("bridge", "STATUS", gateway()).failed(50)

    assert "no nodes yet" in reply.json["details"]
    imported.call("bridge", "STATUS", gateway(name="other")).ok()
    state.write(said | {"ready": True})
    imported.call("bridge", "STATUS", gateway()).ok()


def test_a_reused_address_goes_to_the_new_pod(suite: lab.Suite) -> None:
    """DEL of the first never came, but its lease is gone: its pair must not keep the address."""
    conf = gateway("10.1.2.0/30", "fd00:1:2::/126")
    add(suite, conf, "old")
    lab.run(f"rm -r {networks.DATA_DIR}")

    result = add(suite, conf, "new")

    assert result["ips"][0]["address"] == "10.1.2.2/30"
    assert list(ports()) == [result["interfaces"][1]["name"]]
    for address in ("10.1.2.2", "fd00:1:2::2"):
        assert packets.reachable("", "new", (address, 80))


def test_an_address_of_another_network_on_the_bridge_is_refused_by_name(suite: lab.Suite) -> None:
    add(suite, gateway("10.1.2.0/30"), "old")
    lab.add_netns("new")

    reply = verb(suite, "ADD", gateway("10.1.2.0/30", name="other"), "new").failed(101)

    assert "kindnet/old/eth0" in reply.json["msg"]
    add(suite, gateway("10.1.2.0/30", name="other", bridge="br1", forceAddress=True), "new")
    assert packets.seen_from("old", "", ("10.1.2.1", 80)) == "10.1.2.2"


def test_a_pair_is_found_by_the_address_of_its_pod(suite: lab.Suite) -> None:
    result = add(suite, gateway(*SUBNETS["dual stack"]))

    for name in ("cni0-10.1.2.2", "cni0-fd00_1_2__2"):
        assert lab.ip(f"link show {name}")[0]["ifname"] == result["interfaces"][1]["name"]


def test_del_and_add_can_follow_each_other_at_once(suite: lab.Suite) -> None:
    """DEL returns before the kernel has freed the old pair."""
    conf = gateway()
    for _ in range(5):
        add(suite, conf)
        verb(suite, "DEL", conf).ok()
        assert veths() == []
    add(suite, conf)

    assert packets.seen_from("pod", "", ("10.1.2.1", 80)).startswith("10.1.2.")
