"""An API server of our own: as much of Kubernetes' as list and watch of nodes take, and its faults.

Source: the Kubernetes documentation, "API Concepts".
"""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.agent.nodes.pki import TOKENS, Pki

Json = dict[str, Any]
Fault = Callable[["Handler"], bool]  # does it answer in place of the server?
NODES = "/api/v1/nodes"


class Store:
    """Nodes with their history, as etcd and the API's watch cache keep it."""

    def __init__(self) -> None:
        self.nodes: dict[str, Json] = {}
        self.events: list[tuple[int, str, Json]] = []
        self.version, self.oldest = 1000, 1000
        self.snapshots: dict[str, tuple[int, list[Json]]] = {}
        self.news = threading.Condition()

    def put(self, name: str, node: Json | None) -> None:
        """Add, change or (None) remove a node."""
        with self.news:
            self.version += 1
            before = self.nodes.pop(name, None)
            kind = "DELETED" if node is None else "MODIFIED" if before else "ADDED"
            item = json.loads(json.dumps(node or before))
            item["metadata"]["resourceVersion"] = str(self.version)
            if node is not None:
                self.nodes[name] = item
            self.events.append((self.version, kind, item))
            self.news.notify_all()

    def compact(self) -> None:
        """Forget the past, but for the watches that are under way."""
        with self.news:
            self.version += 1
            self.oldest = self.version
            self.snapshots.clear()
            self.news.notify_all()

    def go_back(self) -> None:
        """Be as etcd is that was restored from a backup: without nodes, at an earlier version."""
        with self.news:
            self.version, self.oldest = 500, 500
            self.nodes.clear()
            self.events.clear()
            self.news.notify_all()

    def after(self, version: int) -> list[tuple[int, str, Json]]:
        return [event for event in self.events if event[0] > version]


class ApiServer:
    """Serves `store` over TLS, until it is stopped; it can be started again at its port."""

    def __init__(self, pki: Pki, address: str = "127.0.0.1") -> None:
        self.address = address
        self.store = Store()
        self.fault: Fault = lambda _: False
        self.bookmark_s, self.bookmarks = 0.2, 0
        self.requests: list[Json] = []  # queries of lists and watches
        self.times: list[float] = []  # when they came
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pki.path("server.crt"), pki.path("server.key"))
        self._context.load_verify_locations(pki.path("ca.crt"))
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._http: Http | None = None
        self._port = 0
        self.start()

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> None:
        self._http = Http((self.address, self._port), Handler)
        self._http.api, self._http.context = self, self._context
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """End, as a machine does that loses its power."""
        http, self._http = self._http, None
        if http:
            http.shutdown()
            http.server_close()
            http.drop()

    def lists(self) -> int:
        """Return how many times somebody began to list nodes."""
        return sum("watch" not in query and "continue" not in query for query in self.requests)

    def forget(self) -> None:
        """Make every resourceVersion up to now too old, and end every watch."""
        self.store.compact()
        if self._http:
            self._http.drop()


class Http(ThreadingHTTPServer):
    """A thread for each connection; their sockets are known, so that they can be dropped."""

    daemon_threads = True
    api: ApiServer
    context: ssl.SSLContext

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        plain, address = self.socket.accept()
        plain.settimeout(30)
        wrapped = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self._open.add(wrapped)
        return wrapped, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients come and go."""

    def drop(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Http

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        api, url = self.server.api, urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        if url.path == NODES:
            api.requests.append(query)
            api.times.append(time.monotonic())
        if api.fault(self) or not self._allowed("GET"):
            return
        if "watch" in query:
            self._watch(query)
        elif url.path == NODES:
            self._list(query)
        else:
            self.status(404, "not here")

    def do_POST(self) -> None:
        body = self._body()
        if self._allowed("POST"):
            self._put(body["metadata"]["name"], body)

    def do_PATCH(self) -> None:
        """Merge the patch, of which we know the first two levels."""
        node = json.loads(json.dumps(self.server.api.store.nodes[self._name()]))
        for key, value in self._body().items():
            node[key] = {**node.get(key, {}), **value}
        if self._allowed("PATCH"):
            self._put(self._name(), node)

    def do_DELETE(self) -> None:
        if self._allowed("DELETE"):
            store = self.server.api.store
            for name in list(store.nodes) if self.path == NODES else [self._name()]:
                store.put(name, None)
            self.answer(200, b"{}")

    def _put(self, name: str, node: Json) -> None:
        self.server.api.store.put(name, node)
        self.answer(200, b"{}")

    def _name(self) -> str:
        return self.path.removeprefix(f"{NODES}/").removesuffix("/status")

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _allowed(self, verb: str) -> bool:
        user = TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "), "")
        certificate = self.connection.getpeercert() if not user else None
        for ((key, value),) in (certificate or {}).get("subject", ()):
            user = value if key == "commonName" else user
        if not user:
            self.status(401, "Unauthorized")
        elif user != "admin" and (user, verb) != ("agent", "GET"):
            self.status(403, f'nodes is forbidden: User "{user}" cannot list resource "nodes"')
        else:
            return True
        return False

    def status(self, code: int, message: str) -> None:
        self.answer(code, json.dumps({"kind": "Status", "message": message, "code": code}).encode())

    def answer(self, code: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _list(self, query: Json) -> None:
        store, token = self.server.api.store, query.get("continue", "")
        with store.news:
            if token and token not in store.snapshots:
                self.status(410, "The provided continue parameter is too old")
                return
            version, items = store.snapshots.get(token, (store.version, list(store.nodes.values())))
            limit = int(query.get("limit", "0")) or len(items)
            metadata = {"resourceVersion": str(version)}
            if len(items) > limit:
                metadata["continue"] = f"{version}-{len(items)}"
                store.snapshots[metadata["continue"]] = (version, items[limit:])
        body = {"kind": "NodeList", "apiVersion": "v1", "metadata": metadata}
        self.answer(200, json.dumps({**body, "items": items[:limit]}).encode())

    def _watch(self, query: Json) -> None:
        self.begin_stream()
        for event in self._events(int(query["resourceVersion"]), int(query["timeoutSeconds"])):
            self.event(event)
        self.wfile.write(b"0\r\n\r\n")

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, event: Json) -> None:
        self.chunk(json.dumps(event).encode() + b"\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _events(self, version: int, seconds: int) -> Iterator[Json]:
        store, end = self.server.api.store, time.monotonic() + seconds
        if version < store.oldest:
            gone = {"kind": "Status", "code": 410, "message": f"too old: {version}"}
            yield {"type": "ERROR", "object": gone}
            return
        while time.monotonic() < end:
            with store.news:
                events = store.after(version)
                if not events:
                    store.news.wait(self.server.api.bookmark_s)
                    events = store.after(version)
                now = store.version
            if version > now:
                continue  # a real one says nothing then
            for _, kind, item in events:
                yield {"type": kind, "object": item}
            version = events[-1][0] if events else now
            if not events:
                self.server.api.bookmarks += 1
                bookmark = {"kind": "Node", "metadata": {"resourceVersion": str(version)}}
                yield {"type": "BOOKMARK", "object": bookmark}
