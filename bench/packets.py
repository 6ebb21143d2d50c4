"""Case (f): new TCP connections through a host where many pods are registered.

One pod is real; the others are there as the firewall knows them.  Each has its masquerade and a
host port.  The reference's rules of the others are its own rules for the real pod, with other
names: half of them stand before the real pod's, half behind.
"""

import re
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import ip_interface

from bench.chain import Network, Pod
from bench.hosts import Side, sides
from bench.stats import Row, Summary
from cni.attachment import Attachment
from cni.kernel import firewall
from cni.kernel.netns import entered
from tests import lab

COUNTS = (1, 100, 1_000)
CONNECTIONS = 300  # in one sample
PORT, FIRST_PORT = 8080, 10_000
HOST, WORLD = "192.168.100.1", "192.168.100.2"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, lest ports run out
FLAT = 5.0  # percent


@dataclass(frozen=True)
class Way:
    """A way through the host: a client's namespace, and what it connects to."""

    client: str
    target: tuple[str, int]
    listener: socket.socket

    def rate(self) -> float:
        """Return connections per second of one sample."""
        with entered(lab.netns_path(self.client)):
            begin = time.perf_counter()
            for _ in range(CONNECTIONS):
                client = socket.create_connection(self.target, 2)
                served, _ = self.listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
                served.close()
            return CONNECTIONS / (time.perf_counter() - begin)


def measure(runs: int) -> list[Row]:
    """Case (f)."""
    places = [(name, count) for count in COUNTS for name in ("reference", "warm")]
    rates: dict[tuple[str, str, int], list[float]] = {}
    with sides(*(name for name, _ in places)) as every:
        ways = [_prepare(side, count) for side, (_, count) in zip(every, places, strict=True)]
        for number in range(-1, runs):
            for side, place, here in zip(every, places, ways, strict=True):
                side.enter()
                for name, way in here.items():
                    rate = way.rate()
                    if number >= 0:
                        rates.setdefault((name, *place), []).append(rate)
        for here in ways:
            for way in here.values():
                way.listener.close()
    return _rows({key: Summary.of(some, more_is_better=True) for key, some in rates.items()})


def _rows(rates: dict[tuple[str, str, int], Summary]) -> list[Row]:
    rows = []
    for way in ("pod to world", "world to host port"):
        for count in COUNTS:
            ours, reference = rates[way, "warm", count], rates[way, "reference", count]
            pods = f"{count:,} pod{'s' * (count > 1)}"
            rows.append(Row("f", f"{way}, {pods}", "warm", "conn/s", ours, reference))
        loss, their_loss = (
            100 - 100 * rates[way, name, max(COUNTS)].median / rates[way, name, 1].median
            for name in ("warm", "reference")
        )
        what = f"{way}: lost from 1 to {max(COUNTS):,}"
        ours, reference = Summary(loss, loss, 1), Summary(their_loss, their_loss, 1)
        rows.append(Row("f", what, "warm", "%", ours, reference, FLAT, loss))
    return rows


def _prepare(side: Side, count: int) -> dict[str, Way]:
    """Make the world and the real pod, register `count` pods; return the ways."""
    side.enter()
    world, netns = lab.add_netns("world"), lab.add_netns("pod")
    lab.run(f"ip link add world type veth peer name eth0 netns {world}")
    lab.run(f"ip address add {HOST}/24 dev world")
    lab.run("ip link set world up")
    lab.run(f"ip address add {WORLD}/24 dev eth0", netns=world)
    lab.run("ip link set eth0 up", netns=world)
    network = Network.kindnet("10.244.0.0/16", ipMasq=True)
    result, _ = network.add(side.bin_dir, Pod("real-pod", netns, PORT))
    register = _register_in_reference if side.name == "reference" else _register
    register(result["ips"][0]["address"], count - 1)
    return {
        "pod to world": Way("pod", (WORLD, 9000), _listen("world", 9000)),
        "world to host port": Way("world", (HOST, PORT), _listen("pod", 80)),
    }


def _listen(netns: str, port: int) -> socket.socket:
    with entered(lab.netns_path(netns)):
        return socket.create_server(("", port))


def _address(number: int) -> str:
    return f"10.244.{100 + number // 250}.{1 + number % 250}"


def _register(_real: str, others: int) -> None:
    """Do for other pods what the programs do in the firewall."""
    for number in range(others):
        attachment = Attachment("kindnet", f"pod-{number}", "eth0")
        address = ip_interface(f"{_address(number)}/16")
        firewall.masquerade(attachment, [address])
        port = firewall.Port(
            "tcp", None, FIRST_PORT + number, address.ip, 80, address.network, mark_bit=13
        )
        firewall.map_ports(attachment, [port])


def _register_in_reference(real: str, others: int) -> None:
    """Write the rules of other pods around those of the real one."""
    rules = lab.run("iptables-save -t nat").splitlines()
    real_address = real.partition("/")[0]
    digest = next(filter(None, (re.match(r":CNI-DN-(\w+)", rule) for rule in rules)))[1]
    lines = []
    for rule in rules:
        if digest not in rule and "real-pod" not in rule:
            lines.append(rule)
            continue
        for number in range(others + 1):
            if number == others // 2:
                lines.append(rule)
            if number < others:
                lines.append(_renamed(rule, number, digest, real_address))
    lab.run("iptables-restore", stdin="\n".join([*lines, ""]))


def _renamed(rule: str, number: int, digest: str, real_address: str) -> str:
    rule = rule.replace(digest, f"{number:0{len(digest)}x}").replace("real-pod", f"pod-{number}")
    rule = re.sub(rf"\b{real_address}\b", _address(number), rule)
    return re.sub(rf"(--dports? ){PORT}\b", rf"\g<1>{FIRST_PORT + number}", rule)
