"""What the nodes of a cluster have agreed on."""

from dataclasses import dataclass

from cni.config import Section
from cni.errors import CniError
from cni.names import IFNAME_MAX, check_ifname

VXLAN, DIRECT, AUTO = "vxlan", "direct", "auto"
MODES = (VXLAN, DIRECT, AUTO)
PORT = 8472  # Linux's own; IANA's is 4789, which Open vSwitch and NSX use
PROTOCOL = 111  # of our routes (`ip route show proto 111`): none of rt_protos in iproute2
DEVICE = "pycni-vxlan"


@dataclass(frozen=True)
class Settings:
    """How pods of other nodes are reached; every field must be the same on all nodes.

    vxlan wraps every packet, direct routes through the other node's address, and auto does the
    latter where that address is on the link.  The device over IPv6 has a 6 behind its name.
    """

    mode: str = VXLAN
    vni: int = 1
    port: int = PORT  # UDP
    device: str = DEVICE
    mtu: int = 0  # bytes, within the tunnel; 0: what the underlay carries

    def name(self, version: int) -> str:
        """Return the name of the device that sends over that IP version."""
        return self.device if version == 4 else f"{self.device}6"


def read_settings(section: Section) -> Settings:
    """Return the settings in a configuration: keys mode, vni, port, device, mtu."""
    mode = section.string("mode", VXLAN)
    if mode not in MODES:
        raise section.refuse("mode", "vxlan, direct or auto")
    vni, port = section.integer("vni", 1), section.integer("port", PORT)
    if not 1 <= vni < 1 << 24:
        raise section.refuse("vni", "1 to 16777215")
    if not 1 <= port < 1 << 16:
        raise section.refuse("port", "a UDP port, 1 to 65535")
    mtu = section.integer("mtu")
    if mtu and not 1280 <= mtu <= 65535:
        raise section.refuse("mtu", "1280 to 65535 bytes, or 0 to follow the underlay")
    return Settings(mode, vni, port, _device(section), mtu)


def _device(section: Section) -> str:
    name = section.string("device", DEVICE)
    wanted = f"the name of an interface, at most {IFNAME_MAX - 1} bytes"
    try:
        check_ifname(f"{name}6")
    except CniError as error:
        raise section.refuse("device", wanted) from error
    return name
