"""Real packets between the node, its pods and the outside."""

import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests import lab
from tests.runtimes import image
from tests.runtimes.leftovers import wait_for

ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    _, client = server.recvfrom(100)
    server.sendto(client[0].encode(), client)
"""
ASK = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((sys.argv[1], int(sys.argv[2])))
client.send(b"who am I?")
print(client.recv(100).decode())
"""


def wait_until_served(netns: str) -> None:
    """Return once something in `netns` (a path) listens on the image's port."""
    query = f"ss --no-header --listening --tcp --numeric sport = :{image.PORT}"
    wait_for(lambda: lab.run(query, netns=netns), f"a server on port {image.PORT}")


def ask(address: str, port: int = image.PORT, *, netns: str = "") -> str:
    """Ask the server at `address` over TCP, from `netns`; return the address it saw us with."""
    place = f"[{address}]" if ":" in address else address
    url = f"http://{place}:{port}/cgi-bin/who"
    return plain(lab.run(f"curl --silent --show-error --max-time 10 {url}", netns=netns))


def ask_udp(address: str, port: int, *, netns: str = "") -> str:
    """Ask the echo server at `address` over UDP, from `netns`; return what it saw us with."""
    return plain(lab.run(f"{sys.executable} -c '{ASK}' {address} {port}", netns=netns))


def plain(answer: str) -> str:
    """Return the address in `answer`: a server on :: sees ::ffff:10.0.0.1 for 10.0.0.1."""
    address = ipaddress.ip_address(answer.strip().strip("[]"))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def ping(address: str, *, netns: str = "") -> None:
    """Fail the test unless `address` answers from `netns`."""
    lab.run(f"{image.BUSYBOX} ping -c 1 -W 5 {address}", netns=netns)


@contextmanager
def udp_echo(netns: str, port: int) -> Iterator[None]:
    """Serve UDP on `port` in `netns` (a path): the answer is the address of who asked."""
    command = ["nsenter", f"--net={netns}", sys.executable, "-c", ECHO, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            with suppress(ProcessLookupError):
                server.kill()
