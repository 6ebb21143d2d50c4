"""A cloud over HTTP: EC2 with its metadata service, and Azure's metadata service.

One server answers at every address that a test lets it listen at: a namespace's loopback, or
169.254.169.254 in that of a node.  In a path, an instance's name may come first
(http://127.0.0.1:8000/i-1234/latest/meta-data/…); else it is that of the address.
"""

import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import parse_qs

from moto.core.model_instances import reset_model_data
from moto.core.request import Request
from moto.ec2.models import ec2_backends

from ipam.aws_vpc.cloud import tags
from tests import lab
from tests.cloud import metadata
from tests.cloud.faults import Cut, Faults, Refusal
from tests.cloud.strict import StrictEc2

REGION, ZONE = "us-east-1", "us-east-1a"
INSTANCE = {"is_instance_type_default": False, "placement": ZONE, "region_name": REGION}
NO_PREFIX = "InsufficientCidrBlocks", "There are not enough free cidr blocks in the subnet"
# the other form that EC2 says it in
NO_PREFIX_VALUE = (
    "InvalidParameterValue",
    "There are not sufficient free addresses or prefixes in the subnet",
)
_numbers = itertools.count(100_000_000_000)
_moto = threading.RLock()  # moto is not made for threads


@dataclass
class Delays:
    """Seconds until an ENI can be seen, is attached, is detached; and for every call."""

    visible: float = 0.0
    attach: float = 0.0
    detach: float = 0.0
    call: float = 0.0


class Cloud:
    """An account of its own with one VPC."""

    def __init__(self, cidr: str = "10.0.0.0/16") -> None:
        self.account = str(next(_numbers))
        self.faults, self.delays, self.wishes = Faults(), Delays(), metadata.Wishes()
        self.tokens: dict[str, tuple[str, Any]] = {}  # of ENIs that were made
        self.clock: Callable[[], float] = time.monotonic
        self.no_prefix, self.page = NO_PREFIX, 1000
        self.azure: Any = None  # Azure's document
        self._servers: list[tuple[_Server, threading.Thread]] = []
        self._calls: Any = type("Bound", (StrictEc2,), {"cloud": self})
        with _moto:
            self.backend: Any = ec2_backends[self.account][REGION]
            self.vpc = self.backend.create_vpc(cidr)

    # -- what is in it ----------------------------------------------------------------------

    def subnet(self, cidr: str, **tagged: str) -> str:
        """Make a subnet; return its name.  In tags, `__` is a slash."""
        with _moto:
            made = self.backend.create_subnet(self.vpc.id, cidr, ZONE)
            made.add_tags({key.replace("__", "/"): value for key, value in tagged.items()})
        return str(made.id)

    def instance(self, subnet: str, kind: str = "m5.large") -> str:
        """Start an instance; return its name."""
        with _moto:
            image = next(iter(self.backend.amis))
            reservation = self.backend.run_instances(
                image, 1, "", ["default"], subnet_id=subnet, instance_type=kind, nics=[], **INSTANCE
            )
            made = reservation.instances[0]
            made._state.name, made._state.code = "running", 16
            made.nics[0].delete_on_termination = True
        return str(made.id)

    def blocks(self, instance: str) -> dict[str, set[IPv4Network]]:
        """Return what each ENI of an instance has for pods."""
        with _moto:
            return {
                eni.id: {
                    IPv4Network(one["PrivateIpAddress"])
                    for one in eni.private_ip_addresses
                    if one["PrivateIpAddress"] != eni.private_ip_address
                }
                | {IPv4Network(one["Ipv4Prefix"]) for one in getattr(eni, "ipv4_prefixes", ())}
                for eni in self.backend.get_instance(instance).nics.values()
            }

    def holder(self, address: str) -> str:
        """Return the ENI that has an address, in a prefix too; empty: none has."""
        with _moto:
            for eni in self.backend.enis.values():
                singles = {one["PrivateIpAddress"] for one in eni.private_ip_addresses}
                prefixes = [IPv4Network(p["Ipv4Prefix"]) for p in getattr(eni, "ipv4_prefixes", ())]
                if address in singles or any(IPv4Network(address)[0] in one for one in prefixes):
                    return str(eni.id)
        return ""

    def enis(self) -> dict[str, Any]:
        """Return moto's objects of all ENIs, attached or not."""
        with _moto:
            return dict(self.backend.enis)

    def guard(self, eni: str) -> str:
        """Put an ENI into a security group of its own; return the group's name."""
        with _moto:
            group = self.backend.create_security_group("nodes", "of nodes", vpc_id=self.vpc.id)
            self.backend.modify_network_interface_attribute(eni, [group.id])
        return str(group.id)

    def occupy(self, cidr: str, leave: int) -> None:
        """Have somebody else take the addresses of a subnet, but for the last few."""
        subnet = self._subnet(cidr)
        free = int(subnet.available_ip_address_count) - leave
        taken = {
            one["PrivateIpAddress"] for eni in self._of(subnet) for one in eni.private_ip_addresses
        }
        hosts = [str(one) for one in list(IPv4Network(cidr))[4:-1] if str(one) not in taken]
        with _moto:
            self.backend.create_network_interface(subnet, hosts[0], [*hosts[:free]])

    def fragment(self, cidr: str) -> None:
        """Have somebody else take one address of each /28 of a subnet that is not delegated."""
        subnet = self._subnet(cidr)
        delegated = [
            IPv4Network(one["Ipv4Prefix"])
            for eni in self._of(subnet)
            for one in getattr(eni, "ipv4_prefixes", ())
        ]
        for block in IPv4Network(cidr).subnets(new_prefix=28):
            if block not in delegated:
                with _moto:
                    self.backend.create_network_interface(subnet, str(block[14]))

    def foreign_eni(self, instance: str, device: int) -> str:
        """Attach an ENI that bears no tag of ours; return its name."""
        with _moto:
            one = self.backend.get_instance(instance)
            eni = self.backend.create_network_interface(one.nics[0].subnet, "10.0.1.200")
            self.backend.attach_network_interface(eni.id, instance, device)
        return str(eni.id)

    def lost_eni(self, subnet: str, instance: str, age: float) -> str:
        """Make an ENI as a node does, `age` seconds ago, that nobody attached; return its name."""
        made = datetime.fromtimestamp(time.time() - age, UTC).isoformat()
        with _moto:
            one = self.backend.get_subnet(subnet)
            hosts = list(IPv4Network(one.cidr_block))
            address = str(hosts[-2 - len(self._of(one))])
            eni = self.backend.create_network_interface(
                one, address, tags={tags.INSTANCE: instance, tags.CREATED: made}
            )
        return str(eni.id)

    def _subnet(self, cidr: str) -> Any:
        found = self.backend.subnets.values()
        return next(one for zone in found for one in zone.values() if one.cidr_block == cidr)

    def _of(self, subnet: Any) -> list[Any]:
        return [eni for eni in self.backend.enis.values() if eni.subnet.id == subnet.id]

    def take_away(self, eni: str, address: str) -> None:
        """Take an address from an ENI behind its node's back, and let somebody else have it."""
        with _moto:
            self.backend.unassign_private_ip_addresses(eni, [address])
        self.give_to_another(eni, address)

    def give_to_another(self, eni: str, address: str) -> None:
        """Let somebody else have an address of an ENI's subnet."""
        with _moto:
            self.backend.create_network_interface(self.backend.enis[eni].subnet, address)

    def freeze(self, instance: str) -> None:
        """Let the metadata service be late from now on."""
        self.wishes.frozen = self._leaves(instance)

    def _leaves(self, instance: str) -> metadata.Leaves:
        with _moto:
            return metadata.leaves(self.backend.get_instance(instance))

    # -- how it is reached ------------------------------------------------------------------

    def listen(self, host: str = "127.0.0.1", port: int = 0, instance: str = "") -> str:
        """Listen at an address of the network namespace of this thread; return the URL."""
        handler = type("Bound", (_Handler,), {"cloud": self, "instance": instance})
        server = _Server((host, port), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        self._servers.append((server, thread))
        thread.start()
        return f"http://{host}:{server.server_port}"

    def close(self) -> None:
        """Listen no more.  No thread is left, so this one can go to another mount namespace."""
        for server, thread in self._servers:
            server.shutdown()
            thread.join()
            server.hang_up()
            server.server_close()
            # a thread that was joined is not gone yet
            numbers = {thread.native_id, *server.threads}
            assert lab.wait_until(lambda left=numbers: not left & _threads())  # type: ignore[misc]
        self._servers.clear()
        with _moto:
            del ec2_backends[self.account]
            # what moto made for it is in lists and caches of moto for ever: 5 MB, images mostly
            vars(self.backend).clear()
            reset_model_data()

    def environ(self, url: str, instance: str) -> dict[str, str]:
        """Return the variables by which the SDK finds this cloud, as that instance."""
        return {
            "AWS_ENDPOINT_URL_EC2": url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{url}/{instance}",
            "AZURE_METADATA_SERVICE_ENDPOINT": url,
        }

    # -- answers ----------------------------------------------------------------------------

    def call(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str] | None:
        """Carry out a call of EC2's API; None: there is no answer."""
        name = parse_qs(body.decode())["Action"][0]
        wrong = self.faults.look(name)
        self.faults.before(name)
        if self.delays.call:
            threading.Event().wait(self.delays.call)
        if wrong and not wrong.done:
            return self._wrong(wrong)
        with _moto:
            request = Request.from_primitives("POST", url, headers, body)
            status, _, text = self._calls.dispatch(request)
        self.faults.after(name)
        return self._wrong(wrong) if wrong else (status, text)

    @staticmethod
    def _wrong(wrong: Refusal) -> tuple[int, str] | None:
        return None if isinstance(wrong, Cut) else (wrong.status, wrong.body)

    def tell(self, method: str, path: str, headers: Any, instance: str) -> tuple[int, str]:
        """Answer as the metadata service that the path is of."""
        if path.startswith("/metadata/"):
            return self._tell_azure(path, headers)
        return metadata.answer(self.wishes, lambda: self._leaves(instance), method, path, headers)

    def _tell_azure(self, path: str, headers: Any) -> tuple[int, str]:
        for begin, status in self.wishes.refuse.items():
            if path.startswith(begin):
                return status, "as the test wishes"
        if headers.get("Metadata", "").lower() != "true" or "X-Forwarded-For" in headers:
            return 400, '{"error": "Bad request: Required metadata header not specified"}'
        if "api-version=" not in path:
            return 400, '{"error": "Bad request: api-version was not specified"}'
        return (200, json.dumps(self.azure)) if self.azure is not None else (404, "{}")


def _threads() -> set[int]:
    """Return the numbers of this process's threads."""
    return set(map(int, os.listdir("/proc/self/task")))


class _Server(ThreadingHTTPServer):
    """Knows who is connected."""

    daemon_threads = False  # its end waits for theirs

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self._connected: set[socket.socket] = set()
        self.threads: list[int] = []
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connected.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.threads.append(threading.get_native_id())
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connected.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close all connections."""
        for one in list(self._connected):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    cloud: Cloud
    instance: str
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer is one packet

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = f"http://{self.headers['Host']}{self.path}"
        answer = self.cloud.call(url, dict(self.headers.items()), body)
        if answer is None:
            self.close_connection = True
            self.connection.close()
            return
        self._say(*answer, kind="text/xml")

    def do_GET(self) -> None:
        path, instance = self.path, self.instance
        if path.startswith("/i-"):
            instance, _, path = path.removeprefix("/").partition("/")
            path = f"/{path}"
        self._say(*self.cloud.tell(self.command, path, self.headers, instance))

    do_PUT = do_GET  # noqa: N815  # the name that http.server looks for

    def _say(self, status: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running(cidr: str = "10.0.0.0/16") -> Iterator[Cloud]:
    """Have a cloud for the time of the block."""
    cloud = Cloud(cidr)
    try:
        yield cloud
    finally:
        cloud.close()
