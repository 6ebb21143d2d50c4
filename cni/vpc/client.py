"""Who has which address of the VPC: the programs' side of the node agent's socket.

A connection carries one request and one answer, each a JSON object on a line of its own:
    {"verb": "ADD", "network": "vpc", "containerID": "…", "ifname": "eth0"}
    {"address": "10.0.1.23", "gateway": "10.0.1.1", "subnet": "10.0.1.0/24",
     "eni": {"id": "eni-…", "mac": "…", "device": 1, "address": "10.0.1.20"}, "table": 2,
     "ipv6": [], "vpcCIDRs": ["10.0.0.0/16"], "mtu": 9001}
ADD takes `address` too, one that is asked for; GC takes `valid`, a list of objects with
containerID and ifname.  CHECK answers as ADD did; DEL, GC and STATUS answer {}.  A refusal has
`code`, and `msg` and `details` as the SPEC has them.

After its answer the agent waits until the program closes the connection.  When it does so with
something unread, which the kernel tells (ECONNRESET), the program is gone: what ADD has just given
is taken back, since a DEL may have come before it.
"""

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cni.attachment import Attachment
from cni.config import IPAddress, IPNetwork, Section, decode
from cni.errors import CniError, Code, invalid_config
from cni.kernel.route import MAIN

SOCKET = "/run/pycni/vpc.sock"
TIMEOUT_S = 30.0  # ADD waits for EC2 for some seconds when the pool is empty
ANSWER_MAX = 1 << 20  # bytes


class AwayError(CniError):
    """The agent does not answer; code 11, since it is started again.

    `heard`: the request may have reached it.
    """

    def __init__(self, msg: str, *, heard: bool) -> None:
        super().__init__(Code.TRY_AGAIN, msg, f"is pycnid running with the role vpc? ({SOCKET})")
        self.heard = heard


class RefusedError(CniError):
    """The agent says no: nothing was given."""


@dataclass(frozen=True)
class Placement:
    """What a pod has, and where packets from it must leave; `mtu` in bytes, 0: not said.

    `table` is the routing table of the ENI: MAIN for all that may leave by the primary.  Of the
    answer, what only people want to know is left out.
    """

    addresses: tuple[IPAddress, ...]
    gateway: IPAddress | None  # of the subnet, which is that of the first address
    subnet: IPNetwork | None
    table: int
    mtu: int


def add(attachment: Attachment, address: IPAddress | None = None) -> Placement:
    """Have addresses given to the attachment; again the same ones if it has some.

    Raises CniError: AwayError, RefusedError, or that the answer cannot be used.
    """
    asked = {"address": str(address)} if address else {}
    return _placement(_ask("ADD", attachment, asked))


def check(attachment: Attachment) -> Placement:
    """Return what the attachment has.  Raises CniError."""
    return _placement(_ask("CHECK", attachment, {}))


def delete(attachment: Attachment) -> None:
    """Give back what the attachment has; it may be nothing.  Raises CniError."""
    _ask("DEL", attachment, {})


def gc(network: str, valid: Iterable[tuple[str, str]]) -> None:
    """Give back what is not of one of the `valid` (container ID, ifname).  Raises CniError."""
    pairs = [{"containerID": one, "ifname": ifname} for one, ifname in sorted(valid)]
    _ask("GC", Attachment(network, "", ""), {"valid": pairs})


def status(network: str) -> None:
    """Raise CniError unless the agent can serve ADD."""
    _ask("STATUS", Attachment(network, "", ""), {})


def names(attachment: Attachment) -> dict[str, str]:
    """Return how requests name the attachment, or for one without container the network."""
    pairs = {"containerID": attachment.container_id, "ifname": attachment.ifname}
    return {"network": attachment.network} | {key: text for key, text in pairs.items() if text}


def _ask(verb: str, attachment: Attachment, more: dict[str, Any]) -> Section:
    request = {"verb": verb, **names(attachment), **more}
    line = _exchange(json.dumps(request).encode() + b"\n")
    answer = Section(decode(line, "what the node agent said"), "node agent")
    if answer.get("code") is not None:
        details = answer.string("details")
        raise RefusedError(answer.integer("code"), answer.string("msg"), details)
    return answer


def _exchange(line: bytes) -> bytes:
    """Send a line, return the one that is answered.  Raises AwayError when none comes."""
    heard = False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(SOCKET)
            heard = True
            connection.sendall(line)
            answer = bytearray()
            while not answer.endswith(b"\n") and len(answer) < ANSWER_MAX:
                data = connection.recv(1 << 16)
                if not data:
                    raise AwayError("cannot ask the node agent: it hung up", heard=heard)
                answer += data
    except OSError as error:
        raise AwayError(f"cannot ask the node agent: {error}", heard=heard) from error
    return bytes(answer)


def _placement(answer: Section) -> Placement:
    address = answer.address("address")
    addresses = ((address,) if address else ()) + answer.addresses("ipv6")
    if not addresses:
        raise invalid_config("cannot use what the node agent said: it gave no address")
    return Placement(
        addresses=addresses,
        gateway=answer.address("gateway"),
        subnet=answer.network("subnet") if answer.get("subnet") else None,
        table=answer.unsigned("table") or MAIN,
        mtu=answer.unsigned("mtu"),
    )
