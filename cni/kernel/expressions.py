"""Pieces of rules of nf_tables (man 8 nft, EXPRESSIONS)."""

import struct

from cni.config import IPNetwork
from cni.kernel import nft
from cni.kernel.nft import Expression, expression

# expression's words (linux/netfilter/nf_tables.h)
NFPROTO, L4PROTO, MARK = 15, 16, 3  # of meta
EQ, NEQ = 0, 1  # of cmp
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2  # of payload
DPORT_OFFSET = 2  # the same in TCP, UDP and SCTP
FIB_DADDR, RTN_LOCAL = 2, 2
FIB_TYPE = {"NFT_FIB_RESULT_UNSPEC", "NFT_FIB_RESULT_OIF"}  # pyroute2 takes bits: 3 is ADDRTYPE
DNAT = 1  # of nat
REGISTER = 8  # NFT_REG32_00, the first of sixteen registers of 4 bytes
FAMILY = {4: nft.IPV4, 6: nft.IPV6}
SADDR, DADDR = {4: 12, 6: 8}, {4: 16, 6: 24}  # offsets in the network header
SIZE = {4: 4, 6: 16}  # bytes of an address


def field(
    offset: int, size: int, base: int = NETWORK_HEADER, register: int = REGISTER
) -> Expression:
    """Load `size` bytes at `offset` of a header into a register."""
    return expression("payload", dreg=register, base=base, offset=offset, len=size)


def compare(operator: int, data: bytes) -> Expression:
    """Go on with the rule only if the register is as `operator` says of `data`."""
    return expression("cmp", sreg=REGISTER, op=operator, data=nft.value(data))


def bits(mask: bytes, xor: bytes) -> Expression:
    """Return: register = register & mask ^ xor."""
    masks = {"mask": nft.value(mask), "xor": nft.value(xor)}
    return expression("bitwise", sreg=REGISTER, dreg=REGISTER, len=len(mask), **masks)


def verdict(code: int) -> Expression:
    """End with a verdict: nft.RETURN, nft.DROP, ..."""
    return expression("immediate", dreg=0, data=nft.verdict(code))


def go(chain: str) -> Expression:
    """Go to `chain` and come back."""
    return expression("immediate", dreg=0, data=nft.jump(chain))


def is_version(version: int) -> tuple[Expression, ...]:
    """`meta nfproto ipv4`."""
    load = expression("meta", key=NFPROTO, dreg=REGISTER)
    return load, compare(EQ, bytes((FAMILY[version],)))


def is_local() -> tuple[Expression, ...]:
    """`fib daddr type local`."""
    load = expression("fib", dreg=REGISTER, result=FIB_TYPE, flags=FIB_DADDR)
    return load, compare(EQ, struct.pack("=I", RTN_LOCAL))


def within(
    offsets: dict[int, int], network: IPNetwork, operator: int = EQ
) -> tuple[Expression, ...]:
    """`ip saddr 10.244.0.0/24`, or `!=`; a network of every address matches all of its family."""
    if not network.prefixlen:
        return is_version(network.version)
    size = SIZE[network.version]
    load = field(offsets[network.version], size)
    mask = bits(network.netmask.packed, bytes(size))
    return (
        *is_version(network.version),
        load,
        mask,
        compare(operator, network.network_address.packed),
    )


def protocol_and_port(register: int) -> tuple[Expression, ...]:
    """`meta l4proto . th dport`, from `register` on."""
    load = field(DPORT_OFFSET, 2, TRANSPORT_HEADER, register + 1)
    return expression("meta", key=L4PROTO, dreg=register), load
