"""A double of the node agent: it speaks over its socket, and has the addresses that it is told.

The protocol is that of cni/vpc/client.py, written down here once more: what a program sends is
taken apart by hand, so that a change of the words on the wire does not pass unseen.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from cni.vpc import released
from tests import lab

Json = dict[str, Any]
Key = tuple[str, str, str]  # network, container ID, ifname
SOCKET = "/run/pycni/vpc.sock"
PRIMARY: Json = {"id": "eni-0", "mac": "02:00:00:00:00:10", "device": 0, "address": "10.0.1.10"}
SECONDARY: Json = {"id": "eni-1", "mac": "02:00:00:00:00:20", "device": 1, "address": "10.0.1.20"}


def place(address: str, eni: Json | None = None, **more: Any) -> Json:
    """Return what the agent says of an address of 10.0.1.0/24 on an ENI, by default the primary."""
    eni = eni or PRIMARY
    table = eni["device"] + 1 if eni["device"] else 254
    return {
        "address": address,
        "gateway": "10.0.1.1",
        "subnet": "10.0.1.0/24",
        "eni": eni,
        "table": table,
        "ipv6": [],
        "vpcCIDRs": ["10.0.0.0/16"],
        "mtu": 9001,
    } | more


@dataclass
class Agent:
    """What the double has: `free` places, first come first served, and who holds which.

    A place that is `planned` for a container ID is given to nobody else.
    """

    free: list[Json]
    planned: dict[str, Json] = field(default_factory=dict)
    held: dict[Key, Json] = field(default_factory=dict)
    refusal: Json | None = None  # the answer to everything, when there is one
    meanwhile: Callable[[], object] = bool  # what happens before ADD is answered
    asked: list[Json] = field(default_factory=list)
    answered: int = 0  # requests that are over, whoever heard the answer

    def drain(self) -> None:
        """Do what programs left while nobody listened."""
        for release in released.pending():
            if release.attachment is None:
                valid = [
                    {"containerID": container, "ifname": ifname}
                    for container, ifname in release.valid
                ]
                self._gc({"network": release.network, "valid": valid})
            else:
                one = release.attachment
                self.release((one.network, one.container_id, one.ifname))
            release.done()

    def addresses(self) -> set[str]:
        """Return the addresses that pods have, after all that was left has been done."""
        self.drain()
        return {place["address"] for place in self.held.values()}

    def answer(self, request: Json) -> Json:
        """Return the answer to one request."""
        self.drain()
        self.asked.append(request)
        if self.refusal:
            return self.refusal
        verbs = {"ADD": self._add, "CHECK": self._check, "DEL": self._del, "GC": self._gc}
        return verbs.get(request["verb"], lambda _: {})(request)

    def _add(self, request: Json) -> Json:
        self.meanwhile()
        key, wanted = _key(request), request.get("address")
        if key not in self.held and key[1] in self.planned:
            self.held[key] = self.planned[key[1]]
        elif key not in self.held:
            found = [one for one in self.free if wanted in (None, one["address"])]
            if not found:
                msg = "no address is free: 0 of 2, 2 assigned, 0 cooling"
                return {"code": 11, "msg": msg, "details": "the pool grows"}
            self.free.remove(found[0])
            self.held[key] = found[0]
        return self.held[key]

    def _check(self, request: Json) -> Json:
        missing = {"code": 102, "msg": "the attachment has no address", "details": "ADD it"}
        return self.held.get(_key(request), missing)

    def _del(self, request: Json) -> Json:
        self.release(_key(request))
        return {}

    def _gc(self, request: Json) -> Json:
        valid = {(one["containerID"], one["ifname"]) for one in request["valid"]}
        for key in list(self.held):
            if key[0] == request["network"] and key[1:] not in valid:
                self.release(key)
        return {}

    def release(self, key: Key) -> None:
        """Take back what an attachment has; it may be nothing."""
        place = self.held.pop(key, None)
        if place and key[1] not in self.planned:
            self.free.insert(0, place)


def _key(request: Json) -> Key:
    return request["network"], request["containerID"], request["ifname"]


@contextmanager
def listening(agent: Agent) -> Iterator[Agent]:
    """Let the double serve at the agent's socket on this host until the end of the block."""
    os.makedirs(os.path.dirname(SOCKET), exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(SOCKET)
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, agent), daemon=True)
        thread.start()
        try:
            yield agent
        finally:
            with suppress(FileNotFoundError):
                os.unlink(SOCKET)
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _serve(listener: socket.socket, agent: Agent) -> None:
    lab._call("unshare", lab.CLONE_FS)  # the test leaves its mount namespace when it ends
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            line = lines.readline()
            if line:
                _serve_one(connection, agent, json.loads(line))


def _serve_one(connection: socket.socket, agent: Agent, request: Json) -> None:
    """Answer; what was given to a program that is gone is taken back."""
    before = set(agent.held)
    answer = json.dumps(agent.answer(request)).encode() + b"\n"
    try:
        connection.settimeout(30)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    except OSError:
        for key in set(agent.held) - before:
            agent.release(key)
    agent.answered += 1
