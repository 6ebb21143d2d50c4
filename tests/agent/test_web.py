"""What the agent serves on loopback: right answers, and nobody who can stop them."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from cni.agent import metrics, settings, web
from cni.agent.duty import Duty, Repair
from cni.agent.nodes import SourceHealth
from cni.agent.readiness import Readiness
from cni.agent.reconcile import Loop
from cni.agent.web import Web
from cni.config import Section
from tests import lab
from tests.agent.test_reconcile import Done, Recorder

SECONDS = 10.0
PAGES = {"/one": lambda: (200, "eins\n"), "/two": lambda: (503, "zwei\n")}


@pytest.fixture
def port() -> Iterator[int]:
    """Serve PAGES on loopback; return the port."""
    with serving(("127.0.0.1", 0)) as found:
        yield found


@contextmanager
def serving(address: tuple[str, int]) -> Iterator[int]:
    server = Web(address, PAGES)
    server.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def ask(port: int, request: str, host: str = "127.0.0.1") -> str:
    """Return the whole answer to `request`."""
    with socket.create_connection((host, port), SECONDS) as connection:
        connection.sendall(request.encode("latin-1"))
        with connection.makefile("rb") as file:
            return file.read().decode()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /one HTTP/1.1\r\nHost: x\r\n", "200 OK", "eins\n"),
        ("GET /one?verbose HTTP/1.0\r\n", "200 OK", "eins\n"),
        ("GET /two HTTP/1.1\r\n", "503 Service Unavailable", "zwei\n"),
        ("HEAD /one HTTP/1.1\r\n", "200 OK", ""),
        ("GET /three HTTP/1.1\r\n", "404 Not Found", "not found\n"),
        ("POST /one HTTP/1.1\r\nContent-Length: 0\r\n", "405 Method Not Allowed", "only GET\n"),
        ("nonsense\r\n", "405 Method Not Allowed", "only GET\n"),
        ("GET\r\n", "405 Method Not Allowed", "only GET\n"),
        ("\xff\xfe\r\n", "405 Method Not Allowed", "only GET\n"),
        ("\r\n", "405 Method Not Allowed", "only GET\n"),
    ],
)
def test_every_request_has_its_answer(port: int, request_line: str, status: str, body: str) -> None:
    head, _, text = ask(port, f"{request_line}\r\n").partition("\r\n\r\n")

    assert head.splitlines()[0] == f"HTTP/1.0 {status}"
    assert text == body
    length = int(re.findall(r"Content-Length: (\d+)", head)[0])
    assert length == len(body) or request_line.startswith("HEAD")


def test_a_client_that_says_nothing_holds_up_nobody(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /one")

        assert "eins" in ask(port, "GET /one HTTP/1.0\r\n\r\n")


def test_too_many_clients_are_turned_away_and_later_served(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(web.Web.at_once):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            silent.sendall(b"GET /one")
        with socket.create_connection(("127.0.0.1", port), SECONDS) as one:
            assert lab.wait_until(lambda: _is_closed(one))
    assert lab.wait_until(lambda: "eins" in _ask_or_nothing(port))


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def _ask_or_nothing(port: int) -> str:
    try:
        return ask(port, "GET /one HTTP/1.0\r\n\r\n")
    except OSError:
        return ""


def test_it_listens_at_ipv6_addresses_too() -> None:
    with serving(("::1", 0)) as port:
        assert "eins" in ask(port, "GET /one HTTP/1.0\r\n\r\n", "::1")


class Source:
    """A source that is well."""

    def run(self, *_: object) -> None:
        """Do nothing."""

    def health(self) -> SourceHealth:
        return SourceHealth(synced=True, last_contact=1.0)


LINE = re.compile(r'pycni_\w+(\{\w+="\w+"(,\w+="\w+")*\})? [0-9.e+-]+')


def test_the_figures_are_as_prometheus_reads_them() -> None:
    """prometheus.io/docs/instrumenting/exposition_formats."""
    duty = Duty("vxlan", Recorder(), report=Done(wanted=7, alarms=("odd",)))
    duty.repairs.update(route=3, fdb=1)
    duty.last_repair = Repair(1.0, {"route": 3})
    duty.passes, duty.seconds = 4, 0.5
    loop = Loop("node-0", [duty, Duty("masq", Recorder())], None, bool)
    told = settings.read(Section({"roles": ["vxlan", "masq"]}))

    text = metrics.text(loop, Readiness(told, loop), Source())

    assert text.endswith("\n")
    named = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            named = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2] == named
            assert line.split()[3:] in (["gauge"], ["counter"], ["summary"])
        else:
            assert LINE.fullmatch(line), line
            assert line.startswith(named)
    for line in (
        'pycni_repairs_total{role="vxlan",kind="route"} 3',
        'pycni_reconcile_seconds_sum{role="vxlan"} 0.5',
        'pycni_reconcile_seconds_count{role="vxlan"} 4',
        'pycni_objects{role="vxlan"} 7',
        'pycni_alarms{role="vxlan"} 1',
        'pycni_role_good{role="masq"} 0',
        "pycni_source_synced 1",
        "pycni_ready 0",
    ):
        assert line in text.splitlines()
