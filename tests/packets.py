"""Real packets between network namespaces, all from one thread.

A socket belongs to the namespace it was made in, so both ends of a conversation can be held
here: connect, then accept, then compare what either side sees.
"""

import socket
from contextlib import ExitStack

from cni.kernel.netns import entered
from tests.lab import netns_path

TIMEOUT_S = 2.0  # of one step; only a packet that does not come takes as long
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class UnreachableError(AssertionError):
    """No answer came."""


def _socket(netns: str, address: str, kind: str, timeout: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with entered(netns_path(netns) if netns else ""):
        made = socket.socket(family, KINDS[kind])
    made.settimeout(timeout)
    if kind == "tcp":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def seen_from(
    client: str,
    server: str,
    to: tuple[str, int],
    *,
    listen: int = 0,
    kind: str = "tcp",
    source_port: int = 0,
    timeout: float = TIMEOUT_S,
) -> str:
    """Talk from namespace `client` to address and port `to`, answered in `server`.

    `listen` is the server's port when another than that of `to`.  Returns the address that
    the server sees.  Raises UnreachableError when a packet is lost in either direction.
    """
    with ExitStack() as stack:
        ear = stack.enter_context(_socket(server, to[0], kind, timeout))
        ear.bind(("", listen or to[1]))
        mouth = stack.enter_context(_socket(client, to[0], kind, timeout))
        if source_port:
            mouth.bind(("", source_port))
        try:
            if kind == "tcp":
                ear.listen()
                mouth.connect(to)
                far, peer = ear.accept()
                stack.enter_context(far).sendall(b"hello")
            else:
                mouth.connect(to)
                mouth.send(b"hi")
                peer = ear.recvfrom(100)[1]
                ear.sendto(b"hello", peer)
            answer = mouth.recv(100)
        except OSError as error:
            message = f"{client or 'host'} -> {to} in {server}: {error}"
            raise UnreachableError(message) from error
    assert answer == b"hello"
    return str(peer[0])


def reachable(client: str, server: str, to: tuple[str, int], **options: object) -> bool:
    """Tell whether a conversation as in `seen_from` works."""
    try:
        seen_from(client, server, to, **options)  # type: ignore[arg-type]
    except UnreachableError:
        return False
    return True
