"""A bridge is shared: by pods, by networks, with what people do to it by hand."""

import json
import os
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni.kernel import netns
from tests import lab, networks, packets
from tests.plugins.test_bridge import V4, V6, bridges, gateway, ports
from tests.pods import add, addresses, leases, verb, veths

pytestmark = pytest.mark.usefixtures("host")
OTHER = "10.9.0.0/24"


def broken(*subnets: str, **keys: object) -> networks.Json:
    """Return a network whose ADD fails when the pod's port is there already."""
    ipam = networks.ipam(*(subnets or (V4,)), routes=[{"dst": "0.0.0.0/0", "gw": "0.0.0.0"}])
    return gateway() | {"ipam": ipam} | keys


def test_who_was_alone_can_be_so_again_though_a_child_is_still_at_work() -> None:
    with netns.alone() as first:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)

    with netns.alone() as second:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (first, second) == (True, True)


def test_nobody_on_the_hosts_network_can_keep_pods_from_their_bridge(suite: lab.Suite) -> None:
    """Whoever is in a network namespace may lock its file."""
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    holding = f"{nobody} flock /proc/self/ns/net sh -c 'echo held; read line'"
    words = shlex.split(holding)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        add(suite, gateway(), "pod")

        assert holder.poll() is None
        holder.communicate()


# another address


def test_a_bridge_with_another_address_is_refused_by_both_addresses(suite: lab.Suite) -> None:
    add(suite, gateway(), "one")
    lab.add_netns("two")

    reply = verb(suite, "ADD", gateway(OTHER, name="other"), "two").failed(101)

    assert '"cni0" already has an IP address different from 10.9.0.1/24' in reply.json["msg"]
    assert "10.1.2.1/24" in reply.json["details"]
    assert (addresses("", "cni0"), len(ports())) == ({"10.1.2.1/24"}, 1)


def test_ipv6_networks_share_a_bridge_unless_they_overlap(suite: lab.Suite) -> None:
    add(suite, gateway(V6), "one")
    add(suite, gateway("fd00:9::/64", name="other"), "two")
    lab.add_netns("three")

    reply = verb(suite, "ADD", gateway("fd00:1::/32", name="wide"), "three").failed(101)

    assert "fd00:1::1/32" in reply.json["msg"]
    assert "fd00:1:2::1/64" in reply.json["details"]
    assert addresses("", "cni0") == {"fd00:1:2::1/64", "fd00:9::1/64"}


def test_force_address_replaces_what_is_in_the_way_only(suite: lab.Suite) -> None:
    add(suite, gateway(V4, V6), "one")

    add(suite, gateway(OTHER, name="other", forceAddress=True), "two")

    assert addresses("", "cni0") == {"10.9.0.1/24", "fd00:1:2::1/64"}
    assert packets.seen_from("two", "", ("10.9.0.1", 80)) == "10.9.0.2"


def test_force_address_replaces_an_ipv6_address_that_overlaps(suite: lab.Suite) -> None:
    for name, subnet in (("one", V6), ("beside", "fd00:9::/64")):
        add(suite, gateway(subnet, name=name), name)

    add(suite, gateway("fd00:1::/32", name="wide", forceAddress=True), "two")

    assert addresses("", "cni0") == {"fd00:1::1/32", "fd00:9::1/64"}
    assert packets.reachable("two", "", ("fd00:1::1", 80))


def test_an_add_that_fails_replaces_no_address(suite: lab.Suite) -> None:
    add(suite, gateway(), "one")
    lab.add_netns("two")

    verb(suite, "ADD", broken(OTHER, name="other", forceAddress=True), "two").failed(104)

    assert addresses("", "cni0") == {"10.1.2.1/24"}
    assert packets.seen_from("one", "", ("10.1.2.1", 80)) == "10.1.2.2"


def test_two_networks_on_one_bridge_reach_each_other_and_are_collected_apart(
    suite: lab.Suite,
) -> None:
    first = gateway()
    ranges = [[{"subnet": V4, "rangeStart": "10.1.2.100"}]]
    second = gateway(name="second") | {"ipam": networks.ipam(V4, ranges=ranges)}
    add(suite, first, "one")
    add(suite, second, "two")

    assert packets.seen_from("one", "two", ("10.1.2.100", 80)) == "10.1.2.2"
    suite.call("bridge", "GC", networks.gc(first)).ok()
    assert len(ports()) == 1
    assert packets.seen_from("two", "", ("10.1.2.1", 80)) == "10.1.2.100"


def test_an_address_of_a_routed_pod_is_taken_over_or_refused(suite: lab.Suite) -> None:
    """The node's network was ptp before; a route of the host leads to the pod of that time."""
    add(suite, networks.ptp(V4), "old")
    lab.run(f"rm -r {networks.DATA_DIR}")
    lab.add_netns("new")

    reply = verb(suite, "ADD", gateway(name="other"), "new").failed(101)
    assert "kindnet/old/eth0" in reply.json["msg"]

    add(suite, gateway(), "new")
    assert packets.seen_from("", "new", ("10.1.2.2", 80)) == "10.1.2.1"


def test_an_interface_that_is_no_bridge_is_refused_by_name(suite: lab.Suite) -> None:
    lab.run("ip link add cni0 type veth peer name other")
    lab.add_netns("pod")

    reply = verb(suite, "ADD", gateway()).failed(7)

    assert '"cni0" already exists but is not a bridge' in reply.json["msg"]
    assert "veth" in reply.json["details"]
    assert leases() == set()


# what fails


def test_an_add_that_fails_takes_the_bridge_away_that_it_made(suite: lab.Suite) -> None:
    lab.add_netns("pod")

    verb(suite, "ADD", broken()).failed(104)

    assert (bridges(), veths(), leases()) == ([], [], set())


def test_an_add_that_finds_its_pairs_name_taken_leaves_nothing(suite: lab.Suite) -> None:
    """As when another network gives the same address at the same moment."""
    lab.run("ip link add other type veth peer name end")
    lab.run("ip link property add dev other altname cni0-10.1.2.2")
    lab.add_netns("pod")

    reply = verb(suite, "ADD", gateway()).failed(104)

    assert "cni0-10.1.2.2" in reply.json["msg"]
    assert (bridges(), sorted(veths()), leases()) == ([], ["end", "other"], set())


def test_an_add_that_fails_leaves_a_bridge_alone_that_was_there(suite: lab.Suite) -> None:
    lab.run("ip link add cni0 type bridge")
    lab.add_netns("pod")

    verb(suite, "ADD", broken()).failed(104)

    assert (bridges(), addresses("", "cni0"), veths()) == (["cni0"], set(), [])


def test_a_bridge_that_another_is_about_to_use_stays(suite: lab.Suite) -> None:
    """An ADD keeps it from the moment when it finds it until its port is in."""
    lab.add_netns("pod")

    with netns.shared():
        verb(suite, "ADD", broken()).failed(104)

    assert (bridges(), veths(), leases()) == (["cni0"], [], set())


def test_a_bridge_that_has_a_port_stays(suite: lab.Suite) -> None:
    """Here that of a pod that had lost its bridge."""
    add(suite, gateway(), "one")
    lab.run("ip link del cni0")
    lab.add_netns("two")

    verb(suite, "ADD", broken(), "two").failed(104)

    assert (bridges(), list(ports())) == (["cni0"], veths())


def test_adds_that_fail_never_take_the_bridge_from_those_that_succeed(
    imported: lab.Suite,
) -> None:
    """All at once, and the bridge is not there when they begin."""
    pods = [f"pod{number}" for number in range(8)]
    for pod in pods:
        lab.add_netns(pod)

    def attach(pod: str) -> lab.Reply:
        return verb(imported, "ADD", broken() if int(pod[-1]) % 2 else gateway(), pod)

    for _ in range(3):
        with ThreadPoolExecutor(len(pods)) as pool:
            replies = dict(zip(pods, pool.map(attach, pods), strict=True))

        added = [pod for pod, reply in replies.items() if reply.exit == 0]
        assert len(added) == len(pods) // 2
        assert (len(ports()), addresses("", "cni0")) == (len(added), {"10.1.2.1/24"})
        assert packets.reachable(added[0], "", ("10.1.2.1", 80))
        for pod in added:
            verb(imported, "DEL", gateway(), pod).ok()
        lab.run("ip link del cni0")


# underfoot


def test_a_bridge_that_was_removed_underfoot_is_repaired_by_the_next_add(
    suite: lab.Suite,
) -> None:
    """The pods that live become ports of the new one; CHECK tells of the time between."""
    conf = gateway(V4, V6, ipMasq=True, hairpinMode=True)
    result = add(suite, conf, "one")
    checked = conf | {"prevResult": result}
    assert packets.reachable("one", "", ("10.1.2.1", 80))
    lab.run("ip link del cni0")
    assert "cni0 is missing" in verb(suite, "CHECK", checked, "one").failed(102).json["msg"]

    add(suite, conf, "two")

    verb(suite, "CHECK", checked, "one").ok()
    for target in ("10.1.2.1", "fd00:1:2::1"):
        assert packets.reachable("one", "", (target, 80))
    assert packets.seen_from("two", "one", ("10.1.2.2", 80)) == "10.1.2.3"


def test_a_bridge_that_is_made_again_takes_in_its_pods_of_the_network_only(
    suite: lab.Suite,
) -> None:
    add(suite, gateway(), "one")
    add(suite, networks.ptp("10.8.0.0/24"), "routed")
    add(suite, networks.bridge(bridge="br1"), "elsewhere")
    add(suite, networks.bridge(name="other"), "other")
    for bridge in ("cni0", "br1"):
        lab.run(f"ip link del {bridge}")

    add(suite, gateway(), "two")

    assert (len(ports()), len(veths())) == (2, 5)
    assert packets.seen_from("routed", "", ("10.8.0.1", 80)) == "10.8.0.2"


def test_a_bridge_that_is_made_again_leaves_alone_the_pods_of_one_called_alike(
    suite: lab.Suite,
) -> None:
    add(suite, networks.bridge(bridge="cni0-b"), "elsewhere")
    lab.run("ip link del cni0-b")

    add(suite, networks.bridge(), "one")

    assert (len(ports()), len(veths())) == (1, 2)


def test_a_bridge_that_is_made_again_by_hand_is_repaired_too(suite: lab.Suite) -> None:
    result = add(suite, gateway(), "one")
    lab.run("ip link del cni0")
    lab.run("ip link add cni0 address " + result["interfaces"][0]["mac"] + " type bridge")
    lab.run("ip link set cni0 up")

    add(suite, gateway(), "two")

    verb(suite, "CHECK", gateway(prevResult=result), "one").ok()


def test_an_ipv6_gateway_stands_on_a_bridge_that_had_none(suite: lab.Suite) -> None:
    """A host may have IPv6 switched off on new interfaces (net.ipv6.conf.default)."""
    lab.run("sysctl -w net.ipv6.conf.default.disable_ipv6=1")
    add(suite, gateway(V4), "one")

    add(suite, gateway(V4, V6), "two")

    assert packets.reachable("two", "", ("fd00:1:2::1", 80))


@pytest.mark.parametrize("name", ["", "a/b", "much-too-long-a-name", ".", "a b", "br%d"])
def test_a_name_that_is_none_is_refused(imported: lab.Suite, name: str) -> None:
    lab.add_netns("pod")

    reply = verb(imported, "ADD", gateway(bridge=name)).failed(7)

    assert f"bridge {json.dumps(name)}" in reply.json["msg"]
    assert bridges() == []


def test_contradictions_are_refused_before_anything_is_done(imported: lab.Suite) -> None:
    lab.add_netns("pod")
    cases = {
        "hairpin mode and promiscuous": gateway(hairpinMode=True, promiscMode=True),
        "DisableContainerInterface": gateway(disableContainerInterface=True),
        "mac": gateway(runtimeConfig={"mac": "01:00:00:00:00:01"}),
        "args.cni.mac": gateway(args={"cni": {"mac": "no"}}),
        "mtu": gateway(mtu=67),
        'bridge "cni-podman1"': gateway(bridge="cni-podman1", vlan=4000),
    }

    for words, conf in cases.items():
        assert words in verb(imported, "ADD", conf).failed(7).json["msg"]
    assert "pf" in verb(imported, "ADD", gateway(ipMasqBackend="pf")).failed(2).json["msg"]
    assert (bridges(), list(Path(networks.DATA_DIR).parent.glob("cni-*"))) == ([], [])
