"""The node's own nf_tables table: masquerading that knows the cluster, and what guards VXLAN.

    table inet pycni-node {
        set cluster4 { type ipv4_addr; flags interval; }   # pod CIDRs, and what is excluded
        set nodes4 { type ipv4_addr; }                     # every node's address, our own too
        … and both for IPv6
        chain postrouting { type nat hook postrouting priority srcnat;
            meta mark and 0x4000 == 0x4000 return          # kube-proxy masquerades it
            ip saddr 10.244.1.0/24 goto leaving4           # our own pod CIDR
            oifname vxlan fib saddr type local masquerade  # and the sender is no pod, nor .0
        }
        chain leaving4 {
            ip daddr 224.0.0.0/4 return
            ip daddr @cluster4 return
            ip daddr @nodes4 return
            masquerade fully-random
        }
        chain prerouting { type filter hook prerouting priority raw;
            udp dport 8472 ip saddr @nodes4 notrack
        }
        chain output { type filter hook output priority raw;
            udp dport 8472 ip daddr @nodes4 notrack
        }
        chain input { type filter hook input priority filter;
            udp dport 8472 ip saddr != @nodes4 drop
        }
    }

The host's own packets enter the overlay with the address of its device: the answer to another
one would come back outside it.  The table of the attachments is `cni.kernel.ruleset`'s; a packet
is masqueraded once, whichever comes first.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cni.config import IPAddress, IPNetwork
from cni.kernel import declared, nft
from cni.kernel.declared import Declared, Hook, Text
from cni.kernel.expressions import (
    DADDR,
    DPORT_OFFSET,
    EQ,
    FIB_TYPE,
    L4PROTO,
    MARK,
    NEQ,
    REGISTER,
    RTN_LOCAL,
    SADDR,
    SIZE,
    TRANSPORT_HEADER,
    bits,
    compare,
    field,
    go,
    is_version,
    verdict,
    within,
)
from cni.kernel.nft import Expression, Table, expression
from cni.kernel.nftset import Set, intervals, single
from cni.kernel.ruleset import MULTICAST, OUTPUT, POSTROUTING, PREROUTING, SRCNAT

TABLE = Table(nft.INET, "pycni-node")
CLUSTER = {version: Set(TABLE, f"cluster{version}", version, interval=True) for version in (4, 6)}
NODES = {version: Set(TABLE, f"nodes{version}", version) for version in (4, 6)}
RAW, FILTER = -300, 0  # NF_IP_PRI_*
INPUT = 1  # NF_INET_LOCAL_IN
UDP = 17
FULLY_RANDOM = {"NF_NAT_RANGE_PROTO_RANDOM_FULLY"}
PROXY_MARK = struct.pack("=I", 0x4000)  # kube-proxy's masqueradeBit, 14 unless it is told another
OIFNAME, NAME_SIZE = 7, 16  # of meta; IFNAMSIZ
FIB_SADDR = 1
INVERTED = {"NFT_LOOKUP_F_INV"}

CHAINS = {
    "postrouting": Hook("nat", POSTROUTING, SRCNAT),
    "leaving4": None,
    "leaving6": None,
    "prerouting": Hook("filter", PREROUTING, RAW),
    "output": Hook("filter", OUTPUT, RAW),
    "input": Hook("filter", INPUT, FILTER),
}


@dataclass(frozen=True)
class Wanted:
    """What the table says.  A `port` of 0 is no overlay; `devices` are its interfaces.

    Packets of `pods`, the node's own networks, keep their address to `cluster` and `nodes`.
    """

    pods: tuple[IPNetwork, ...]
    cluster: tuple[IPNetwork, ...]
    nodes: tuple[IPAddress, ...]
    port: int = 0
    devices: tuple[str, ...] = ()
    fully_random: bool = True


def declare(wanted: Wanted) -> Declared:
    """Return the table that says so."""
    texts = [
        *_postrouting(wanted),
        *_leaving(wanted),
        *(_guards(wanted.port) if wanted.port else ()),
    ]
    networks = wanted.pods + wanted.cluster
    elements = {one: intervals(networks, version) for version, one in CLUSTER.items()}
    elements |= {one: single(wanted.nodes, version) for version, one in NODES.items()}
    return Declared(TABLE, CHAINS, declared.rules(TABLE, texts), elements)


def _postrouting(wanted: Wanted) -> Iterator[Text]:
    load = expression("meta", key=MARK, dreg=REGISTER)
    marked = (load, bits(PROXY_MARK, bytes(4)), compare(EQ, PROXY_MARK))
    yield "postrouting", "kube-proxy masquerades it", (*marked, verdict(nft.RETURN))
    for network in wanted.pods:
        chain = f"leaving{network.version}"
        yield "postrouting", "from a pod of this node", (*within(SADDR, network), go(chain))
    for device in wanted.devices:
        for network in wanted.pods:
            into = (*_leaves_by(device), *_is_from_host(), *within(SADDR, network, NEQ))
            yield "postrouting", "into the overlay, with its address", (*into, _masquerade(wanted))


def _leaving(wanted: Wanted) -> Iterator[Text]:
    for version in (4, 6):
        chain = f"leaving{version}"
        to = (*is_version(version), field(DADDR[version], SIZE[version]))
        leave = verdict(nft.RETURN)
        yield chain, "multicast", (*within(DADDR, MULTICAST[version]), leave)
        yield chain, "to a pod, or excluded", (*to, _is_in(CLUSTER[version]), leave)
        yield chain, "to a node", (*to, _is_in(NODES[version]), leave)
        yield chain, "out of the cluster", (_masquerade(wanted),)


def _guards(port: int) -> Iterator[Text]:
    for version, nodes in NODES.items():
        ours = (*_to_port(port), *is_version(version))
        source, target = (field(at[version], SIZE[version]) for at in (SADDR, DADDR))
        yield "prerouting", "the overlay's own", (*ours, source, _is_in(nodes), _notrack())
        yield "output", "the overlay's own", (*ours, target, _is_in(nodes), _notrack())
        stranger = (*ours, source, _is_in(nodes, flags=INVERTED), verdict(nft.DROP))
        yield "input", "the overlay is for nodes", stranger


def _masquerade(wanted: Wanted) -> Expression:
    return expression("masq", **({"flags": FULLY_RANDOM} if wanted.fully_random else {}))


def _notrack() -> Expression:
    return {"attrs": [("NFTA_EXPR_NAME", "notrack")]}


def _is_in(one: Set, **flags: set[str]) -> Expression:
    return expression("lookup", set=one.name, sreg=REGISTER, **flags)


def _is_from_host() -> tuple[Expression, ...]:
    """`fib saddr type local`."""
    load = expression("fib", dreg=REGISTER, result=FIB_TYPE, flags=FIB_SADDR)
    return load, compare(EQ, struct.pack("=I", RTN_LOCAL))


def _leaves_by(device: str) -> tuple[Expression, ...]:
    load = expression("meta", key=OIFNAME, dreg=REGISTER)
    return load, compare(EQ, device.encode().ljust(NAME_SIZE, b"\0"))


def _to_port(port: int) -> tuple[Expression, ...]:
    """`udp dport 8472`."""
    protocol = expression("meta", key=L4PROTO, dreg=REGISTER)
    load = field(DPORT_OFFSET, 2, TRANSPORT_HEADER)
    return protocol, compare(EQ, bytes((UDP,))), load, compare(EQ, struct.pack(">H", port))
