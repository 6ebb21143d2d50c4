"""Our nf_tables table: fixed rules, and maps whose elements are the attachments.

    table inet pycni {
        map masquerade4 { type ipv4_addr : verdict; }
            elements = { 10.244.0.5 comment "kindnet/<id>/eth0" : jump leaving_10.244.0.0/24 }
        map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
            elements = { tcp . 8080 comment "kindnet/<id>/eth0" : 10.244.0.5 . 80 }
        map hairpin4 { type inet_proto . inet_service : verdict; }
            elements = { tcp . 8080 comment … : jump mark13_10.244.0.0/24 }
        map hostip_ports4, hostip_hairpin4: the same for a mapping with a hostIP
        map tables4 { type ipv4_addr : mark; }    # whose the rules of the routing policy are
            elements = { 10.0.1.23 comment "vpc/<id>/eth0" : 0x00000002 }
        … and all of these for IPv6
        chain postrouting { type nat hook postrouting priority srcnat; ip saddr vmap @masquerade4 }
        chain prerouting, output { fib daddr type local jump hostports }
        chain hostports { … vmap @hairpin4; dnat ip to … map @ports4 }
    }

Adding a pod adds elements: the packet path is a hash look-up with 1 pod and with 1,000.
This file is the rules; `cni.kernel.firewall` puts the elements in.
"""

import struct
from ipaddress import ip_network

from cni.config import IPNetwork
from cni.kernel import nft
from cni.kernel.expressions import (
    DADDR,
    DNAT,
    FAMILY,
    MARK,
    NEQ,
    REGISTER,
    SADDR,
    SIZE,
    bits,
    compare,
    field,
    go,
    is_local,
    is_version,
    protocol_and_port,
    verdict,
    within,
)
from cni.kernel.netlink import Request
from cni.kernel.nft import Table, expression
from cni.kernel.nftmap import Map

TABLE = Table(nft.INET, "pycni")
MARKER = "rules_2"  # an empty chain: the fixed rules of this version are in place
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
MULTICAST = {4: ip_network("224.0.0.0/4"), 6: ip_network("ff00::/8")}
LOOPBACK = ip_network("127.0.0.1/32")
PREROUTING, OUTPUT, POSTROUTING = 0, 3, 4  # NF_INET_*
DSTNAT, SRCNAT = -100, 100  # NF_IP_PRI_NAT_*


def _maps(version: int) -> dict[str, Map]:
    address, port = f"ipv{version}_addr", "inet_proto . inet_service"
    target = f"{address} . inet_service"
    kinds = {
        "masquerade": (address, "verdict"),
        "ports": (port, target),
        "hostip_ports": (f"{address} . {port}", target),
        "hairpin": (port, "verdict"),
        "hostip_hairpin": (f"{address} . {port}", "verdict"),
        "tables": (address, "mark"),
    }
    return {kind: Map(TABLE, f"{kind}{version}", *types) for kind, types in kinds.items()}


MAPS = {version: _maps(version) for version in (4, 6)}


def fixed() -> list[Request]:
    """Return what makes the table, its maps and its rules, whatever is there of them."""
    chains = ("postrouting", "prerouting", "output", "hostports")
    hooks = ((POSTROUTING, SRCNAT), (PREROUTING, DSTNAT), (OUTPUT, DSTNAT))
    base = [
        TABLE.add_chain(name, kind="nat", number=hook, priority=priority)
        for name, (hook, priority) in zip(chains, hooks, strict=False)
    ]
    to_hostports = (*is_local(), go("hostports"))
    rules = [
        *(_masquerade_rule(version) for version in (4, 6)),
        *(TABLE.add_rule(chain, *to_hostports) for chain in ("prerouting", "output")),
        *(rule for version in (4, 6) for rule in _hostport_rules(version)),
    ]
    return [
        TABLE.add(),
        *(one.add() for maps in MAPS.values() for one in maps.values()),
        *base,
        TABLE.add_chain("hostports"),
        TABLE.add_chain(MARKER),
        *(TABLE.flush_chain(chain) for chain in chains),
        *rules,
    ]


def _masquerade_rule(version: int) -> Request:
    """`ip saddr vmap @masquerade4`."""
    load = field(SADDR[version], SIZE[version])
    look_up = expression("lookup", set=f"masquerade{version}", sreg=REGISTER, dreg=0)
    return TABLE.add_rule("postrouting", *is_version(version), load, look_up)


def _hostport_rules(version: int) -> list[Request]:
    """Mark and redirect what has a hostIP of its own, then what has none."""
    daddr = field(DADDR[version], SIZE[version])
    words = SIZE[version] // 4
    rules = []
    for prefix, loads, at in (("hostip_", [daddr], REGISTER + words), ("", [], REGISTER)):
        key = [*is_version(version), *loads, *protocol_and_port(at)]
        mark = expression("lookup", set=f"{prefix}hairpin{version}", sreg=REGISTER, dreg=0)
        target = expression("lookup", set=f"{prefix}ports{version}", sreg=REGISTER, dreg=REGISTER)
        dnat = expression(
            "nat",
            type=DNAT,
            family=FAMILY[version],
            reg_addr_min=REGISTER,
            reg_proto_min=REGISTER + words,
        )
        rules += [TABLE.add_rule("hostports", *key, mark)]
        rules += [TABLE.add_rule("hostports", *key, target, dnat)]
    return rules


def leaving_name(subnet: IPNetwork) -> str:
    """Return the chain for packets that pods of `subnet` send."""
    return f"leaving_{_plain(subnet)}"


def leaving(subnet: IPNetwork) -> list[Request]:
    """Masquerade, but within `subnet` and for multicast."""
    chain = leaving_name(subnet)
    return [
        TABLE.add_chain(chain),
        TABLE.flush_chain(chain),
        TABLE.add_rule(chain, *within(DADDR, subnet), verdict(nft.RETURN)),
        TABLE.add_rule(chain, *within(DADDR, MULTICAST[subnet.version]), verdict(nft.RETURN)),
        TABLE.add_rule(chain, expression("masq")),
    ]


def marking_name(subnet: IPNetwork, bit: int) -> str:
    """Return the chain that marks host port traffic of `subnet` for masquerading."""
    return f"mark{bit}_{_plain(subnet)}"


def marking(subnet: IPNetwork, bit: int) -> list[Request]:
    """Mark what comes from `subnet`, and from localhost; masquerade what has the mark.

    A pod that reaches itself or its neighbour through the host must see the answer come back
    that way, and 127.0.0.1 must not leave the host.
    """
    chain, masquerading = marking_name(subnet, bit), f"masquerade_mark{bit}"
    number = struct.pack("=I", 1 << bit)
    others = struct.pack("=I", 0xFFFFFFFF ^ 1 << bit)
    load = expression("meta", key=MARK, dreg=REGISTER)
    set_bit = (load, bits(others, number), expression("meta", key=MARK, sreg=REGISTER))
    sources = [subnet, LOOPBACK] if subnet.version == LOOPBACK.version else [subnet]
    return [
        TABLE.add_chain(chain),
        TABLE.add_chain(masquerading, kind="nat", number=POSTROUTING, priority=SRCNAT),
        TABLE.flush_chain(chain),
        TABLE.flush_chain(masquerading),
        *(TABLE.add_rule(chain, *within(SADDR, source), *set_bit) for source in sources),
        TABLE.add_rule(
            masquerading, load, bits(number, bytes(4)), compare(NEQ, bytes(4)), expression("masq")
        ),
    ]


def _plain(network: IPNetwork) -> str:
    """Return a network as nft(8) takes it in a name."""
    return str(network).replace(":", "_")
