"""aws-vpc-ipam asks the node agent, and leaves word for it while it is away."""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.vpc import released
from tests import lab, networks, packets, snapshot
from tests.networks import Json
from tests.pods import add, verb
from tests.vpc.agent import SOCKET, Agent, listening, place

pytestmark = pytest.mark.usefixtures("host")
CONF: Json = {
    "cniVersion": "1.1.0",
    "name": "vpc",
    "type": "aws-vpc-ipam",
    "ipam": {"type": "aws-vpc-ipam"},
}
FIRST, SECOND = "10.0.1.23", "10.0.1.24"


@pytest.fixture
def agent(host: None) -> Iterator[Agent]:  # noqa: ARG001
    """Have two addresses on the primary ENI."""
    with listening(Agent([place(FIRST), place(SECOND)])) as double:
        yield double


def ipam(**keys: object) -> Json:
    return CONF | {"ipam": CONF["ipam"] | keys}


def call(
    suite: lab.Suite, name: str, conf: Json = CONF, pod: str = "pod", **given: str
) -> lab.Reply:
    return suite.call("aws-vpc-ipam", name, conf, containerid=pod, netns="/run/netns/x", **given)


def left() -> list[Json]:
    """Return what lies there for the agent."""
    directory = Path(released.DIRECTORY)
    return [json.loads(path.read_text()) for path in sorted(directory.glob("*"))]


def test_an_address_is_given_behind_the_host(suite: lab.Suite, agent: Agent) -> None:
    result = call(suite, "ADD").ok().json

    assert result["ips"] == [{"address": f"{FIRST}/32", "gateway": "169.254.1.1"}]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    asked = {"verb": "ADD", "network": "vpc", "containerID": "pod", "ifname": "eth0"}
    assert agent.asked == [asked]


def test_an_attachment_that_asks_again_gets_the_same(imported: lab.Suite, agent: Agent) -> None:
    first, again = (call(imported, "ADD").ok().json for _ in range(2))

    assert first == again
    assert agent.addresses() == {FIRST}


def test_addresses_of_both_families_have_each_a_gateway(imported: lab.Suite) -> None:
    with listening(Agent([place(FIRST, ipv6=["fd00::23"])])):
        result = call(imported, "ADD").ok().json

    assert result["ips"] == [
        {"address": f"{FIRST}/32", "gateway": "169.254.1.1"},
        {"address": "fd00::23/128", "gateway": "fe80::1"},
    ]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def test_on_a_link_with_the_subnet_it_is_the_subnets(imported: lab.Suite, agent: Agent) -> None:
    del agent
    result = call(imported, "ADD", ipam(addressing="subnet")).ok().json

    assert result["ips"] == [{"address": f"{FIRST}/24", "gateway": "10.0.1.1"}]


def test_routes_and_dns_are_those_of_the_configuration(imported: lab.Suite, agent: Agent) -> None:
    del agent
    routes = [{"dst": "10.0.0.0/16"}, {"dst": "192.0.2.0/24", "gw": "169.254.1.1"}]
    dns = {"nameservers": ["10.0.0.2"]}

    result = call(imported, "ADD", ipam(routes=routes, dns=dns)).ok().json

    assert (result["routes"], result["dns"]) == (routes, dns)


@pytest.mark.parametrize(
    ("conf", "args"),
    [
        ({"runtimeConfig": {"ips": [f"{SECOND}/24"]}}, ""),
        ({"args": {"cni": {"ips": [SECOND]}}}, ""),
        ({}, f"IP={SECOND}"),
        ({"runtimeConfig": {"ips": [SECOND]}}, f"IgnoreUnknown=1;IP={SECOND};X=1"),
    ],
)
def test_an_address_can_be_asked_for(
    imported: lab.Suite, agent: Agent, conf: Json, args: str
) -> None:
    result = call(imported, "ADD", CONF | conf, args=args).ok().json

    assert result["ips"][0]["address"] == f"{SECOND}/32"
    assert agent.addresses() == {SECOND}


BAD = {
    "two addresses": ({"runtimeConfig": {"ips": [FIRST, SECOND]}}, 2, SECOND),
    "no address": ({"runtimeConfig": {"ips": ["x"]}}, 2, "'x'"),
    "addressing": (ipam(addressing="bridge"), 2, "bridge"),
    "routes": (ipam(routes=[{"dst": "x"}]), 7, "dst"),
    "ipam": ({"ipam": 5}, 7, "ipam"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_refused_and_nothing_is_asked(
    imported: lab.Suite, agent: Agent, name: str
) -> None:
    conf, code, words = BAD[name]

    reply = call(imported, "ADD", CONF | conf).failed(code)

    assert words in reply.json["msg"]
    assert agent.asked == []
    call(imported, "DEL", CONF | conf).ok()


def test_the_agents_refusal_comes_with_its_reason(suite: lab.Suite, agent: Agent) -> None:
    agent.free.clear()

    reply = call(suite, "ADD").failed(11)

    assert reply.json["msg"] == "no address is free: 0 of 2, 2 assigned, 0 cooling"
    assert reply.json["details"] == "the pool grows"
    assert left() == []


@pytest.mark.parametrize("wrong", [{"subnet": "10.0.1.0/99"}, {"address": None}, {"mtu": -1}])
def test_an_answer_that_cannot_be_used_gives_the_address_back(
    imported: lab.Suite, wrong: Json
) -> None:
    with listening(Agent([place(FIRST) | wrong])):
        call(imported, "ADD").failed(7)

    assert left() == [{"network": "vpc", "containerID": "pod", "ifname": "eth0"}]


def test_del_gives_the_address_back_and_twice_is_fine(suite: lab.Suite, agent: Agent) -> None:
    call(suite, "ADD").ok()

    call(suite, "DEL").ok()
    assert agent.addresses() == set()

    call(suite, "DEL").ok()
    assert left() == []


def test_check_knows_what_the_result_says(imported: lab.Suite, agent: Agent) -> None:
    result = call(imported, "ADD").ok().json
    conf = CONF | {"prevResult": result}

    call(imported, "CHECK", conf).ok()
    call(imported, "CHECK").ok()
    call(imported, "CHECK", conf, "other").failed(102)
    agent.held["vpc", "pod", "eth0"] = place(SECOND)
    assert SECOND in call(imported, "CHECK", conf).failed(102).json["msg"]


def test_gc_gives_back_what_is_not_valid(suite: lab.Suite, agent: Agent) -> None:
    for pod in ("one", "two"):
        call(suite, "ADD", pod=pod).ok()

    call(suite, "GC", networks.gc(CONF, ("two", "eth0"))).ok()
    assert agent.addresses() == {SECOND}

    call(suite, "GC", CONF).ok()
    assert agent.addresses() == {SECOND}


# the agent is away


def hang_up(connection: socket.socket) -> None:
    """Take the request, and end."""
    connection.recv(1 << 16)


def say(text: bytes, connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(text)


AWAY: dict[str, Callable[[socket.socket], None] | None] = {
    "nobody listens": None,
    "it hangs up": hang_up,
    "it hangs up in its answer": partial(say, b'{"address":'),
}


@pytest.fixture(params=list(AWAY))
def away(host: None, request: pytest.FixtureRequest) -> Iterator[bool]:  # noqa: ARG001
    """Let the agent be away in one of the ways there are; tell whether it may have heard."""
    serve = AWAY[request.param]
    if serve is None:
        yield False
        return
    os.makedirs(os.path.dirname(SOCKET))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen()

        def run() -> None:
            lab._call("unshare", lab.CLONE_FS)
            try:
                while True:
                    with listener.accept()[0] as connection:
                        serve(connection)
            except OSError:
                return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield True
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_add_says_so_and_gives_back_what_it_may_have_got(imported: lab.Suite, away: bool) -> None:  # noqa: FBT001  # pytest's
    reply = call(imported, "ADD").failed(11)

    assert "cannot ask the node agent" in reply.json["msg"]
    assert left() == ([{"network": "vpc", "containerID": "pod", "ifname": "eth0"}] if away else [])


@pytest.mark.usefixtures("away")
def test_status_says_why(imported: lab.Suite) -> None:
    reply = call(imported, "STATUS").failed(50)

    assert "cannot ask the node agent" in reply.json["msg"]


@pytest.mark.usefixtures("away")
def test_check_cannot_tell(imported: lab.Suite) -> None:
    call(imported, "CHECK").failed(11)


@pytest.mark.usefixtures("away")
def test_del_and_gc_leave_word(imported: lab.Suite) -> None:
    call(imported, "DEL", pod="a").ok()
    call(imported, "DEL", pod="a").ok()
    call(imported, "GC", networks.gc(CONF, ("old", "eth0"))).ok()
    call(imported, "GC", networks.gc(CONF, ("b", "eth0"))).ok()

    assert sorted(left(), key=len) == [
        {"network": "vpc", "valid": [{"containerID": "b", "ifname": "eth0"}]},
        {"network": "vpc", "containerID": "a", "ifname": "eth0"},
    ]


def test_the_agent_finds_what_was_left_for_it(imported: lab.Suite) -> None:
    double = Agent([place(FIRST), place(SECOND)])
    with listening(double):
        for pod in ("a", "b"):
            call(imported, "ADD", pod=pod).ok()
    call(imported, "DEL", pod="a").ok()
    assert {pod for _, pod, _ in double.held} == {"a", "b"}

    with listening(double):
        call(imported, "STATUS").ok()
        assert {pod for _, pod, _ in double.held} == {"b"}
    call(imported, "GC", networks.gc(CONF)).ok()
    with listening(double):
        call(imported, "STATUS").ok()

    assert (double.held, left()) == ({}, [])


def test_a_refusal_is_no_absence(imported: lab.Suite, agent: Agent) -> None:
    agent.refusal = {"code": 5, "msg": "the disk is full"}

    for name in ("DEL", "GC"):
        assert call(imported, name, networks.gc(CONF)).failed(5).json["msg"] == "the disk is full"
    assert left() == []


def test_files_of_no_use_are_removed(host: None) -> None:
    del host
    os.makedirs(released.DIRECTORY)
    for number, text in enumerate((b"", b"{", b"[]", b'{"network": 5}', b'{"network": "vpc"}')):
        Path(f"{released.DIRECTORY}/{number}.json").write_bytes(text)
    Path(f"{released.DIRECTORY}/half.json.new").write_bytes(b"{")
    released.add(Attachment("vpc", "a", "eth0"))

    (found,) = released.pending()
    found.done()
    found.done()

    assert found.attachment == Attachment("vpc", "a", "eth0")
    assert os.listdir(released.DIRECTORY) == ["half.json.new"]


def test_an_add_that_is_stopped_while_it_waits_gives_back_what_it_may_get(
    imported: lab.Suite, agent: Agent
) -> None:
    """The agent answers when it is gone."""
    path = imported.bin_dir / "aws-vpc-ipam"
    environment = imported.environment("ADD", containerid="pod", netns="/x")
    word, gone = Path("/run/pid"), threading.Event()

    def stop() -> None:
        os.kill(int(word.read_text()), signal.SIGTERM)
        gone.wait(30)

    agent.meanwhile = stop
    text = json.dumps(CONF).encode()
    reply = lab.run_forked(path, environment, text, lambda: word.write_text(str(os.getpid())))
    gone.set()

    assert reply.failed(999)
    assert lab.wait_until(lambda: agent.answered == 1)
    assert left() == [{"network": "vpc", "containerID": "pod", "ifname": "eth0"}]
    assert agent.addresses() == set()


# under other programs


def test_ptp_gives_the_pod_a_gateway_of_its_own_link(suite: lab.Suite, agent: Agent) -> None:
    lab.run("ip link add card up type bridge")
    lab.run("ip addr add 10.0.1.10/24 dev card")
    lab.run("ip route add default via 10.0.1.1")
    conf = CONF | {"type": "ptp"}

    result = add(suite, conf)

    assert "default via 169.254.1.1 dev eth0" in lab.run("ip route", netns="pod")
    assert "default via 10.0.1.1 dev card" in lab.run("ip route")
    assert packets.reachable("", "pod", (FIRST, 80))
    assert packets.reachable("pod", "", ("10.0.1.10", 80))
    verb(suite, "CHECK", conf | {"prevResult": result}).ok()
    verb(suite, "DEL", conf).ok()
    assert agent.addresses() == set()


def test_ptp_takes_both_families(imported: lab.Suite) -> None:
    lab.run("ip link add card up type bridge")
    lab.run("ip addr add 10.0.1.10/24 dev card")
    lab.run("ip addr add fd00::10/64 dev card nodad")
    with listening(Agent([place(FIRST, ipv6=["fd00::23"])])):
        add(imported, CONF | {"type": "ptp"})

        assert packets.reachable("", "pod", ("fd00::23", 80))
        assert packets.reachable("pod", "", ("fd00::10", 80))


def test_a_bridge_with_the_card_of_the_node_puts_the_pod_into_the_subnet(
    suite: lab.Suite, agent: Agent
) -> None:
    """Pods and the router are on one link; the router sees the pod itself."""
    lab.add_netns("router")
    lab.run("ip link add vnet0 type bridge")
    lab.run("ip link add card up master vnet0 type veth peer name eth0 netns router")
    lab.run("ip link set vnet0 up")
    lab.run("ip addr add 10.0.1.1/24 dev eth0", netns="router")
    lab.run("ip link set eth0 up", netns="router")
    conf = CONF | {"type": "bridge", "bridge": "vnet0"}
    conf["ipam"] = conf["ipam"] | {"addressing": "subnet"}

    result = add(suite, conf)

    assert packets.seen_from("pod", "router", ("10.0.1.1", 80)) == FIRST
    assert packets.seen_from("router", "pod", (FIRST, 80)) == "10.0.1.1"
    verb(suite, "CHECK", conf | {"prevResult": result}).ok()
    verb(suite, "DEL", conf).ok()
    assert agent.addresses() == set()


def test_a_refused_interface_gives_the_address_back(imported: lab.Suite, agent: Agent) -> None:
    lab.add_netns("pod")
    conf = ipam(routes=[{"dst": "192.0.2.0/24", "gw": "224.0.0.1"}]) | {"type": "ptp"}

    lab.run("sysctl -q net.ipv4.ip_forward=1")

    with snapshot.unchanged():
        verb(imported, "ADD", conf).failed(104)

    assert agent.addresses() == set()
