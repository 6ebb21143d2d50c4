"""vxlan gives a pod what ptp does, and the node its ways to the pods of other nodes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ipam.host_local
import plugins.vxlan
from cni.agent import state
from cni.agent.conflist import fields, render
from cni.cluster import describe
from cni.kernel.netns import entered
from tests import faults, lab, networks, packets, snapshot
from tests.conftest import ROOT
from tests.overlay import nodes
from tests.overlay.capture import capture, unwrap
from tests.pods import add, addresses, elements, leases, outside, verb, veths

LOADED = (plugins.vxlan, ipam.host_local)  # the children need not load them
pytestmark = pytest.mark.usefixtures("host")
VERSIONS = {"IPv4": (4,), "IPv6": (6,), "dual stack": (4, 6)}
CLUSTER = {4: "10.244.0.0/16", 6: "fd00:244::/32"}


def peers(*versions: int) -> list[Any]:
    """Return the nodes of the cluster as a configuration lists them."""
    return [describe(nodes.member(name, versions, versions)) for name in nodes.NAMES]


def vxlan(name: str = "n1", versions: tuple[int, ...] = (4,), **keys: Any) -> networks.Json:
    """Return the network as it stands on the node `name`."""
    cidrs = [nodes.pod_cidr(name, version) for version in versions]
    own = {"type": "vxlan", "nodeName": name, "peers": peers(*versions)}
    return networks.ptp(*cidrs) | own | keys


def on_node(suite: lab.Suite, conf: networks.Json, pod: str, node: str = "n1") -> Any:
    """ADD a pod on a node; return the result."""
    with entered(lab.netns_path(node)):
        return add(suite, conf, pod)


def call(suite: lab.Suite, name: str, conf: networks.Json, pod: str = "pod") -> lab.Reply:
    """Call another verb on a pod of n1."""
    with entered(lab.netns_path("n1")):
        return verb(suite, name, conf, pod)


@pytest.mark.parametrize("versions", VERSIONS.values(), ids=VERSIONS)
def test_pods_of_all_nodes_reach_each_other(suite: lab.Suite, versions: tuple[int, ...]) -> None:
    nodes.machines()

    for name in nodes.NAMES:
        on_node(suite, vxlan(name, versions), nodes.pod(name), name)

    for version in versions:
        for source, target in (("n1", "n2"), ("n2", "n3"), ("n3", "n1")):
            assert nodes.reachable(source, target, version)
    with capture("n1", "eth0") as wire:
        assert nodes.reachable("n1", "n3", versions[0])
        assert {unwrap(packet).vni for packet in wire.wait(2)} == {1}


def test_a_pod_gets_what_ptp_gives_and_the_mtu_of_the_tunnel(suite: lab.Suite) -> None:
    nodes.machines()

    result = on_node(suite, vxlan(), "pod")

    assert [one["mtu"] for one in result["interfaces"]] == [1450, 1450]
    assert [one["address"] for one in result["ips"]] == ["10.244.1.2/24"]
    assert lab.ip("link show eth0", netns="pod")[0]["mtu"] == 1450
    assert "default via 10.244.1.1 dev eth0" in lab.run("ip route", netns="pod")


def test_the_mtu_follows_the_underlay_and_can_be_less(imported: lab.Suite) -> None:
    nodes.machines()
    nodes.batch("fabric", "link set n1 mtu 9000")
    nodes.batch("n1", "link set eth0 mtu 9000")

    follows = on_node(imported, vxlan(), "follows")
    less = on_node(imported, vxlan(mtu=1400), "less")

    assert [one["interfaces"][1]["mtu"] for one in (follows, less)] == [8950, 1400]


def test_del_leaves_nothing_of_the_pod_and_all_of_the_node(suite: lab.Suite) -> None:
    nodes.machines()
    conf = vxlan(versions=(4, 6), ipMasq=True, clusterCIDRs=list(CLUSTER.values()))
    on_node(suite, conf, "pod")
    before = nodes.state("n1")

    call(suite, "DEL", conf).ok()

    assert nodes.state("n1") == before
    with entered(lab.netns_path("n1")):
        assert (addresses("pod"), leases(), elements()) == (set(), set(), "")
        assert [name for name in veths() if name.startswith("veth")] == []


def test_del_and_gc_need_no_cluster(imported: lab.Suite) -> None:
    nodes.machines()
    conf = vxlan()
    on_node(imported, conf, "one")
    on_node(imported, conf, "two")
    broken = conf | {"peers": "gone", "peersFile": 5, "mode": "x", "nodeName": "nobody"}

    call(imported, "DEL", broken, "one").ok()
    call(imported, "GC", networks.gc(broken)).ok()

    assert leases() == set()
    assert "veth" not in lab.run("ip -br link show type veth", netns="n1").replace("eth0", "")


def test_gc_keeps_the_valid_and_the_ways(imported: lab.Suite) -> None:
    nodes.machines()
    for pod in ("one", "two"):
        on_node(imported, vxlan(), pod)
    before = nodes.state("n1")

    call(imported, "GC", networks.gc(vxlan(), ("two", "eth0"))).ok()

    assert leases() == {"10.244.1.3"}
    assert nodes.state("n1") == before


def test_a_second_add_is_refused_and_harms_nothing(imported: lab.Suite) -> None:
    nodes.machines()
    conf = vxlan()
    conf["prevResult"] = on_node(imported, conf, "pod")

    with snapshot.unchanged():
        call(imported, "ADD", conf).failed(101)
        call(imported, "CHECK", conf).ok()


# without the agent


def test_every_add_mends_the_ways_and_follows_the_list(imported: lab.Suite) -> None:
    nodes.machines()
    on_node(imported, vxlan(), "one")
    whole = nodes.state("n1")
    lab.run("ip link del pycni-vxlan", netns="n1")

    on_node(imported, vxlan(), "two")
    assert nodes.state("n1") == whole
    on_node(imported, vxlan(peers=peers(4)[:2]), "three")

    assert len(nodes.state("n1")["route"]) == 1


@pytest.mark.parametrize("form", ["JSON", "YAML"])
def test_peers_can_stand_in_a_file(suite: lab.Suite, tmp_path: Path, form: str) -> None:
    nodes.machines()
    file = tmp_path / "nodes"
    line = "- {{name: {name}, addresses: [{addresses[0]}], podCIDRs: [{podCIDRs[0]}]}}\n"
    yaml = "".join(line.format(**one) for one in peers(4))
    file.write_text(json.dumps(peers(4)) if form == "JSON" else yaml)
    conf = vxlan(peersFile=str(file), peers=None)

    conf["prevResult"] = on_node(suite, conf, "pod")

    assert len(nodes.state("n1")["route"]) == 2
    call(suite, "CHECK", conf).ok()


BAD_FILES = {  # contents, the code, what the message says
    "no file": (None, 5, "cannot read peersFile"),
    "garbage": ("{", 6, "cannot decode peersFile"),
    "an entry without a name": ("- addresses: [10.0.0.1]", 7, "nodes[0].name"),
    "a bad address": ("- {name: n1, addresses: [10.0.0]}", 7, "nodes[0].addresses"),
    "this node is missing": ("[]", 11, "n1"),
}


@pytest.mark.parametrize("bad", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_told_and_changes_nothing(
    imported: lab.Suite, tmp_path: Path, bad: tuple[str | None, int, str]
) -> None:
    contents, code, text = bad
    nodes.machines()
    on_node(imported, vxlan(), "one")
    lab.add_netns("pod")
    file = tmp_path / "nodes.yaml"
    if contents is not None:
        file.write_text(contents)

    with snapshot.unchanged():
        reply = call(imported, "ADD", vxlan(peersFile=str(file), peers=None)).failed(code)

    assert text in reply.json["msg"]


def test_peers_and_a_file_together_are_refused(imported: lab.Suite) -> None:
    lab.add_netns("n1")
    lab.add_netns("pod")

    reply = call(imported, "ADD", vxlan(peersFile="/etc/nodes")).failed(7)

    assert "peers and peersFile" in reply.json["msg"]


def test_many_adds_at_once_make_one_device(frozen_bin: Path) -> None:
    suite = lab.Suite(frozen_bin, imported=False)
    nodes.machines()
    pods = [f"pod{number}" for number in range(8)]
    for pod in pods:
        lab.add_netns(pod)
    given = [{"netns": lab.netns_path(pod), "containerid": pod} for pod in pods]

    def call_one(one: dict[str, str]) -> lab.Reply:
        with entered(lab.netns_path("n1")):
            return suite.call("vxlan", "ADD", vxlan(), **one)

    with ThreadPoolExecutor(len(pods)) as pool:
        replies = list(pool.map(call_one, given))

    assert [reply.exit for reply in replies] == [0] * len(pods), [one.stdout for one in replies]
    assert len(lab.ip("link show type vxlan", netns="n1")) == 1


# with the agent


def test_with_the_agent_its_device_is_needed_and_nothing_of_it_touched(suite: lab.Suite) -> None:
    made = nodes.make()
    conf = vxlan(peers=None)
    before = nodes.state("n1")

    result = on_node(suite, conf, "pod")
    with entered(lab.netns_path("n1")):
        call(suite, "CHECK", conf | {"prevResult": result}).ok()
        call(suite, "STATUS", conf).ok()
        assert nodes.state("n1") == before
        made.overlays["n1"].delete()
    lab.add_netns("other")

    reply = call(suite, "ADD", conf, "other").failed(11)
    assert "pycni-vxlan" in reply.json["msg"]
    assert "agent" in reply.json["details"]
    assert leases() == {"10.244.1.2"}
    call(suite, "STATUS", conf).failed(51)
    call(suite, "CHECK", conf | {"prevResult": result}).failed(102)


def test_with_the_agent_the_mtu_is_that_of_its_device(imported: lab.Suite) -> None:
    nodes.make(underlay=(6,))

    result = on_node(imported, vxlan(peers=None), "pod")

    assert result["interfaces"][1]["mtu"] == 1430


@pytest.mark.parametrize("name", ["vxlan", "kindnet", "kubenet"])
def test_the_agents_conflists_are_complete_but_for_their_fields(
    imported: lab.Suite, name: str
) -> None:
    nodes.make(underlay=(4, 6), pods=(4, 6))
    template = (ROOT / f"conflists/templates/10-{name}.conflist").read_text()
    conflist = json.loads(render(template, fields(nodes.member("n1"), (), None, 1400)))

    conf = {"cniVersion": "1.0.0", "name": name} | conflist["plugins"][0]
    result = on_node(imported, conf, "pod")

    assert [ip["address"] for ip in result["ips"]] == ["10.244.1.2/24", "fd00:244:1::2/64"]
    assert result["interfaces"][1]["mtu"] == 1400
    assert conflist["plugins"][1]["type"] == "portmap"


def test_a_device_that_is_down_is_told(imported: lab.Suite) -> None:
    nodes.make()
    lab.run("ip link set pycni-vxlan down", netns="n1")
    lab.add_netns("pod")

    reply = call(imported, "ADD", vxlan(peers=None)).failed(11)

    assert "pycni-vxlan is down" in reply.json["msg"]


# what CHECK and STATUS see

BROKEN = {
    "device deleted": ("ip link del pycni-vxlan", "pycni-vxlan"),
    "device down": ("ip link set pycni-vxlan down", "pycni-vxlan"),
    "a route deleted": ("ip route del 10.244.2.0/24", "10.244.2.0/24"),
    "a neighbour deleted": (
        "ip neigh del 10.244.2.0 dev pycni-vxlan",
        "10.244.2.0",
    ),
    "FDB flushed": ("bridge fdb flush dev pycni-vxlan self", "fdb"),
    "a stray route": ("ip route add 10.99.0.0/24 via 172.18.0.1 proto 111", "10.99.0.0/24"),
    "the pod's route deleted": ("ip route del 10.244.1.2", "10.244.1.2"),
    "network card gone": ("ip link del eth0", "172.18.0.2"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_check_sees(imported: lab.Suite, broken: tuple[str, str]) -> None:
    command, word = broken
    nodes.machines()
    conf = vxlan()
    conf["prevResult"] = on_node(imported, conf, "pod")
    call(imported, "CHECK", conf).ok()

    lab.run(command, netns="n1")

    with snapshot.unchanged():
        assert word in call(imported, "CHECK", conf).failed(102).json["msg"]


STATUS = {  # what is done to n1, changes of the configuration, code, what is told
    "fine": ("addr show", {}, 0, ""),
    "VNI in use": ("link add flannel.1 type vxlan id 1 dstport 8472", {}, 50, "flannel.1"),
    "name in use": ("link add pycni-vxlan type veth", {}, 50, "not a vxlan"),
    "no such node": ("addr show", {"nodeName": "n9"}, 51, "n9"),
    "no such address": ("addr flush dev eth0 scope global", {}, 51, "172.18.0.2"),
    "wrong settings": ("addr show", {"vni": 0}, 7, "vni"),
}


@pytest.mark.parametrize("case", STATUS.values(), ids=STATUS)
def test_status(imported: lab.Suite, case: tuple[str, networks.Json, int, str]) -> None:
    command, keys, code, text = case
    nodes.machines()
    nodes.batch("n1", command)

    with snapshot.unchanged():
        reply = call(imported, "STATUS", vxlan(**keys))

    assert reply.exit == (1 if code else 0), reply.stdout
    assert not code or (reply.json["code"], text in reply.json["msg"]) == (code, True)


@pytest.mark.parametrize("program", ["ptp", "vxlan"])
def test_status_asks_the_agent_that_keeps_the_network(suite: lab.Suite, program: str) -> None:
    nodes.make()
    conf = vxlan(type=program, peers=None)
    state.write({"network": "kindnet", "ready": False, "reasons": ["masq: no nf_tables"]})

    assert "no nf_tables" in call(suite, "STATUS", conf).failed(50).json["details"]
    call(suite, "STATUS", conf | {"name": "other"}).ok()

    state.write({"network": "kindnet", "ready": True, "reasons": []})
    call(suite, "STATUS", conf).ok()
    Path(state.PATH).unlink()


# masquerading


def test_masquerade_is_not_for_pods_of_other_nodes(suite: lab.Suite) -> None:
    nodes.machines()
    conf = {"ipMasq": True, "clusterCIDRs": list(CLUSTER.values())}
    for name in ("n1", "n3"):
        on_node(suite, vxlan(name, (4, 6), **conf), nodes.pod(name), name)
    with entered(lab.netns_path("n1")):
        outside({"out": ("192.0.2.1/24", "192.0.2.2/24"), "out6": ("fd01::1/64", "fd01::2/64")})

    assert nodes.reachable("n1", "n3", 4)
    assert nodes.reachable("n1", "n3", 6)
    assert packets.seen_from("p1", "out", ("192.0.2.2", 80)) == "192.0.2.1"
    assert packets.seen_from("p1", "out6", ("fd01::2", 80)) == "fd01::1"


def test_masquerade_without_the_clusters_networks_is_refused(imported: lab.Suite) -> None:
    lab.add_netns("n1")
    lab.add_netns("pod")

    assert "clusterCIDRs" in call(imported, "ADD", vxlan(ipMasq=True)).failed(7).json["msg"]


# ADD stopped on its way


@pytest.mark.parametrize("action", [faults.fail, faults.kill], ids=["fails", "is killed"])
def test_an_add_that_is_stopped_leaves_no_pod(imported: lab.Suite, action: Any) -> None:
    nodes.machines()
    netns = lab.add_netns("pod")
    files = ("plugins/vxlan.py",)
    text, given = json.dumps(vxlan()).encode(), {"netns": netns, "containerid": "pod"}
    lines = 0

    for count in range(1, faults.LIMIT, 2):
        lab.run("ip link del pycni-vxlan", netns="n1", check=False)
        with entered(lab.netns_path("n1")):
            reply = faults.call_stopped(imported, "vxlan", text, count, files, action, **given)
        if reply.exit == 0:
            lines = count
            break
        if action is faults.kill:
            call(imported, "DEL", vxlan()).ok()
        assert leases() == set(), f"after {count} lines"
        assert "eth0" not in lab.run("ip link", netns="pod")

    assert lines > 20
    assert len(nodes.state("n1")["route"]) == 2
