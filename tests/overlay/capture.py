"""What passes on a wire: frames caught with a packet socket, taken apart."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from cni.kernel.netns import entered
from tests.lab import netns_path, wait_until

ETH_P_ALL = 3
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
TCP, UDP = 6, 17


@dataclass(frozen=True)
class Packet:
    """An IP packet; `fragment` when it is a piece of one."""

    source: str
    target: str
    protocol: int
    length: int  # bytes, with its header
    ttl: int
    fragment: bool
    data: bytes

    @property
    def ports(self) -> tuple[int, int]:
        """Return source and destination port, of UDP."""
        source, target = struct.unpack_from(">HH", self.data)
        return source, target


@dataclass(frozen=True)
class Wrapped:
    """A VXLAN packet: the outer packet, VNI, MACs and packet within."""

    outer: Packet
    flags: int
    vni: int
    macs: tuple[str, str]
    inner: Packet


class Capture:
    """The packets that have passed an interface."""

    def __init__(self, ear: socket.socket) -> None:
        self._ear = ear
        self._packets: list[Packet] = []

    def packets(self) -> list[Packet]:
        """Return what TCP and UDP have sent until now."""
        while True:
            try:
                frame = self._ear.recv(1 << 17)
            except BlockingIOError:
                return self._packets
            packet = read(frame)
            if packet and packet.protocol in (TCP, UDP):
                self._packets.append(packet)

    def wait(self, count: int) -> list[Packet]:
        """Return what has passed, once it is `count` packets."""
        assert wait_until(lambda: len(self.packets()) >= count), self.packets()
        return self.packets()


@contextmanager
def capture(netns: str, ifname: str) -> Iterator[Capture]:
    """Catch what passes `ifname` in a namespace, in both directions."""
    with entered(netns_path(netns)):
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with ear:
        ear.settimeout(0)
        with entered(netns_path(netns)):
            ear.bind((ifname, ETH_P_ALL))
        yield Capture(ear)


def read(frame: bytes) -> Packet | None:
    """Return the IP packet in an Ethernet frame; None when it holds another protocol."""
    (kind,) = struct.unpack_from(">H", frame, 12)
    data = frame[14:]
    if kind == ETH_P_IP:
        start = (data[0] & 15) * 4
        length, offset = struct.unpack_from(">H2xH", data, 2)
        source, target = (str(ip_address(data[at : at + 4])) for at in (12, 16))
        fragment = bool(offset & 0x3FFF)
        return Packet(source, target, data[9], length, data[8], fragment, data[start:length])
    if kind == ETH_P_IPV6:
        length = struct.unpack_from(">H", data, 4)[0] + 40
        source, target = (str(IPv6Address(data[at : at + 16])) for at in (8, 24))
        return Packet(source, target, data[6], length, data[7], data[6] == 44, data[40:length])
    return None


def unwrap(packet: Packet) -> Wrapped:
    """Take a VXLAN packet apart (RFC 7348, section 5)."""
    assert packet.protocol == UDP
    flags, vni, frame = packet.data[8], packet.data[12:15], packet.data[16:]
    inner = read(frame)
    assert inner is not None
    macs = frame[6:12].hex(":"), frame[:6].hex(":")
    return Wrapped(packet, flags, int.from_bytes(vni, "big"), macs, inner)
