"""A cluster's API under test: the server, a relay before it, and the hand that changes nodes."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import urllib3

from cni.agent.nodes import Source
from cni.agent.nodes.access import Access
from cni.cluster import Node
from tests.agent.nodes.pki import Pki
from tests.agent.nodes.wire import Relay

NODES = "/api/v1/nodes"


class Server(Protocol):
    """A server of the API, with or without our own faults."""

    address: str

    @property
    def port(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def forget(self) -> None: ...


@dataclass(frozen=True)
class Hand:
    """Changes nodes at the server at `base`."""

    base: str
    pool: urllib3.PoolManager

    def add(self, name: str, address: str = "", cidrs: str = "", *, ready: bool = True) -> None:
        """Add a node with these addresses and pod CIDRs, each divided by spaces."""
        spec: dict[str, Any] = {}
        if cidrs:
            spec = {"podCIDR": cidrs.split(maxsplit=1)[0], "podCIDRs": cidrs.split()}
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"label": "value"}},
            "spec": spec,
            "status": _status(name, address, ready=ready),
        }
        self._call("POST", NODES, body)

    def change(self, name: str, address: str, *, ready: bool = True) -> None:
        """Change a node's status, as the kubelet does."""
        body = {"status": _status(name, address, ready=ready)}
        self._call("PATCH", f"{NODES}/{name}/status", body)

    def heartbeat(self, name: str) -> None:
        """Change what the agent does not care for."""
        body = {"metadata": {"labels": {"label": str(time.monotonic())}}}
        self._call("PATCH", f"{NODES}/{name}", body)

    def delete(self, name: str) -> None:
        self._call("DELETE", f"{NODES}/{name}")

    def clear(self) -> None:
        """Remove all nodes."""
        self._call("DELETE", NODES)

    def _call(self, method: str, path: str, body: Any = None) -> None:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": "Bearer admin-token", "Content-Type": kind}
        text = json.dumps(body) if body else None
        answer = self.pool.request(
            method, f"{self.base}{path}", body=text, headers=headers, timeout=30
        )
        assert answer.status in (200, 201), answer.data


@contextmanager
def hand(pki: Pki, base: str) -> Iterator[Hand]:
    """Yield the hand of an administrator."""
    with urllib3.PoolManager(ca_certs=pki.path("ca.crt"), retries=False) as pool:
        yield Hand(base, pool)


@dataclass(frozen=True)
class Cluster(Hand):
    """The agent speaks to the relay, the test to the server."""

    server: Server
    relay: Relay
    pki: Pki

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.relay.port}"

    def access(self, token: str = "agent-token") -> Access:
        return Access(self.url, token, self.pki.text("ca.crt"))

    def direct(self) -> Access:
        """Return the way past the relay."""
        return Access(self.base, "agent-token", self.pki.text("ca.crt"))


@contextmanager
def serve(server: Server, pki: Pki) -> Iterator[Cluster]:
    """Put a relay before the server, and a hand beside it."""
    relay = Relay(server.port)
    with hand(pki, f"https://{server.address}:{server.port}") as one:
        yield Cluster(one.base, one.pool, server, relay, pki)
    relay.cut()


def _status(name: str, address: str, *, ready: bool) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": one} for one in address.split()]
    condition = {"type": "Ready", "status": "True" if ready else "Unknown"}
    return {
        "addresses": [{"type": "Hostname", "address": name}, *addresses],
        "conditions": [{"type": "DiskPressure", "status": "False"}, condition],
    }


class Watcher:
    """Runs a source, and keeps all that it tells."""

    def __init__(self, source: Source) -> None:
        self.source, self.told = source, list[Mapping[str, Node]]()
        self._news, self._stop = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=source.run, args=(self._changed, self._stop))

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self.told[-1] if self.told else {}

    def sees(self, condition: Callable[[Mapping[str, Node]], object], seconds: float = 20) -> bool:
        """Wait until what was told last fulfils `condition`; tell whether it does."""
        with self._news:
            return self._news.wait_for(
                lambda: bool(self.told) and bool(condition(self.told[-1])), seconds
            )

    def sees_names(self, *names: str) -> bool:
        return self.sees(lambda nodes: sorted(nodes) == sorted(names))

    def end(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _changed(self, nodes: Mapping[str, Node]) -> None:
        with self._news:
            self.told.append(dict(nodes))
            self._news.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()
