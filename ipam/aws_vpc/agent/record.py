"""The pool on disk: who has which address, what cools down, the ENIs, and the intents.

One file, written whole and put in place by rename, so that what is in it always fits together.
It holds the boot that it was written in: pods do not outlive a reboot, ENIs do.  And the node: a
disk that was copied, into an image or from a backup, has the record of the node that it is of.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from cni import document
from cni.attachment import Attachment
from cni.errors import CniError, Code
from cni.leases.reboot import Boot
from ipam.aws_vpc.agent.intents import Freeing, Intent, Making, Returning, Stage
from ipam.aws_vpc.cloud import Card
from ipam.aws_vpc.state import Assignment, Cooldown, Eni, Hold, State

PATH = "/var/lib/pycni/vpc/pool.json"
VERSION = 1
KINDS: Mapping[str, type[Making] | type[Freeing] | type[Returning]] = {
    "making": Making,
    "freeing": Freeing,
    "returning": Returning,
}
NAMES = {kind: name for name, kind in KINDS.items()}
Json = dict[str, Any]


@dataclass(frozen=True)
class Book:
    """All of it; `cards` has what the cloud says of the ENIs in `state` and of no others.

    `node` is the cloud's name of the node that it is of; empty: that has not been said.
    """

    state: State = field(default_factory=State)
    intents: tuple[Intent, ...] = ()
    cards: Mapping[str, Card] = field(default_factory=dict)
    node: str = ""


def write(book: Book, boot: Boot, path: str = PATH) -> None:
    """Put the book in place of the last one, so that a power cut does not lose it.

    Raises OSError.
    """
    state = book.state
    document.write(
        path,
        {
            "version": VERSION,
            "boot": boot.name,
            "node": book.node,
            "enis": [_from_eni(one, book.cards[one.name]) for one in state.enis],
            "assignments": [_from_assignment(one) for one in state.assignments],
            "cooling": [[str(one.address), one.until] for one in state.cooling],
            "holds": [[one.subnet, one.until, one.prefixes] for one in state.holds],
            "changed": state.changed if state.changed > 0 else None,
            "intents": [_from_intent(one) for one in book.intents],
        },
    )
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(boot: Boot, cooldown: float, now: float, path: str = PATH) -> Book:
    """Return the book; an empty one when there was none.

    Pods of another boot are gone unless a runtime knows a namespace of theirs: their addresses
    cool down.  Raises CniError when it cannot be read: pods may have any address of the node then,
    so there is none to be given out.
    """
    if not os.path.exists(path):
        return Book()
    said = document.read(path, "the pool's record")
    try:
        if said["version"] != VERSION:
            raise ValueError(f"its version is {said['version']}")  # noqa: TRY301
        book = _read(said)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        msg = f"cannot use the pool's record {path}: {type(error).__name__}: {error}"
        hint = "remove it when no pod with an address of the VPC is left on this node"
        raise CniError(Code.DECODING_FAILURE, msg, hint) from error
    return book if said["boot"] == boot.name else _after_reboot(book, boot, now + cooldown)


def _after_reboot(book: Book, boot: Boot, until: float) -> Book:
    kept, cooling = [], list(book.state.cooling)
    for one in book.state.assignments:
        owner = one.owner
        if boot.lives(owner.network, owner.container_id, owner.ifname):
            kept.append(one)
        else:
            cooling.append(Cooldown(one.address, until))
    state = replace(book.state, assignments=tuple(kept), cooling=tuple(cooling))
    return replace(book, state=state)


def _read(said: Json) -> Book:
    cards = {one["name"]: _to_card(one) for one in said["enis"]}
    state = State(
        enis=tuple(_to_eni(one, cards[one["name"]]) for one in said["enis"]),
        assignments=tuple(
            Assignment(Attachment(*names), IPv4Address(address))
            for *names, address in said["assignments"]
        ),
        cooling=tuple(Cooldown(IPv4Address(one), float(until)) for one, until in said["cooling"]),
        holds=tuple(Hold(name, float(until), bool(kind)) for name, until, kind in said["holds"]),
        changed=float("-inf") if said["changed"] is None else float(said["changed"]),
    )
    intents = tuple(_to_intent(one) for one in said["intents"])
    return Book(state, intents, cards, str(said.get("node", "")))


def _from_assignment(one: Assignment) -> list[str]:
    owner = one.owner
    return [owner.network, owner.container_id, owner.ifname, str(one.address)]


def _from_eni(eni: Eni, card: Card) -> Json:
    return {
        "name": eni.name,
        "device": eni.device,
        "subnet": eni.subnet,
        "address": str(eni.address),
        "blocks": [str(one) for one in eni.blocks],
        "since": eni.since,
        "managed": eni.managed,
        "mac": card.mac,
        "cidr": str(card.cidr),
        "ipv6": [str(one) for one in card.ipv6],
    }


def _to_eni(said: Json, card: Card) -> Eni:
    return eni_of(card, float(said["since"]))


def _to_card(said: Json) -> Card:
    return Card(
        name=said["name"],
        mac=said["mac"],
        subnet=said["subnet"],
        cidr=IPv4Network(said["cidr"]),
        address=IPv4Address(said["address"]),
        blocks=_blocks(said),
        ipv6=tuple(map(IPv6Network, said["ipv6"])),
        device=int(said["device"]),
        status="attached",
        managed=bool(said["managed"]),
    )


def eni_of(card: Card, since: float) -> Eni:
    """Return the pool's view of a card that came at `since`."""
    return Eni(card.name, card.device, card.subnet, card.address, card.blocks, since, card.managed)


def _blocks(said: Json) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, said["blocks"]))


def _from_intent(one: Intent) -> Json:
    blocks = {} if isinstance(one, Freeing) else {"blocks": [str(each) for each in one.blocks]}
    return {**vars(one), **blocks, "kind": NAMES[type(one)]}


def _to_intent(said: Json) -> Intent:
    values = {key: value for key, value in said.items() if key != "kind"}
    values["stage"] = Stage(said["stage"])
    if "blocks" in said:
        values["blocks"] = _blocks(said)
    return KINDS[said["kind"]](**values)
