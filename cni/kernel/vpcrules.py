"""The nf_tables table of a node whose pods have addresses of a VPC: SNAT, and marks that route.

    table inet pycni-vpc {
        set vpc4 { type ipv4_addr; flags interval; }       # the VPC's CIDRs: pods are in them
        set inside4 { type ipv4_addr; flags interval; }    # they, and what is excluded from SNAT
        chain entering { type filter hook prerouting priority mangle;
            iifname eth0 fib daddr . iif type local ct state new ct mark set ct mark or 0x80
        }
        chain leaving { type filter hook prerouting priority -90;
            iifname veth* ct state new ip daddr != inside4 ct mark set ct mark or 0x80
            iifname veth* ct mark and 0x80 == 0x80 meta mark set meta mark or 0x80
        }
        chain postrouting { type nat hook postrouting priority srcnat;
            fib saddr type local return; ip daddr 224.0.0.0/4 return; ip daddr @inside4 return
            oifname eth0 ip saddr @vpc4 snat to 10.0.1.10 fully-random
        }
    }

0x80 says: this connection uses the primary interface, whichever has the pod's address.  A rule of
the routing policy sends its packets there.  It is set when the connection came in by the primary
for a port of the node, which leads to some pod; or when it leaves the VPC and will have the
primary's address.  That is told after dstnat (priority -100), where kube-proxy has turned the
address of a service into that of a pod, and of new connections only: what a pod answers to a
client outside the VPC that knows its own address must leave by its own interface.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cni.config import IPAddress, IPNetwork
from cni.kernel import declared, nft
from cni.kernel.declared import Declared, Hook, Text
from cni.kernel.expressions import (
    DADDR,
    EQ,
    FAMILY,
    FIB_DADDR,
    FIB_TYPE,
    MARK,
    NEQ,
    REGISTER,
    RTN_LOCAL,
    SADDR,
    SIZE,
    bits,
    compare,
    field,
    is_version,
    verdict,
    within,
)
from cni.kernel.nft import Expression, Table, expression
from cni.kernel.nftset import Set, intervals
from cni.kernel.ruleset import MULTICAST, POSTROUTING, PREROUTING, SRCNAT

TABLE = Table(nft.INET, "pycni-vpc")
VPC = Set(TABLE, "vpc4", 4, interval=True)
INSIDE = Set(TABLE, "inside4", 4, interval=True)
MANGLE, AFTER_DSTNAT = -150, -90  # NF_IP_PRI_*
CHAINS: dict[str, Hook | None] = {
    "entering": Hook("filter", PREROUTING, MANGLE),
    "leaving": Hook("filter", PREROUTING, AFTER_DSTNAT),
    "postrouting": Hook("nat", POSTROUTING, SRCNAT),
}
RANDOM = {  # AWS_VPC_K8S_CNI_RANDOMIZESNAT: how the source port is chosen
    "prng": {"NF_NAT_RANGE_PROTO_RANDOM_FULLY"},
    "hashrandom": {"NF_NAT_RANGE_PROTO_RANDOM"},
    "none": set[str](),
}
IIFNAME, OIFNAME, NAME_SIZE = 6, 7, 16  # of meta; IFNAMSIZ
FIB_SADDR, FIB_IIF = 1, 8
CT_STATE, CT_MARK, NEW = 0, 3, 8  # of ct; NF_CT_STATE_BIT(IP_CT_NEW)
SNAT = 0  # of nat
INVERTED = {"NFT_LOOKUP_F_INV"}
FROM_POD = b"veth"  # how a pod's end on the host begins (cni.attachment)


@dataclass(frozen=True)
class Wanted:
    """What the table says; `primary` is the interface that has `address`.

    `random` is a key of RANDOM; without `snat`, pods leave the VPC as themselves.
    """

    primary: str
    address: IPAddress
    vpc: tuple[IPNetwork, ...]
    excluded: tuple[IPNetwork, ...]
    snat: bool
    random: str
    node_ports: bool
    mark: int


def declare(wanted: Wanted) -> Declared:
    """Return the table that says so."""
    texts: list[Text] = []
    if wanted.node_ports:
        texts += _node_ports(wanted)
    if wanted.snat:
        texts += _outward(wanted)
    if wanted.node_ports or wanted.snat:
        texts += _restored(wanted)
    elements = {
        VPC: intervals(wanted.vpc, 4),
        INSIDE: intervals(wanted.vpc + wanted.excluded, 4),
    }
    return Declared(TABLE, CHAINS, declared.rules(TABLE, texts), elements)


def _node_ports(wanted: Wanted) -> Iterator[Text]:
    load = expression("fib", dreg=REGISTER, result=FIB_TYPE, flags=FIB_DADDR | FIB_IIF)
    to_us = (load, compare(EQ, struct.pack("=I", RTN_LOCAL)))
    by_primary = _interface(IIFNAME, wanted.primary)
    yield "entering", "for a port of the node", (*by_primary, *to_us, *_new(), *_set_ct(wanted))


def _outward(wanted: Wanted) -> Iterator[Text]:
    pod = _interface(IIFNAME, FROM_POD)
    inside, leave = (*_address(DADDR), _is_in(INSIDE)), verdict(nft.RETURN)
    outside = (*_address(DADDR), _is_in(INSIDE, flags=INVERTED))
    yield "leaving", "out of the VPC", (*pod, *_new(), *outside, *_set_ct(wanted))

    load = expression("fib", dreg=REGISTER, result=FIB_TYPE, flags=FIB_SADDR)
    own = (load, compare(EQ, struct.pack("=I", RTN_LOCAL)))
    yield "postrouting", "the node's own", (*own, leave)
    yield "postrouting", "multicast", (*within(DADDR, MULTICAST[4]), leave)
    yield "postrouting", "to the VPC, or excluded", (*inside, leave)
    pods = (*_interface(OIFNAME, wanted.primary), *_address(SADDR), _is_in(VPC))
    yield "postrouting", "as the node", (*pods, *_snat(wanted))


def _restored(wanted: Wanted) -> Iterator[Text]:
    mark, others = _mark(wanted)
    load = expression("ct", key=CT_MARK, dreg=REGISTER)
    marked = (load, bits(mark, bytes(4)), compare(EQ, mark))
    read = expression("meta", key=MARK, dreg=REGISTER)
    write = expression("meta", key=MARK, sreg=REGISTER)
    set_mark = (read, bits(others, mark), write)
    pod = _interface(IIFNAME, FROM_POD)
    yield "leaving", "by the primary", (*pod, *marked, *set_mark)


def _mark(wanted: Wanted) -> tuple[bytes, bytes]:
    """Return the mark's bits, and all others."""
    return struct.pack("=I", wanted.mark), struct.pack("=I", 0xFFFFFFFF ^ wanted.mark)


def _set_ct(wanted: Wanted) -> tuple[Expression, ...]:
    mark, others = _mark(wanted)
    load = expression("ct", key=CT_MARK, dreg=REGISTER)
    return load, bits(others, mark), expression("ct", key=CT_MARK, sreg=REGISTER)


def _new() -> tuple[Expression, ...]:
    new = struct.pack("=I", NEW)
    load = expression("ct", key=CT_STATE, dreg=REGISTER)
    return load, bits(new, bytes(4)), compare(NEQ, bytes(4))


def _interface(key: int, name: str | bytes) -> tuple[Expression, ...]:
    """`iifname eth0`; bytes: `iifname veth*`."""
    data = name if isinstance(name, bytes) else name.encode().ljust(NAME_SIZE, b"\0")
    return expression("meta", key=key, dreg=REGISTER), compare(EQ, data)


def _address(offsets: dict[int, int]) -> tuple[Expression, ...]:
    return (*is_version(4), field(offsets[4], SIZE[4]))


def _is_in(one: Set, **flags: set[str]) -> Expression:
    return expression("lookup", set=one.name, sreg=REGISTER, **flags)


def _snat(wanted: Wanted) -> tuple[Expression, ...]:
    load = expression("immediate", dreg=REGISTER, data=nft.value(wanted.address.packed))
    flags = RANDOM[wanted.random]
    more = {"flags": flags} if flags else {}
    return load, expression("nat", type=SNAT, family=FAMILY[4], reg_addr_min=REGISTER, **more)
