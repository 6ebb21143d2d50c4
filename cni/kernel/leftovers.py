"""What the reference plugins leave in the firewall for one attachment: found, and removed.

They keep masquerading and port forwarding in iptables' nat table (chains named after a digest
of network and container) or, from v1.6 on, in nf_tables tables of their own (rules with the
container in their comment).  iptables-nft keeps its rules in nf_tables too, so only where the
kernel has a legacy nat table is a firewall binary executed.
"""

import logging
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha512

from cni.attachment import Attachment
from cni.config import IPAddress
from cni.kernel import nft
from cni.kernel.netlink import Netlink, Request
from cni.kernel.nft import IPV4, IPV6, Table

log = logging.getLogger(__name__)
IPTABLES = {4: Table(IPV4, "nat"), 6: Table(IPV6, "nat")}
LEGACY = {4: ("iptables", "ip_tables_names"), 6: ("ip6tables", "ip6_tables_names")}
MASQUERADE = Table(nft.INET, "cni_plugins_masquerade")
BRIDGE = Table(nft.BRIDGE, "nat")
HOSTPORTS = (Table(IPV4, "cni_hostport"), Table(IPV6, "cni_hostport"))
KINDS = ("DNAT", "SNAT")  # SNAT: of releases before 0.7
TO_PORTS = ("hostports", "hostip_hostports")


@dataclass(frozen=True)
class _Chain:
    """A chain of iptables that belongs to the attachment, and the one that jumps to it."""

    entry: str
    name: str


@dataclass(frozen=True)
class _Rules:
    """Rules of nf_tables in `chains` that belong to the attachment: those that hold `text`."""

    table: Table
    chains: tuple[str, ...]
    text: bytes


def _digest(*parts: str, length: int) -> str:
    return sha512("".join(parts).encode()).hexdigest()[:length]


def _masquerade(attachment: Attachment) -> tuple[list[_Chain], list[_Rules]]:
    network, container_id = attachment.network, attachment.container_id
    chain = f"CNI-{_digest(network, container_id, length=24)}"
    owner = _digest(f"{attachment.ifname}:{container_id}", length=16)
    text = f"{_digest(network, length=16)}-{owner}"
    return [_Chain("POSTROUTING", chain)], [_Rules(MASQUERADE, ("masq_checks",), text.encode())]


def _ports(
    attachment: Attachment, nft_chains: tuple[str, ...]
) -> tuple[list[_Chain], list[_Rules]]:
    digest = _digest(attachment.network, attachment.container_id, length=21)
    chains = [_Chain(f"CNI-HOSTPORT-{kind}", f"CNI-{kind[0]}N-{digest}") for kind in KINDS]
    # the comment is the container ID alone: type 0, length, text, NUL; no comment is over 128 bytes
    container_id = attachment.container_id.encode()
    text = bytes((0, min(len(container_id) + 1, 255))) + container_id + b"\0"
    return chains, [_Rules(table, nft_chains, text) for table in HOSTPORTS]


def delete_masquerade(attachment: Attachment) -> None:
    """Remove the masquerading rules that the reference plugins left for `attachment`."""
    _delete(*_masquerade(attachment))


def delete_ports(attachment: Attachment) -> None:
    """Remove the port forwarding rules that the reference plugins left for `attachment`."""
    _delete(*_ports(attachment, (*TO_PORTS, "masquerading")))


def delete_mac_check(attachment: Attachment) -> None:
    """Remove the rules on MACs that the reference's bridge left for `attachment`."""
    with nft.socket() as netlink:
        if BRIDGE in nft.tables(netlink):
            changes = list(_chain_deletes(netlink, [BRIDGE], _mac_check(attachment)))
            if changes:
                nft.commit(netlink, *changes)


def _mac_check(attachment: Attachment) -> list[_Chain]:
    # the first jumps to the second, so it goes first
    name = f"cni-br-iface-{attachment.container_id}-{attachment.ifname}"
    return [_Chain("PREROUTING", name), _Chain("PREROUTING", f"{name}-mac")]


def has_mac_check(attachment: Attachment) -> bool:
    """Tell whether the reference's bridge checks the MAC of `attachment`."""
    with nft.socket() as netlink:
        return _in_use(netlink, BRIDGE, _mac_check(attachment)[0])


def has_masquerade(attachment: Attachment, addresses: Collection[IPAddress]) -> bool:
    """Tell whether the reference plugins masquerade for all `addresses` of `attachment`."""
    return _serve(*_masquerade(attachment), addresses)


def has_ports(attachment: Attachment, addresses: Collection[IPAddress]) -> bool:
    """Tell whether the reference plugins forward ports to all `addresses` of `attachment`."""
    return _serve(*_ports(attachment, TO_PORTS), addresses)


def _delete(chains: list[_Chain], rules: list[_Rules]) -> None:
    with nft.socket() as netlink:
        there = nft.tables(netlink)
        changes = [
            *_chain_deletes(netlink, [one for one in IPTABLES.values() if one in there], chains),
            *_rule_deletes(netlink, [one for one in rules if one.table in there]),
        ]
        if changes:
            nft.commit(netlink, *changes)
    for program in filter(None, map(_legacy_program, LEGACY)):
        for chain in chains:
            _delete_legacy(program, chain)


def _serve(chains: list[_Chain], rules: list[_Rules], addresses: Collection[IPAddress]) -> bool:
    """Tell whether each address has a rule of its own, or a chain that something jumps to."""
    with nft.socket() as netlink:
        return all(
            any(address.packed in rule for *_, rule in _found(netlink, rules))
            or any(_in_use(netlink, IPTABLES[address.version], chain) for chain in chains)
            or any(_in_legacy_use(address.version, chain) for chain in chains)
            for address in addresses
        )


def _in_use(netlink: Netlink, table: Table, chain: _Chain) -> bool:
    """Tell whether the chain has rules, and a jump to it."""
    name = chain.name.encode() + b"\0"
    jumps = any(name in rule for _, rule in table.rules(netlink, chain.entry))
    return jumps and any(table.rules(netlink, chain.name))


def _chain_deletes(
    netlink: Netlink, tables: list[Table], chains: list[_Chain]
) -> Iterator[Request]:
    """Yield what removes `chains` from iptables-nft: the jump, the rules, the chain."""
    for table in tables:
        for chain in chains:
            if not table.chain_exists(netlink, chain.name):
                continue
            name = chain.name.encode() + b"\0"
            for handle, rule in list(table.rules(netlink, chain.entry)):
                if name in rule:
                    yield table.delete_rule(chain.entry, handle)
            yield table.flush_chain(chain.name)
            yield table.delete_chain(chain.name)


def _rule_deletes(netlink: Netlink, rules: list[_Rules]) -> Iterator[Request]:
    for table, chain, handle, _ in _found(netlink, rules):
        yield table.delete_rule(chain, handle)


def _found(netlink: Netlink, rules: list[_Rules]) -> Iterator[tuple[Table, str, int, bytes]]:
    """Yield table, chain, handle and encoded form of those of `rules` that are there."""
    for one in rules:
        for chain in one.chains:
            for handle, rule in list(one.table.rules(netlink, chain)):
                if one.text in rule:
                    yield one.table, chain, handle, rule


# iptables-legacy


def _legacy_program(version: int) -> str | None:
    """Return the program for the kernel's legacy nat table of IP `version`, if it has that."""
    program, names = LEGACY[version]
    try:
        with open(f"/proc/thread-self/net/{names}", encoding="ascii") as file:
            tables = file.read().split()
    except OSError:
        return None
    if "nat" not in tables:
        return None
    path = shutil.which(f"{program}-legacy") or shutil.which(program)
    if path is None:
        log.warning("cannot look for left rules: %s-legacy is not installed", program)
    return path


def _in_legacy_use(version: int, chain: _Chain) -> bool:
    program = _legacy_program(version)
    rules = _legacy_rules(program) if program else []
    jumps = any(rule[-2:] == ["-j", chain.name] for rule in rules)
    return jumps and any(rule[:2] == ["-A", chain.name] for rule in rules)


def _legacy_rules(program: str) -> list[list[str]]:
    return [line.split(" ") for line in _legacy(program, "-S").splitlines()]


def _delete_legacy(program: str, chain: _Chain) -> None:
    rules = _legacy_rules(program)
    if ["-N", chain.name] not in rules:
        return
    for rule in rules:
        if rule[0] == "-A" and rule[-2:] == ["-j", chain.name]:
            _legacy(program, "-D", *_words(" ".join(rule[1:])))
    _legacy(program, "-F", chain.name)
    _legacy(program, "-X", chain.name)


def _words(rule: str) -> list[str]:
    import shlex

    return shlex.split(rule)


def _legacy(program: str, *arguments: str) -> str:
    import subprocess

    done = subprocess.run(
        [program, "-w", "-t", "nat", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        log.warning("%s %s: %s", program, " ".join(arguments), done.stderr.strip())
    return done.stdout
