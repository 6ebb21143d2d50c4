"""Our nf_tables table for bridges: a port in its maps sends from its own MAC, or not at all.

    table bridge pycni {
        map macs { type ifname . ether_addr : verdict; }
            elements = { vethXXXXXXXXXXX . 0a:… comment "net/<id>/eth0" : accept }
        map ports { type ifname : verdict; }
            elements = { vethXXXXXXXXXXX comment … : drop }
        chain prerouting {
            type filter hook prerouting priority dstnat;
            iifname . ether saddr vmap @macs
            iifname vmap @ports
        }
    }

As in `cni.kernel.ruleset`, a pod is elements: a packet costs the same with any number of them.
"""

from cni.kernel import nft
from cni.kernel.netlink import Request
from cni.kernel.nft import Table, expression
from cni.kernel.nftmap import Map

TABLE = Table(nft.BRIDGE, "pycni")
MARKER = "rules_1"  # an empty chain: the rules of this version are in place
MACS = Map(TABLE, "macs", "ifname . ether_addr", "verdict")
PORTS = Map(TABLE, "ports", "ifname", "verdict")
PREROUTING, DSTNAT = 0, -300  # NF_BR_PRE_ROUTING, NF_BR_PRI_NAT_DST_BRIDGED
IIFNAME = 6  # of meta
LINK_HEADER, SOURCE, MAC_SIZE = 0, 6, 6  # of payload: the bytes of the sender's MAC
NAME_SIZE = 16  # IFNAMSIZ
REGISTER = 8  # NFT_REG32_00, the first of sixteen registers of 4 bytes


def fixed() -> list[Request]:
    """Return what makes the table, its maps and its rules, whatever is there of them."""
    name = expression("meta", key=IIFNAME, dreg=REGISTER)
    register = REGISTER + NAME_SIZE // 4
    sender = expression("payload", dreg=register, base=LINK_HEADER, offset=SOURCE, len=MAC_SIZE)
    look_up = [expression("lookup", set=one.name, sreg=REGISTER, dreg=0) for one in (MACS, PORTS)]
    return [
        TABLE.add(),
        MACS.add(),
        PORTS.add(),
        TABLE.add_chain("prerouting", kind="filter", number=PREROUTING, priority=DSTNAT),
        TABLE.add_chain(MARKER),
        TABLE.flush_chain("prerouting"),
        TABLE.add_rule("prerouting", name, sender, look_up[0]),
        TABLE.add_rule("prerouting", name, look_up[1]),
    ]


def port_key(ifname: str) -> bytes:
    """Return a key of `ports`."""
    return ifname.encode().ljust(NAME_SIZE, b"\0")


def mac_key(ifname: str, mac: str) -> bytes:
    """Return a key of `macs`: fields of a concatenation are padded to 4 bytes."""
    return port_key(ifname) + bytes.fromhex(mac.replace(":", "")) + bytes(2)
