"""What a node's pool consists of, and what can be asked of EC2 to change it.

A *block* is what one slot of an ENI holds: a secondary address (/32), or a prefix (/28) of
sixteen.  Everything is immutable: a change makes a new State.  Times are seconds of the wall
clock, so that they outlive a restart.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from cni.attachment import Attachment

PREFIX_LEN, PREFIX_SIZE = 28, 16  # the one length that EC2 delegates
HOLD = 120.0  # seconds without a request, after a subnet had nothing left


def is_prefix(block: IPv4Network) -> bool:
    """Tell whether the block is a /28."""
    return block.prefixlen == PREFIX_LEN


def size(block: IPv4Network) -> int:
    """Return how many addresses the block has; of a prefix all can be used."""
    return 1 << 32 - block.prefixlen


@dataclass(frozen=True)
class Eni:
    """A network interface of the node; `address` is its own and never a pod's."""

    name: str  # eni-…
    device: int  # number on the instance; 0: the primary, which comes and goes with the node
    subnet: str
    address: IPv4Address
    blocks: tuple[IPv4Network, ...] = ()
    since: float = 0.0  # when the pool got it
    managed: bool = True  # False: somebody else's; it only counts against the limit

    @property
    def primary(self) -> bool:
        """Tell whether this is the ENI that the node was started with."""
        return self.device == 0


@dataclass(frozen=True)
class Assignment:
    """A pod's address."""

    owner: Attachment
    address: IPv4Address


@dataclass(frozen=True)
class Cooldown:
    """An address that a pod gave back: nobody gets it before `until`."""

    address: IPv4Address
    until: float


@dataclass(frozen=True)
class Hold:
    """A subnet that had nothing left; `prefixes`: no /28, single addresses may be there."""

    subnet: str
    until: float
    prefixes: bool = False


@dataclass(frozen=True)
class Subnet:
    """A subnet that ENIs can be made in; `free` addresses as EC2 last told, None: unknown."""

    name: str  # subnet-…
    free: int | None = None


@dataclass(frozen=True)
class Assign:
    """Ask for `count` more blocks on an ENI."""

    eni: str
    count: int
    prefixes: bool
    why: str


@dataclass(frozen=True)
class CreateEni:
    """Ask for another ENI with `count` blocks."""

    subnet: str
    count: int
    prefixes: bool
    why: str


@dataclass(frozen=True)
class Unassign:
    """Give blocks back."""

    eni: str
    blocks: tuple[IPv4Network, ...]
    why: str


@dataclass(frozen=True)
class FreeEni:
    """Detach an ENI and delete it, with all its blocks."""

    eni: str
    why: str


Action = Assign | CreateEni | Unassign | FreeEni


@dataclass(frozen=True)
class State:
    """The pool as EC2 last confirmed it, and who has what of it.

    `releasing` is what EC2 was asked to take back and has not confirmed: it still takes its place
    on the ENI, and no pod gets an address of it.
    """

    enis: tuple[Eni, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    cooling: tuple[Cooldown, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    holds: tuple[Hold, ...] = ()
    releasing: tuple[Unassign | FreeEni, ...] = ()
    waiting: int = 0  # ADDs that wait for an address
    changed: float = float("-inf")  # when addresses last came or went

    def eni(self, name: str) -> Eni:
        """Return an ENI by its name.  Raises KeyError."""
        for eni in self.enis:
            if eni.name == name:
                return eni
        raise KeyError(name)

    def held(self, subnet: str, now: float, *, prefixes: bool) -> bool:
        """Tell whether the subnet is not to be asked for such blocks now."""
        return any(
            one.subnet == subnet and one.until > now and (prefixes or not one.prefixes)
            for one in self.holds
        )


def add_eni(state: State, eni: Eni) -> State:
    """Return the state with an ENI that EC2 has attached."""
    changed = max(state.changed, eni.since) if eni.blocks else state.changed
    return replace(state, enis=(*state.enis, eni), changed=changed)


def remove_eni(state: State, name: str, now: float) -> State:
    """Return the state without an ENI that EC2 has taken back.  Cooldowns go with their address."""
    gone = state.eni(name)
    left = tuple(one for one in state.releasing if one.eni != name)
    enis = tuple(eni for eni in state.enis if eni.name != name)
    return _forget(replace(state, enis=enis, releasing=left, changed=now), gone.blocks)


def add_blocks(state: State, name: str, blocks: Iterable[IPv4Network], now: float) -> State:
    """Return the state with blocks that EC2 has put on an ENI."""
    return replace(_change(state, name, (*state.eni(name).blocks, *blocks)), changed=now)


def remove_blocks(state: State, name: str, blocks: Iterable[IPv4Network], now: float) -> State:
    """Return the state without blocks that EC2 has taken from an ENI."""
    gone = set(blocks)
    kept = tuple(block for block in state.eni(name).blocks if block not in gone)
    left = tuple(
        one
        for one in state.releasing
        if one.eni != name or isinstance(one, FreeEni) or not gone.issuperset(one.blocks)
    )
    return _forget(replace(_change(state, name, kept), releasing=left, changed=now), gone)


def begin(state: State, action: Unassign | FreeEni) -> State:
    """Return the state in which EC2 is asked to take something back; say so before asking."""
    return replace(state, releasing=(*state.releasing, action))


def hold(state: State, subnet: str, now: float, *, prefixes: bool) -> State:
    """Return the state after EC2 said that the subnet has nothing left.

    `prefixes`: no /28 was left (InsufficientCidrBlocks, or InvalidParameterValue that speaks of
    free prefixes); otherwise no address at all (InsufficientFreeAddressesInSubnet).
    """
    return replace(state, holds=(*state.holds, Hold(subnet, now + HOLD, prefixes)))


def _change(state: State, name: str, blocks: tuple[IPv4Network, ...]) -> State:
    enis = (replace(eni, blocks=blocks) if eni.name == name else eni for eni in state.enis)
    return replace(state, enis=tuple(enis))


def _forget(state: State, blocks: Iterable[IPv4Network]) -> State:
    """Drop the cooldowns of addresses that are ours no more."""
    gone = tuple(blocks)
    kept = (one for one in state.cooling if not any(one.address in block for block in gone))
    return replace(state, cooling=tuple(kept))
