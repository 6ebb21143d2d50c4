"""Questions to servers, asked by pods, nodes and the outside."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.cluster.cluster import Cluster
from tests.cluster.pods import Pod
from tests.runtimes.leftovers import wait_for
from tests.runtimes.traffic import plain

PATIENCE = 120  # seconds until kube-proxy has told the kernel of a service, for which it takes one
MANY = 40  # requests; that one of three servers gets none of them happens once in ten million times
PORT = 9999  # of the server outside
SERVER = """
import socket, sys
with socket.create_server(("", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    while True:
        one, client = server.accept()
        with one:
            one.sendall(client[0].encode())
"""


def asked_by(cluster: Cluster, client: Pod | str, url: str, times: int = 1) -> list[str]:
    """Let a pod, a node or the outside ask for `url`; return the answers that came."""
    if isinstance(client, Pod):
        get = f"busybox timeout 3 busybox wget -qO- http://{url}"
        loop = f"sh -c 'for i in $(busybox seq {times}); do {get}; done'"
        return cluster.inside(client, loop, check=False).split()
    get = f"curl --silent --max-time 3 http://{url}"
    return cluster.run(
        client, f"sh -c 'for i in $(seq {times}); do {get}; done'", check=False
    ).split()


def client_seen(cluster: Cluster, client: Pod | str, server: str) -> str:
    """Return the address that the server at `server` sees the client with."""
    return eventually(lambda: plain(asked_by(cluster, client, f"{server}/cgi-bin/who")[0]))


def server_found(cluster: Cluster, client: Pod | str, server: str) -> str:
    """Return the name of the pod that answers the client at `server`."""
    return eventually(lambda: asked_by(cluster, client, f"{server}/cgi-bin/name")[0])


def servers_found(cluster: Cluster, client: Pod | str, server: str) -> set[str]:
    """Return the names of all pods that answer the client at `server`."""
    server_found(cluster, client, server)
    return set(asked_by(cluster, client, f"{server}/cgi-bin/name", MANY))


def eventually(ask: Callable[[], str]) -> str:
    """Ask again until there is an answer."""
    answers: list[str] = []

    def answered() -> list[str]:
        with suppress(IndexError):
            answers.append(ask())
        return answers

    wait_for(answered, "an answer", PATIENCE)
    return answers[0]


@contextmanager
def server_outside(cluster: Cluster) -> Iterator[str]:
    """Serve on the outside machine: the answer is who asked; yield address and port."""
    server = cluster.start("outside", sys.executable, "-c", SERVER, str(PORT))
    assert server.stdout
    with server.stdout as said:
        try:
            assert said.readline() == "ready\n"
            yield f"{cluster.provider.outside} {PORT}"
        finally:
            server.kill()
            server.wait()
