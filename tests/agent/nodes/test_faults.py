"""An API that fails in ways a real one does not at will: a clear message, and no harm."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cni.agent.nodes.api import LINE_MAX, PAGE
from tests.agent.nodes.apiserver import ApiServer, Fault, Handler
from tests.agent.nodes.cluster import Cluster, Watcher
from tests.agent.nodes.conftest import PACE, MakeSource
from tests.lab import wait_until

Faulty = tuple[ApiServer, Cluster]


def answer(body: Any, code: int = 200) -> Fault:
    """Return the fault of an API that answers just this."""

    def fault(handler: Handler) -> bool:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.answer(code, text)
        return True

    return fault


def stream(*chunks: Any, ends: bool = True) -> Fault:
    """Return the fault of a watch that says just this."""

    def fault(handler: Handler) -> bool:
        handler.begin_stream()
        for one in chunks:
            handler.chunk(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n")
        if ends:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = not ends
        return True

    return fault


def hang_up(handler: Handler) -> bool:
    handler.close_connection = True
    return True


def cut_short(handler: Handler) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"metadata": {"resource')
    handler.close_connection = True
    return True


def error(code: int) -> Any:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "so it is"}}


def item(**metadata: str) -> Any:
    return {"metadata": metadata}


Faults = dict[str, tuple[Fault, str]]  # what the API does, and what is said of it

# After these a watch goes on from where it was; after the others all is listed again.
PASSING: Faults = {
    "500": (answer({"message": "etcd is away"}, 500), "500 Internal Server Error: etcd is away"),
    "503, not JSON": (answer(b"<html>", 503), "503 Service Unavailable"),
    "429": (answer({"message": "slowly"}, 429), "429 Too Many Requests: slowly"),
    "401": (answer({"message": "Unauthorized"}, 401), "401 Unauthorized"),
    "403": (answer({"message": "no"}, 403), "403 Forbidden: no"),
    "hangs up": (hang_up, "Remote end closed connection"),
    "cut short": (cut_short, "the connection is lost"),
}
LASTING: Faults = {
    "a redirect": (answer(b"", 302), "302 Found"),
    "an unknown status": (answer({"message": ["odd"], "code": "odd"}, 499), "the API says 499"),
    "markup": (answer(b"<html>\n"), "garbage"),
    "no UTF-8": (answer(b'{"a": "\xff"}\n'), "garbage"),
    "nested": (answer(b"[" * 100_000 + b"\n"), "garbage"),
    "a list": (answer(b"[]\n"), "garbage: it is a list"),
}
OF_A_LIST: Faults = {
    "nothing": (answer(b""), "garbage"),
    "no version": (answer({"metadata": {}, "items": []}), "metadata.resourceVersion null"),
    "no items": (answer({**item(resourceVersion="5"), "items": 7}), "items 7"),
    "no name": (answer({**item(resourceVersion="5"), "items": [item()]}), "metadata.name null"),
}
PASSING_OF_A_WATCH: Faults = {
    "error 500": (stream(error(500)), "500 Internal Server Error: so it is"),
    "half an event": (stream(b'{"type": "ADD'), "the answer ends in the middle of an event"),
    "cut off": (stream(b'{"type": "ADD', ends=False), "the connection is lost"),
    "over at once": (stream(), "ends each watch at once"),
}
LASTING_OF_A_WATCH: Faults = {
    "410": (answer({"message": "too old"}, 410), "410 Gone: too old"),
    "400": (answer({"message": "no version"}, 400), "400 Bad Request: no version"),
    "error 410": (stream(error(410)), "410 Gone: so it is"),
    "error 504": (stream(error(504)), "504 Gateway Timeout: so it is"),
    "an empty error": (stream({"type": "ERROR"}), "the API says 0"),
    "no JSON": (stream(b"{]\n"), "garbage"),
    "no type": (stream({"object": item(name="n", resourceVersion="7")}), "type null"),
    "odd type": (stream({"type": "X", "object": item()}), 'type "X"'),
    "no version": (stream({"type": "BOOKMARK", "object": item()}), "resourceVersion null"),
    "no name": (stream({"type": "ADDED", "object": item(resourceVersion="7")}), "name null"),
    "a line without end": (stream(b"x" * (LINE_MAX + 1)), "a line is longer"),
}


def each(*tables: Faults) -> pytest.MarkDecorator:
    """Run the test with each fault of the tables."""
    faults = {name: fault for table in tables for name, fault in table.items()}
    return pytest.mark.parametrize(("fault", "cause"), faults.values(), ids=faults)


@each(PASSING, LASTING, OF_A_LIST)
def test_a_list_that_fails_is_told_once_and_tried_again(
    faulty: Faulty,
    make_source: MakeSource,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    cause: str,
) -> None:
    server, cluster = faulty
    server.fault = fault
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert wait_until(lambda: len(server.requests) > 2, 10)
        assert not seen.told
        assert not seen.source.health().synced
        server.fault = lambda _: False
        assert seen.sees_names("n1")

    (told,) = [one for one in caplog.messages if "remain" in one]
    assert cluster.url in told
    assert cause in told


@each(PASSING, PASSING_OF_A_WATCH)
def test_a_watch_that_fails_goes_on_from_where_it_was(
    faulty: Faulty,
    make_source: MakeSource,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    cause: str,
) -> None:
    told = fail_a_watch(faulty, make_source, fault, caplog)

    assert cause in told
    assert faulty[0].lists() == 1


@each(LASTING, LASTING_OF_A_WATCH)
def test_after_a_watch_that_says_what_cannot_be_all_nodes_are_listed(
    faulty: Faulty,
    make_source: MakeSource,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    cause: str,
) -> None:
    told = fail_a_watch(faulty, make_source, fault, caplog)

    assert cause in told
    assert faulty[0].lists() > 1


def fail_a_watch(
    faulty: Faulty, make_source: MakeSource, fault: Fault, caplog: pytest.LogCaptureFixture
) -> str:
    """Let watches fail some times: nodes remain, then are caught up with; return what was told."""
    server, cluster = faulty
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")
    cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
    failed = []

    def fail(handler: Handler) -> bool:
        failed.append(handler)
        return fault(handler)

    pace = replace(PACE, brief=20)  # on a busy machine it takes a while to be over at once
    with Watcher(make_source(cluster.access(), pace)) as seen:
        assert seen.sees_names("n1", "n2")
        server.fault = lambda handler: "watch=1" in handler.path and fail(handler)
        cluster.relay.cut()
        cluster.relay.mend()
        assert wait_until(lambda: len(failed) > 2, 10)
        assert seen.source.health().synced
        assert sorted(seen.nodes) == ["n1", "n2"]
        cluster.delete("n1")
        server.fault = lambda _: False
        assert seen.sees_names("n2")
        assert wait_until(lambda: not seen.source.health().last_error, 10)

    told = [one for one in caplog.messages if "remain" in one]
    assert len(told) == len(set(told))
    assert all(cluster.url in one for one in told)
    return "\n".join(told)


def test_a_list_that_ends_between_pages_begins_anew(
    faulty: Faulty, make_source: MakeSource
) -> None:
    server, cluster = faulty
    for i in range(PAGE + 1):
        cluster.add(f"n{i}", f"10.1.{i // 256}.{i % 256}")
    forgotten = threading.Event()

    def forget(handler: Handler) -> bool:
        if "continue" in handler.path and not forgotten.is_set():
            forgotten.set()
            server.store.compact()
        return False

    server.fault = forget
    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees(lambda nodes: len(nodes) == PAGE + 1)

    assert forgotten.is_set()
    assert len(seen.told) == 1


def test_a_list_that_brings_nothing_new_is_not_told(
    faulty: Faulty, make_source: MakeSource
) -> None:
    server, cluster = faulty
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")
        server.forget()
        assert wait_until(lambda: server.lists() > 1, 30)
        before = server.bookmarks
        assert wait_until(lambda: server.bookmarks > before, 30)
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")

    assert len(seen.told) == 2


BAD_NODES: dict[str, Callable[[Any], object]] = {
    "pod CIDR": lambda node: node["spec"].update(podCIDRs=["banana"]),
    "pod CIDRs": lambda node: node["spec"].update(podCIDRs="10.1.0.0/24"),
    "address": lambda node: node["status"].update(
        addresses=[{"type": "InternalIP", "address": "ten"}]
    ),
    "no address": lambda node: node["status"].update(addresses=[{"type": "InternalIP"}]),
    "addresses": lambda node: node["status"].update(addresses=[1]),
    "spec": lambda node: node.update(spec=[]),
    "conditions": lambda node: node["status"].update(conditions={"a": 1}),
}


@pytest.mark.parametrize("spoil", BAD_NODES.values(), ids=BAD_NODES)
def test_a_node_that_cannot_be_read_is_told_once_and_remains_as_it_was(
    faulty: Faulty,
    make_source: MakeSource,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Any], object],
) -> None:
    server, cluster = faulty
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")
        before = seen.nodes["n1"]
        for _ in range(3):
            node = json.loads(json.dumps(server.store.nodes["n1"]))
            spoil(node)
            server.store.put("n1", node)
        server.forget()
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        assert seen.sees_names("n1", "n2")

    assert seen.nodes["n1"] == before
    assert len([one for one in caplog.messages if "cannot read node n1: " in one]) == 1


def test_addresses_that_others_cannot_reach_are_none(
    faulty: Faulty, make_source: MakeSource
) -> None:
    _, cluster = faulty
    cluster.add("n1", "127.0.0.1 fe80::1 10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")

    assert [str(one) for one in seen.nodes["n1"].addresses] == ["10.0.0.1"]


def test_an_api_of_old_names_one_pod_cidr(faulty: Faulty, make_source: MakeSource) -> None:
    """Kubernetes before 1.16 has no podCIDRs."""
    server, cluster = faulty
    server.store.put("n1", {"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.1.0/24"}})

    with Watcher(make_source(cluster.access())) as seen:
        assert seen.sees_names("n1")

    assert [str(one) for one in seen.nodes["n1"].pod_cidrs] == ["10.244.1.0/24"]
