"""What an operator sees of the agent's work by cnictl, and how all of it is taken away."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lab, snapshot
from tests.agent import machines
from tests.agent.machines import CONFLIST, NODES_FILE, Machine
from tests.overlay import nodes

LEASES = "/var/lib/cni/networks/vxlan"


@pytest.fixture
def machine(host: None, frozen_bin: Path) -> Iterator[Machine]:  # noqa: ARG001
    """Have n1 of three nodes, without an agent."""
    with machines.cluster(frozen_bin, "n1") as (one,):
        yield one


@pytest.fixture
def served(machine: Machine) -> Machine:
    """Have n1 with an agent that is ready."""
    machine.start()
    machine.wait_ready()
    return machine


def test_peers_when_all_is_well(served: Machine) -> None:
    said = served.run("cnictl", "peers").ok().stdout

    lines = [line.split() for line in said.splitlines()]
    way = ["via", "10.244.2.0", "dev", "pycni-vxlan"]
    assert ["n2", "172.18.0.3", "10.244.2.0/24", *way, "ok"] in lines
    assert any(line[:3] == ["vxlan", "7", "ok"] for line in lines)
    assert any(line[:1] == ["masq"] for line in lines)


def test_peers_tell_what_differs_with_or_without_an_agent(served: Machine) -> None:
    lab.run("ip neigh flush dev pycni-vxlan nud permanent", netns="n1")
    assert lab.wait_until(lambda: "1 neighbour" in _last_repair(served) or _repaired(served), 10)
    served.stop(signal.SIGKILL)
    lab.run("ip route delete 10.244.2.0/24", netns="n1")
    lab.run("ip route add 10.250.0.0/24 via 172.18.0.1 proto 111", netns="n1")

    reply = served.run("cnictl", "peers")

    assert reply.exit == 1
    assert "route 10.244.2.0/24 via 10.244.2.0 dev pycni-vxlan is missing" in reply.stdout
    assert "route 10.250.0.0/24 via 172.18.0.1 dev eth0 is too much" in reply.stdout
    states = {line.split()[0]: line.split()[-2:] for line in reply.stdout.splitlines()[1:3]}
    assert states["n2"] == ["1", "wrong"]
    assert states["n3"][-1] == "ok"
    assert "2 neighbour" in _last_repair(served)


def _repaired(machine: Machine) -> bool:
    return "neighbour" in _last_repair(machine)


def _last_repair(machine: Machine) -> str:
    found = json.loads(machine.run("cnictl", "peers", "--json").stdout)
    return str(found["roles"][0]["last_repair"])


def test_peers_of_an_agent_that_never_ran(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(f"{{roles: [routes], nodeName: n1, nodes: {{file: {NODES_FILE}}}}}")

    found = json.loads(machine.run("cnictl", "peers", "--json", "--config", str(config)).stdout)

    assert [one["name"] for one in found["peers"]] == ["n2", "n3"]
    assert found["peers"][0]["wrong"] == ["route 10.244.2.0/24 via 172.18.0.3 dev eth0 is missing"]
    assert found["peers"][1]["wrong"] == ["no way leads to the pods of n3"]  # behind the router


def test_peers_need_a_role_that_has_them(machine: Machine) -> None:
    reply = machine.run("cnictl", "peers", "--config", "/nowhere")

    assert reply.exit == 1
    assert "no role routes or vxlan" in reply.stderr
    assert reply.stderr.count("\n") == 1


def test_a_second_agent_is_refused(served: Machine) -> None:
    reply = served.run("pycnid", "--role", "masq", "--nodes-file", str(NODES_FILE))

    assert reply.exit == 1
    assert "another agent keeps this node" in reply.stderr


def test_cleanup_is_for_nodes_whose_agent_has_ended(served: Machine) -> None:
    before = nodes.state("n1")

    reply = served.run("cnictl", "cleanup", "--yes")

    assert reply.exit == 1
    assert "another agent keeps this node" in reply.stderr
    assert "systemctl" in reply.stderr
    assert nodes.state("n1") == before


def test_cleanup_asks_first(served: Machine) -> None:
    served.stop()
    before = nodes.state("n1")

    reply = served.run("cnictl", "cleanup")

    assert reply.exit == 130
    assert "pycni-vxlan" in reply.stdout
    assert nodes.state("n1") == before
    assert served.path(CONFLIST).exists()


def n1() -> dict[str, str]:
    """Return all of the node's network, but for what the kernel numbers."""
    found = snapshot.take()
    return {name: value for name, value in found.items() if name.startswith("netns n1:")}


@pytest.mark.parametrize("leases", [False, True], ids=["leases stay", "leases too"])
def test_cleanup_leaves_nothing_of_ours(machine: Machine, leases: bool) -> None:  # noqa: FBT001
    lab.run("nft add table ip foreign", netns="n1")
    lab.run("ip route add 10.99.0.0/24 via 172.18.0.1", netns="n1")
    before = n1()
    machine.start()
    machine.wait_ready()
    machine.add_pod()
    machine.stop()
    words = ["cleanup", "--yes", *["--leases"] * leases]

    said = machine.run("cnictl", *words).ok().stdout

    assert n1() == before
    assert not machine.path(CONFLIST).exists()
    assert list(machine.path("/run/pycni").iterdir()) == []
    assert machine.path(f"{LEASES}/10.244.1.2").exists() is not leases
    assert ("leases" in said) is leases
    assert machine.run("cnictl", *words).ok().stdout == "nothing of ours is here\n"
    machine.start()  # and it can begin again
    machine.wait_ready()


def test_cleanup_after_a_reboot_takes_the_conflist_that_the_agent_wrote(machine: Machine) -> None:
    foreign = machine.path("/run/net.d/20-bridged.conflist")
    foreign.write_text(json.dumps(BRIDGED))
    machine.start()
    machine.wait_ready()
    machine.stop()
    for file in machine.path("/run/pycni").iterdir():
        file.unlink()

    said = machine.run("cnictl", "cleanup", "--yes", "--config", "").ok().stdout

    assert f"the conflist {CONFLIST}" in said
    assert list(machine.path("/run/net.d").iterdir()) == [foreign]


def test_cleanup_leaves_a_conflist_that_others_put_in_the_place_of_ours(machine: Machine) -> None:
    machine.start()
    machine.wait_ready()
    machine.stop()
    machine.path("/run/pycni/agent.json").unlink()
    machine.path(CONFLIST).write_text(json.dumps(BRIDGED))

    machine.run("cnictl", "cleanup", "--yes").ok()

    assert json.loads(machine.path(CONFLIST).read_text()) == BRIDGED


BRIDGED = {
    "cniVersion": "1.0.0",
    "name": "bridged",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "br9",
            "isGateway": True,
            "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"},
        }
    ],
}


@pytest.mark.parametrize("foreign", [False, True], ids=["ours alone", "with a foreign port"])
def test_cleanup_takes_a_bridge_unless_another_has_a_port_on_it(
    machine: Machine, *, foreign: bool
) -> None:
    machine.path("/run/net.d/20-bridged.conflist").write_text(json.dumps(BRIDGED))
    machine.run("cnictl", "add", "bridged", lab.add_netns("pod")).ok()
    if foreign:
        lab.run("ip link add other up master br9 type veth", netns="n1")
    lab.run("ip link add br8 type bridge", netns="n1")

    said = machine.run("cnictl", "cleanup", "--yes").ok().stdout

    assert ("the bridge br9" in said) is not foreign
    left = {one["ifname"] for one in lab.ip("link show type bridge", netns="n1")}
    assert left == ({"br8", "br9"} if foreign else {"br8"})
    assert ("vxlan" in said, "br8" in said) == (False, False)


@pytest.mark.parametrize("ours", [False, True], ids=["made by hand", "made by us"])
def test_cleanup_takes_a_bridge_without_ports_only_if_we_made_it(
    machine: Machine, *, ours: bool
) -> None:
    machine.path("/run/net.d/20-bridged.conflist").write_text(json.dumps(BRIDGED))
    if not ours:
        lab.run("ip link add br9 type bridge", netns="n1")
    machine.run("cnictl", "add", "bridged", lab.add_netns("pod")).ok()
    machine.run("cnictl", "del", "bridged", lab.netns_path("pod")).ok()

    said = machine.run("cnictl", "cleanup", "--yes").ok().stdout

    assert ("the bridge br9" in said) is ours
    assert bool(lab.ip("link show type bridge", netns="n1")) is not ours
