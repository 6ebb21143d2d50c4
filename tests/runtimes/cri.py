"""The few calls by which a kubelet runs a pod: runtime.v1 of the Container Runtime Interface.

The messages are written by hand (protobuf encoding: varints and length-delimited fields, numbers
from the interface's api.proto) and carried by curl, which speaks HTTP/2 over a Unix socket.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

LOGS = "/run/logs"
Value = int | str | bytes


class CriError(Exception):
    """The runtime's refusal, in its words."""


@dataclass(frozen=True)
class HostPort:
    """A port of the node that leads to a port of the pod; `protocol`: TCP, UDP or SCTP."""

    host: int
    container: int
    protocol: str = "TCP"


@dataclass(frozen=True)
class Cri:
    """The runtime that listens on `socket`; its sandboxes' cgroups are made in `cgroup`."""

    socket: Path
    cgroup: str

    def answers(self) -> bool:
        """Tell whether the runtime is there."""
        try:
            self.call("Version", b"")
        except CriError:
            return False
        return True

    def network_is_ready(self) -> bool:
        """Tell whether the runtime has a network for pods: without one the node is not Ready."""
        (status,) = decode(self.call("Status", b""))[1]
        conditions = {decode(one)[1][0]: decode_numbers(one).get(2, 0) for one in decode(status)[1]}
        return bool(conditions[b"NetworkReady"])

    def sandboxes(self) -> list[str]:
        """Return the IDs of all pod sandboxes that the runtime knows."""
        found = decode(self.call("ListPodSandbox", b"")).get(1, [])
        return [decode(sandbox)[1][0].decode() for sandbox in found]

    def run_sandbox(self, name: str, ports: list[HostPort]) -> str:
        """Run a pod sandbox in the namespace `default`; return its ID."""
        config = self._sandbox(name, ports)
        return decode(self.call("RunPodSandbox", message((1, config))))[1][0].decode()

    def run_container(self, sandbox_id: str, name: str, image: str) -> None:
        """Run what `image` says in the sandbox called `name`."""
        linux = message((2, message((3, _namespaces()))))
        named = (1, message((1, name))), (2, message((1, image))), (11, f"{name}.log")
        container = message(*named, (15, linux))
        request = message((1, sandbox_id), (2, container), (3, self._sandbox(name, [])))
        created = decode(self.call("CreateContainer", request))[1][0]
        self.call("StartContainer", message((1, created)))

    def _sandbox(self, name: str, ports: list[HostPort]) -> bytes:
        metadata = message((1, name), (2, f"uid-{name}"), (3, "default"))
        mappings = [(5, _port_mapping(port)) for port in ports]
        linux = message((1, f"/{self.cgroup}"), (2, message((1, _namespaces()))))
        return message((1, metadata), (2, name), (3, LOGS), *mappings, (8, linux))

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        """Return the sandbox's addresses as the kubelet is told, the pod's own address first."""
        status = decode(self.call("PodSandboxStatus", message((1, sandbox_id))))[1][0]
        network = decode(decode(status)[5][0])
        more = [decode(address)[1][0] for address in network.get(2, [])]
        return tuple(address.decode() for address in (network[1][0], *more))

    def stop_sandbox(self, sandbox_id: str) -> None:
        """End the sandbox's processes and take its network away; may be repeated."""
        self.call("StopPodSandbox", message((1, sandbox_id)))

    def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget the sandbox; containerd takes its network away once more; may be repeated."""
        self.call("RemovePodSandbox", message((1, sandbox_id)))

    def call(self, method: str, body: bytes) -> bytes:
        """Return the message that `method` of the service answers `body` with.

        gRPC puts five bytes before a message: not compressed, and its length.
        Raises CriError with what the runtime gave as its reason.
        """
        command = [
            *("curl", "--silent", "--show-error", "--max-time", "60", "--http2-prior-knowledge"),
            *("--unix-socket", str(self.socket), "--dump-header", "/dev/stderr"),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            *("--data-binary", "@-", f"http://runtime/runtime.v1.RuntimeService/{method}"),
        ]
        framed = b"\0" + len(body).to_bytes(4) + body
        done = subprocess.run(command, input=framed, capture_output=True, check=False)
        headers = done.stderr.decode()
        if not re.search(r"^grpc-status: 0\s*$", headers, re.MULTILINE):
            raise CriError(f"{method}: {headers}")
        return done.stdout[5:]


def _namespaces() -> bytes:
    """Return NamespaceOption of a kubelet's pod: containers share all but their process IDs."""
    return message((2, 1))


def _port_mapping(port: HostPort) -> bytes:
    protocol = ("TCP", "UDP", "SCTP").index(port.protocol)
    return message((1, protocol), (2, port.container), (3, port.host))


def message(*fields: tuple[int, Value]) -> bytes:
    """Encode fields, each its number and value, as protobuf has them on the wire."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode seven bits a byte, the low ones first; the eighth says that more follow."""
    more = b""
    while value > 0x7F:
        more += bytes([value & 0x7F | 0x80])
        value >>= 7
    return more + bytes([value])


def decode(data: bytes) -> dict[int, list[bytes]]:
    """Return the length-delimited fields of a message by number; numbers are passed over."""
    fields: dict[int, list[bytes]] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == 2:
            fields.setdefault(key >> 3, []).append(data[at : at + value])
            at += value
    return fields


def decode_numbers(data: bytes) -> dict[int, int]:
    """Return the fields of a message that are numbers; one that is 0 may not be there."""
    fields: dict[int, int] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == 2:
            at += value
        else:
            fields[key >> 3] = value
    return fields


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that starts `at`, and where the next field starts."""
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
