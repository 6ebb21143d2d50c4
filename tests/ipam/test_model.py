"""Whatever is done in whatever order: host-local keeps its promises (checked by hypothesis)."""

import tempfile
from ipaddress import ip_address
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cni.errors import Code
from cni.leases.index import Owner
from tests.ipam.network import Network, addresses

RANGE = {
    "subnet": "10.1.2.0/28",
    "rangeStart": "10.1.2.3",
    "rangeEnd": "10.1.2.11",
    "gateway": "10.1.2.5",
}
USABLE = {f"10.1.2.{number}" for number in (3, 4, 6, 7, 8, 9, 10, 11)}
PODS = st.sampled_from([f"pod-{number}" for number in range(10)])
NAMES = st.sampled_from(sorted(USABLE))


class HostLocal(RuleBasedStateMachine):
    """A small network and what should be leased in it, by name of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.network = Network(Path(self.directory.name), ranges=[[RANGE]])
        self.leased: dict[str, str] = {}
        self.last = ""

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(pod=PODS)
    def add(self, pod: str) -> None:
        reply = self.network.call("ADD", pod)
        if pod in self.leased.values():
            reply.failed(Code.ALREADY_ATTACHED)
        elif len(self.leased) == len(USABLE):
            reply.failed(Code.EXHAUSTED)
        else:
            (name,) = addresses(reply)
            assert name == self.next_free()
            self.leased[name] = pod
            self.last = name

    def next_free(self) -> str:
        """Return the first free address after the last one, round the range."""
        order = sorted(USABLE, key=ip_address)
        at = order.index(self.last) + 1 if self.last else 0
        return next(name for name in order[at:] + order[:at] if name not in self.leased)

    @rule(pod=PODS, name=NAMES)
    def add_requested(self, pod: str, name: str) -> None:
        reply = self.network.call("ADD", pod, args=f"IP={name}")
        if pod in self.leased.values() or name in self.leased:
            reply.failed(Code.ALREADY_ATTACHED)
        else:
            assert addresses(reply) == [name]
            self.leased[name] = pod
            self.last = name

    @rule(pod=PODS)
    def delete(self, pod: str) -> None:
        self.network.call("DEL", pod).ok()
        self.leased = {name: owner for name, owner in self.leased.items() if owner != pod}

    @rule(keep=st.sets(PODS))
    def collect(self, keep: set[str]) -> None:
        valid = [{"containerID": pod, "ifname": "eth0"} for pod in keep]
        self.network.with_conf(**{"cni.dev/valid-attachments": valid}).call("GC").ok()
        self.leased = {name: owner for name, owner in self.leased.items() if owner in keep}

    @rule(pod=PODS, name=NAMES)
    def another_program_leases(self, pod: str, name: str) -> None:
        if name not in self.leased and pod not in self.leased.values():
            (self.network.path / name).unlink(missing_ok=True)  # it never writes into a file
            self.network.put(name, f"{pod}\r\neth0".encode())
            self.leased[name] = pod

    @rule(name=NAMES)
    def another_program_releases(self, name: str) -> None:
        if self.leased.pop(name, None):
            (self.network.path / name).unlink()

    @rule(name=NAMES, text=st.sampled_from([b"", b"\0\0"]))
    def another_program_crashes(self, name: str, text: bytes) -> None:
        if name not in self.leased:
            self.network.put(name, text)

    @rule()
    def look(self) -> None:
        reply = self.network.call("STATUS")
        if len(self.leased) == len(USABLE):
            reply.failed(Code.UNAVAILABLE)
        else:
            reply.ok()

    @rule(pod=PODS)
    def check(self, pod: str) -> None:
        reply = self.network.call("CHECK", pod)
        assert (reply.exit == 0) is (pod in self.leased.values())

    @invariant()
    def leases_are_as_they_should_be(self) -> None:
        held = {name: Owner.decode(text) for name, text in self.network.leases().items()}
        whole = {name: owner for name, owner in held.items() if owner is not None}
        assert whole == {name: Owner(pod, "eth0") for name, pod in self.leased.items()}
        assert set(held) <= USABLE


TestHostLocal = HostLocal.TestCase
TestHostLocal.settings = settings(max_examples=80, stateful_step_count=30)
