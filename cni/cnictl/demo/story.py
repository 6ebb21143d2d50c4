"""The steps of the demonstration, in the order in which they are shown."""

import json
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni import __version__
from cni.cnictl import node, settings
from cni.cnictl.demo import namespaces, traces
from cni.cnictl.demo.traces import Traces
from cni.cnictl.demo.traffic import Server, ask, send
from cni.cnictl.screen import FAINT, GOOD, Screen
from cni.errors import CniError, Code
from cni.kernel.netns import entered
from cni.result import read_result
from cni.runtime import conflist
from cni.runtime.conflist import ConfList
from cni.runtime.network import Container, Runtime

NET_D = Path("/run/cni/net.d")
# RFC 5737: addresses for documentation; nobody outside knows a way to the pods
NODE, ROUTER, SITE = "192.0.2.10", "192.0.2.1", "198.51.100.80"
NODE_LINKS = f"""\
link set lo up
link add eth0 type veth peer name eth0 netns {{outside}}
address add {NODE}/24 dev eth0
link set eth0 up
route add default via {ROUTER}
"""
OUTSIDE_LINKS = f"""\
link set lo up
address add {ROUTER}/24 dev eth0
address add {SITE}/32 dev lo
link set eth0 up
"""
WEB, DNS, KUBELET = 80, 53, 10250  # ports where servers listen
HOST_WEB, HOST_DNS = 8080, 5353  # the host ports of the pod `web`
PORTS = [
    {"hostPort": HOST_WEB, "containerPort": WEB, "protocol": "tcp"},
    {"hostPort": HOST_DNS, "containerPort": DNS, "protocol": "udp"},
]
# maps and chains of nftables that have nothing in them: they would fill the screen
EMPTY = re.compile(
    r"\t(?:map|set) .*\{\n(?:\t\t(?!elements).*\n)+\t\}\n\n?|\tchain .*\{\n\t\}\n\n?"
)
AGENT = """\
kindnet has ipMasq false: a pod's packets leave with the pod's own address, and nobody outside
knows a way back to it.  On a real node kindnet's agent masquerades them; here the pod "worker"
is added with ipMasq true, which stands in for that agent."""


@dataclass(frozen=True)
class Pod:
    """A pod that has its network; its name is its container ID too."""

    name: str
    container: Container
    conflist: ConfList
    address: str
    gateway: str

    @property
    def netns(self) -> str:
        """Return the path of its namespace."""
        return self.container.netns


class Story:
    """One showing, on `screen`, of the network in `file`."""

    def __init__(self, screen: Screen, runtime: Runtime, file: Path) -> None:
        self.screen, self.runtime, self.file = screen, runtime, file
        self.text = file.read_bytes()
        self.kindnet = conflist.from_text(self.text)
        self.outside = ""
        self.pods: list[Pod] = []

    def tell(self) -> None:
        """Tell all of it.  Raises CniError where it goes wrong."""
        begin = time.perf_counter()
        self._introduce()
        self._make_node()
        before = self._traces()
        self.screen.title("Pods get their network: ADD")
        web = self._add("web", self.kindnet, {"portMappings": PORTS})
        client = self._add("client", self.kindnet)
        self._look_around(web)
        self._prove(web, client)
        self._prove_masquerade(client)
        during = self._traces()
        self._remove()
        self._show_that_nothing_is_left(before, during, self._traces())
        took = time.perf_counter() - begin
        self.screen.line()
        self.screen.line(f"All of it works: {took:.1f} s. The node ends with this command.", GOOD)

    def _introduce(self) -> None:
        self.screen.title(f"pycni {__version__}: pods get their network")
        self.screen.line(f"programs: {self.runtime.path}")
        self.screen.line(f"conflist: {self.file}")
        for line in self.text.decode().rstrip().splitlines():
            self.screen.line(f"   {line}", FAINT)

    def _make_node(self) -> None:
        self.screen.title("A node of its own, made of namespaces: this machine is not touched")
        # the programs, and what this one may still have to import
        source, python = settings.source_tree(), Path(sys.prefix)
        needed = [Path(place) for place in self.runtime.path.split(":")]
        needed += [settings.own_directory()] if source is None else [source, python]
        with self.screen.step("node, with its own /run and /var/lib") as outcome:
            namespaces.enter_own_node([place for place in needed if place.is_dir()])
            NET_D.mkdir(parents=True)
            (NET_D / self.file.name).write_bytes(self.text)
            outcome.text = NODE
        with self.screen.step("the world outside, at the end of a cable") as outcome:
            self.outside = namespaces.add_netns("outside")
            _sysctl("ipv6/conf/default/disable_ipv6", "1")  # no addresses that come up later
            namespaces.run("ip -batch -", stdin=NODE_LINKS.format(outside=self.outside))
            _sysctl("ipv6/conf/default/disable_ipv6", "0")
            namespaces.run("ip -batch -", self.outside, OUTSIDE_LINKS)
            with entered(self.outside):  # it takes packets from where it knows no way to
                for name in ("all", "eth0"):
                    _sysctl(f"ipv4/conf/{name}/rp_filter", "0")
            outcome.text = f"{ROUTER}, and a site at {SITE}"

    def _add(self, name: str, network: ConfList, capability_args: Any = None) -> Pod:
        with self.screen.step(f"ADD {name}") as outcome:
            netns = namespaces.add_netns(name)
            namespaces.run("ip link set lo up", netns)
            container = Container(name, netns, capability_args=capability_args or {})
            result = read_result(self.runtime.add(network, container), network.cni_version)
            ip = next(iter(result.ips), None)
            if ip is None or ip.gateway is None:
                raise CniError(Code.CHECK_FAILED, f"{name} has got no address with a gateway")
            outcome.text = str(ip.address)
        pod = Pod(name, container, network, str(ip.address.ip), str(ip.gateway))
        self.pods.append(pod)
        return pod

    def _look_around(self, pod: Pod) -> None:
        self.screen.title("The node, as its operator sees it")
        self._show("ip -brief address")
        self._show("ip route")
        if namespaces.find("nft"):
            self._show("nft list ruleset", note=" (without empty maps)")
        else:
            self.screen.line("nft is not installed: the rules are there, but cannot be shown")
        self._show("ip -brief address", pod)
        self._show("ip route", pod)
        self.screen.line("$ cnictl ls", FAINT)
        node.show(self.screen, node.look(NET_D))

    def _show(self, command: str, pod: Pod | None = None, note: str = "") -> None:
        shown = command.replace("ip ", f"ip -netns {pod.name} ", 1) if pod else command
        self.screen.line(f"$ {shown}{note}", FAINT)
        output = EMPTY.sub("", namespaces.run(command, pod.netns if pod else ""))
        for line in output.expandtabs(4).rstrip().splitlines():
            self.screen.line(f"   {line.rstrip()}")

    def _prove(self, web: Pod, client: Pod) -> None:
        self.screen.title("Real packets: who asks -> who answers, and how that one sees the asker")
        server, names = Server(web.netns, WEB), Server(web.netns, DNS, "udp")
        host = Server("", KUBELET)
        self._sees(
            "client -> web, tcp",
            client.address,
            lambda: ask(server, client.netns, web.address, WEB),
        )
        self._sees("web -> node, tcp", web.address, lambda: ask(host, web.netns, NODE, KUBELET))
        self._sees("node -> web, tcp", web.gateway, lambda: ask(server, "", web.address, WEB))
        self._sees(
            f"outside -> hostPort {HOST_WEB}/tcp of the node -> web",
            ROUTER,
            lambda: ask(server, self.outside, NODE, HOST_WEB),
        )
        self._sees(
            f"outside -> hostPort {HOST_DNS}/udp of the node -> web",
            ROUTER,
            lambda: ask(names, self.outside, NODE, HOST_DNS),
        )
        self._sees(
            f"node -> hostPort {HOST_WEB}/tcp of localhost -> web",
            web.gateway,
            lambda: ask(server, "", "127.0.0.1", HOST_WEB),
        )

    def _prove_masquerade(self, client: Pod) -> None:
        self.screen.title("Real packets to the world outside, and back")
        for line in AGENT.splitlines():
            self.screen.line(line)
        site = Server(self.outside, WEB, "udp")
        self._sees(
            "client -> outside, udp, as kindnet stands",
            client.address,
            lambda: send(site, client.netns, SITE, WEB),
        )
        values = json.loads(self.text)
        values["plugins"][0]["ipMasq"] = True
        worker = self._add("worker", conflist.from_text(json.dumps(values).encode()))
        self._sees(
            "worker -> outside, tcp, masqueraded",
            NODE,
            lambda: ask(Server(self.outside, WEB), worker.netns, SITE, WEB),
        )

    def _sees(self, text: str, wanted: str, talk: Callable[[], str]) -> None:
        """Show a step in which a server must see the client as `wanted`."""
        with self.screen.step(text) as outcome:
            seen = talk()
            if seen != wanted:
                msg = f"{text}: the server sees the client as {seen}, it should be {wanted}"
                raise CniError(Code.CHECK_FAILED, msg)
            outcome.text = f"from {seen}"

    def _remove(self) -> None:
        self.screen.title("Pods go away: DEL")
        for pod in reversed(self.pods):
            with self.screen.step(f"DEL {pod.name}"):
                self.runtime.delete(pod.conflist, pod.container)
                with entered(pod.netns):
                    left = [name for _, name in socket.if_nameindex()]
                if pod.container.ifname in left:
                    msg = f"{pod.name} still has {pod.container.ifname}"
                    raise CniError(Code.CHECK_FAILED, msg)
                namespaces.delete_netns(pod.netns)

    def _traces(self) -> Traces:
        names = ("web", "client", "worker")
        return traces.take(NET_D, (*names, *(pod.address for pod in self.pods)))

    def _show_that_nothing_is_left(self, before: Traces, during: Traces, after: Traces) -> None:
        self.screen.title("What is left on the node")
        rows = [
            (kind, *(str(len(one.lines[kind])) for one in (before, during, after)))
            for kind in before.lines
        ]
        self.screen.table(("", "before", "with pods", "after"), rows)
        left = after.beyond(before)
        if left:
            raise CniError(Code.CHECK_FAILED, f"this is left: {'; '.join(left)}")
        self.screen.line("Nothing of the pods.  Rules that pods share stay, without entries.", GOOD)


def _sysctl(name: str, value: str) -> None:
    with suppress(OSError):  # a kernel without IPv6; a read-only /proc says so in ADD
        Path("/proc/sys/net", name).write_text(value)
