"""A netlink socket: batches of requests out, acknowledgements or dumps in (man 7 netlink).

The messages are pyroute2's; the socket is a plain one, since a pyroute2 socket starts an event
loop and costs more than all that an ADD does with it.
"""

import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from cni.errors import KernelError
from cni.kernel import netns as namespaces

ROUTE, NETFILTER = socket.NETLINK_ROUTE, 12
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
ERROR, DONE = 2, 3
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
ATTRIBUTE = struct.Struct("=HH")  # length, type
NESTED = 0x8000  # NLA_F_NESTED, in the type
NUMBER = struct.Struct("=HHI")
ERRNO = struct.Struct("=i")
SOL_NETLINK, ADD_MEMBERSHIP, CAP_ACK, EXT_ACK, GET_STRICT_CHK = 270, 1, 10, 11, 12
ACK_TLVS = 0x200  # flag of an error message: attributes follow
ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
TOGETHER = 100  # requests: all may be refused, and a socket has room for 200 answers or so
SEND = 1 << 16  # bytes that a socket takes at once as it comes; for more its buffer is made larger
SO_SNDBUFFORCE = 32
RECEIVE = 1 << 16  # bytes: more than any chunk of a dump; malloc(3) asks the kernel for larger ones


@dataclass(frozen=True)
class Request:
    """One message of a batch; `what` says in errors what it does ("add link eth0").

    `message` is what follows the header: encoded, or a pyroute2 nlmsg.
    """

    what: str
    kind: int
    flags: int
    message: Any

    @cached_property
    def payload(self) -> bytes:
        """What follows the header on the wire; a request that is kept is encoded once."""
        if isinstance(self.message, bytes):
            return self.message
        self.message.reset()
        self.message.encode()
        return bytes(self.message.data[HEADER.size :])

    def encode(self, sequence: int, flags: int = 0) -> bytes:
        """Return the bytes on the wire, with `flags` beside the request's own."""
        length, flags = HEADER.size + len(self.payload), REQUEST | self.flags | flags
        return HEADER.pack(length, self.kind, flags, sequence, 0) + self.payload


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute: length, type, value, padded to 4 bytes.

    What every ADD sends is put together from these: that is ten times as fast as a nlmsg.
    """
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(-size & 3)


def nested(kind: int, attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | NESTED, attributes)


def number(kind: int, value: int) -> bytes:
    """Return an attribute that is a number of 32 bits."""
    return NUMBER.pack(8, kind, value)


def text(kind: int, value: str) -> bytes:
    """Return an attribute that is a text with its NUL."""
    return attribute(kind, value.encode() + b"\0")


_lingering: list[socket.socket] = []


def close_lingering() -> None:
    """Close the sockets that were left open, in a process that does not end soon."""
    while _lingering:
        _lingering.pop().close()


class Netlink:
    """A socket of one netlink family in one network namespace (a path; empty: ours).

    One that lingers is left open when its block ends.
    """

    def __init__(self, family: int, netns: str = "", *, linger: bool = False) -> None:
        self._linger = linger
        with namespaces.entered(netns):
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
            )
        self._socket.bind((0, 0))
        for option in (CAP_ACK, EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        if family == ROUTE:
            self._socket.setsockopt(SOL_NETLINK, GET_STRICT_CHK, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._linger:
            _lingering.append(self._socket)
        else:
            self._socket.close()

    def do(self, *requests: Request) -> None:
        """Send `requests`; the kernel serves them in order.  Raises the first refusal."""
        for at in range(0, len(requests), TOGETHER):
            if refusals := self.do_each(requests[at : at + TOGETHER]):
                raise refusals[min(refusals)]

    def do_batch(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """Send `requests` as one transaction: the kernel does all of them or none."""
        batch = (begin, *requests, end)
        first, last = self._sequence + 1, self._sequence + len(requests) + 1
        self._send(batch, [*(0 for _ in requests), ACK, 0])
        refusals: dict[int, KernelError] = {}
        answered = False
        for kind, flags, sequence, payload in self._answers():
            if kind == ERROR and first <= sequence <= last:
                answered = answered or sequence == last
                # what is wrong with the whole is said of its first message
                if error := _refusal(batch[sequence - first], flags, payload):
                    refusals[sequence] = error
        if refusals:
            raise refusals[min(refusals)]
        if not answered:
            raise KernelError(errno.ENOBUFS, end.what, "no answer")

    def do_each(self, requests: Sequence[Request]) -> dict[int, KernelError]:
        """Send up to TOGETHER `requests`, in order; return the refusals, by position."""
        first, last = self._sequence + 1, self._sequence + len(requests)
        # a refusal is answered in any case, and the answers come in order
        self._send(requests, [*(0 for _ in requests[1:]), ACK])
        refusals: dict[int, KernelError] = {}
        answered = 0
        while answered < last:
            for kind, flags, sequence, payload in self._receive():
                if kind != ERROR or not first <= sequence <= last:
                    continue
                answered = sequence
                if error := _refusal(requests[sequence - first], flags, payload):
                    refusals[sequence - first] = error
        return refusals

    def ask(self, request: Request) -> bytes:
        """Return the payload of the one object that `request` asks for.

        Raises KernelError with ENODEV, ENOENT … when it is not there.
        """
        self._send([request], [0])
        for kind, flags, _, payload in self._receive():
            if kind == ERROR:
                error = _refusal(request, flags, payload)
                raise error or KernelError(0, request.what, "no answer")
            return payload
        raise KernelError(0, request.what, "no answer")

    def dump(self, request: Request) -> Iterator[bytes]:
        """Yield the payload of each object of a dump; `decode` makes a message of it."""
        self._send([request], [DUMP])
        while True:
            for kind, flags, _, payload in self._receive():
                if kind == DONE:
                    return
                if kind == ERROR:
                    error = _refusal(request, flags, payload)
                    raise error or KernelError(0, request.what, "the dump ended early")
                yield payload

    def join(self, group: int) -> None:
        """Listen to the news of a multicast group (RTNLGRP_*)."""
        self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def news(self) -> Iterator[tuple[int, bytes]]:
        """Yield (type, payload) of the next news; none of it when some were lost."""
        try:
            yield from ((kind, payload) for kind, _, _, payload in self._receive())
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

    def fileno(self) -> int:
        """Return the socket's number, for poll(2)."""
        return self._socket.fileno()

    def _send(self, requests: Sequence[Request], flags: Iterable[int]) -> None:
        data = bytearray()
        for request, more in zip(requests, flags, strict=True):
            self._sequence += 1
            data += request.encode(self._sequence, more)
        if len(data) > SEND:
            with suppress(PermissionError):  # then the kernel says that it is too much
                self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, len(data))
        self._socket.send(data)

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield what the kernel has said: it has done all when send(2) returns.

        Where there was no room for all the answers, the last ones are lost.
        """
        while True:
            try:
                yield from self._receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _receive(self, how: int = 0) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield (type, flags, sequence, payload) of the messages of one datagram."""
        data = self._socket.recv(RECEIVE, how)
        offset = 0
        while offset + HEADER.size <= len(data):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
            offset += (length + 3) & ~3


def wait_for(group: int, condition: Callable[[], bool], timeout_s: float, netns: str = "") -> bool:
    """Wait until `condition` holds, which news of a group of rtnetlink may tell of (RTNLGRP_*).

    False when `timeout_s` have passed.
    """
    with Netlink(ROUTE, netns) as news:
        news.join(group)
        waiting = select.poll()
        waiting.register(news.fileno(), select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                return False
            list(news.news())
        return True


def decode(answer: type[Any], payload: bytes) -> Any:
    """Return `payload`, what follows the netlink header, as a pyroute2 message."""
    message = answer(HEADER.pack(HEADER.size + len(payload), 0, 0, 0, 0) + payload)
    message.decode()
    return message


def _refusal(request: Request, flags: int, payload: bytes) -> KernelError | None:
    number = -ERRNO.unpack_from(payload)[0]
    if number == 0:
        return None
    text = os.strerror(number)
    if flags & ACK_TLVS:
        for kind, value in attributes(payload[ERRNO.size + HEADER.size :]):
            if kind == ERROR_TEXT:
                text += f" ({value.rstrip(bytes(1)).decode(errors='replace')})"
    return KernelError(number, request.what, text)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of the attributes in `data`, flags taken off the type."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def integer(value: bytes | None) -> int:
    """Return the number that an attribute holds; 0 when there is none."""
    return int.from_bytes(value or b"", sys.byteorder)
