"""Real packets from one namespace to another.

A socket stays in the namespace that it was made in, so one process can hold both ends.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cni.errors import CniError, Code
from cni.kernel.netns import entered

PATIENCE = 5.0  # seconds; on one machine an answer takes less than a millisecond
QUESTION, ANSWER = b"who am I?", b"you are %s"
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@dataclass(frozen=True)
class Server:
    """Where a server listens: the path of its namespace (empty: the node) and its port."""

    netns: str
    port: int
    protocol: str = "tcp"


def ask(server: Server, netns: str, address: str, port: int) -> str:
    """Ask from `netns` at `address` and `port`, which must lead to `server`.

    Return the client's address as the server sees it, which is also what it has answered.
    Raises CniError when a packet or the answer does not arrive.
    """
    with _reporting(f"{server.protocol} {address}:{port}"):
        talk = _ask_tcp if server.protocol == "tcp" else _ask_udp
        return talk(server, netns, (address, port))


def send(server: Server, netns: str, address: str, port: int) -> str:
    """Send one datagram and wait for no answer; return its sender as the server sees it."""
    with (
        _reporting(f"udp {address}:{port}"),
        _listening(server, UDP) as listener,
        _made_in(netns, UDP) as client,
    ):
        client.sendto(QUESTION, (address, port))
        _, peer = listener.recvfrom(1024)
        return str(peer[0])


def _ask_tcp(server: Server, netns: str, target: tuple[str, int]) -> str:
    with _listening(server, TCP) as listener, _made_in(netns, TCP) as client:
        client.connect(target)
        connection, peer = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            client.sendall(QUESTION)
            _expect(connection.recv(1024), QUESTION)
            connection.sendall(ANSWER % peer[0].encode())
            _expect(client.recv(1024), ANSWER % peer[0].encode())
        return str(peer[0])


def _ask_udp(server: Server, netns: str, target: tuple[str, int]) -> str:
    with _listening(server, UDP) as listener, _made_in(netns, UDP) as client:
        # a connected socket takes answers from the address that it asked, and no other
        client.connect(target)
        client.sendall(QUESTION)
        said, peer = listener.recvfrom(1024)
        _expect(said, QUESTION)
        listener.sendto(ANSWER % peer[0].encode(), peer)
        _expect(client.recv(1024), ANSWER % peer[0].encode())
        return str(peer[0])


@contextmanager
def _listening(server: Server, kind: socket.SocketKind) -> Iterator[socket.socket]:
    with _made_in(server.netns, kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", server.port))
        if kind == TCP:
            listener.listen()
        yield listener


@contextmanager
def _made_in(netns: str, kind: socket.SocketKind) -> Iterator[socket.socket]:
    with entered(netns):
        made = socket.socket(socket.AF_INET, kind)
    with made:
        made.settimeout(PATIENCE)
        yield made


def _expect(said: bytes, wanted: bytes) -> None:
    if said != wanted:
        raise CniError(Code.CHECK_FAILED, f"{said!r} arrived in place of {wanted!r}")


@contextmanager
def _reporting(what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        msg = f"{what}: nothing has come within {PATIENCE:.0f} seconds"
        raise CniError(Code.CHECK_FAILED, msg) from error
    except OSError as error:
        raise CniError(Code.CHECK_FAILED, f"{what}: {error.strerror}") from error
