"""What the cloud says against what we hold.

EC2 is the truth.  What it shows and we lack is taken at once; what it no longer shows is given
out no more at once, but let go only when EC2 and the metadata service say the same twice: both
may be late, and a pod may have the address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from ipam.aws_vpc.agent.desk import SETTLING, Desk
from ipam.aws_vpc.agent.intents import Freeing, Making, Returning, Stage
from ipam.aws_vpc.agent.ledger import NEVER
from ipam.aws_vpc.agent.record import Book, eni_of
from ipam.aws_vpc.cloud import Card, CloudError, understood
from ipam.aws_vpc.state import Eni, add_blocks, add_eni, remove_blocks, remove_eni

LOOK = "look"  # what waits after a refusal
CONFIRM = 5.0  # seconds between two looks that must agree
Key = tuple[str, IPv4Network]


def look(desk: Desk) -> bool:
    """Ask the cloud for all ENIs, and take what it says; tell whether the host is set up for it.

    An ENI that the host cannot use is not taken, or gives no address; the others serve.
    """
    with desk.call("ask for the node's ENIs", LOOK):
        cards = desk.cloud.cards()
    _refresh_cidrs(desk)
    busy = {one.name for one in desk.ledger.book.intents if isinstance(one, Making | Freeing)}
    known = {eni.name for eni in desk.ledger.book.state.enis}
    attached = {card.name: card for card in cards if card.status == "attached"}
    new = [card for card in attached.values() if card.name not in busy | known]
    good = desk.set_up(*(card for card in new if card.managed))
    seen = _seen(desk, attached)
    with desk.ledger.lock:
        book = desk.ledger.book
        for card in [one for one in new if one.name in good or not one.managed]:
            cards_by_name = {**book.cards, card.name: card}
            state = add_eni(book.state, eni_of(card, desk.now()))
            book = replace(book, state=state, cards=cards_by_name)
        for eni in book.state.enis:
            if eni.name in attached and eni.name not in busy:
                book = _take(desk, book, eni, attached[eni.name])
        book = _let_go(desk, book, attached, seen, busy)
        desk.ledger.commit(book)
        desk.ledger.open = desk.ledger.open or bool(good)
        desk.ledger.lock.notify_all()  # what was doubted may be clear
    wanted = {card.name for card in (*desk.cards(), *new) if card.managed}
    return bool(good) and wanted <= good


def _refresh_cidrs(desk: Desk) -> None:
    """Take the networks that the VPC has by now, if the metadata service says them."""
    try:
        with understood():
            found = desk.cloud.vpc_cidrs()
    except CloudError:
        return
    if desk.node and found:
        desk.node = replace(desk.node, vpc_cidrs=found)


def _take(desk: Desk, book: Book, eni: Eni, card: Card) -> Book:
    """Return the book with what is new on an ENI that we have."""
    going = {
        block
        for one in book.intents
        if isinstance(one, Returning) and one.name == eni.name and one.stage is Stage.RETURNED
        for block in one.blocks
    }
    new = [block for block in card.blocks if block not in going and block not in eni.blocks]
    state = add_blocks(book.state, eni.name, new, desk.now()) if new else book.state
    enis = tuple(
        replace(one, managed=card.managed) if one.name == eni.name else one for one in state.enis
    )
    state = replace(state, enis=enis)
    return replace(book, state=state, cards={**book.cards, card.name: replace(card, blocks=())})


def _seen(desk: Desk, attached: Mapping[str, Card]) -> Mapping[str, frozenset[IPv4Network]] | None:
    """Return what the metadata service shows, if it matters; None: it does not say."""
    missing = any(
        eni.name not in attached or set(eni.blocks) - set(attached[eni.name].blocks)
        for eni in desk.ledger.book.state.enis
    )
    if not missing:
        return {}
    try:
        with understood():
            return {one.name: one.blocks for one in desk.cloud.seen()}
    except CloudError:
        return None


@dataclass
class _Gone:
    """Blocks that are not shown: since when both say so, and those for which that is certain."""

    suspects: dict[Key, float]
    certain: list[Key]


def _let_go(
    desk: Desk,
    book: Book,
    attached: Mapping[str, Card],
    seen: Mapping[str, frozenset[IPv4Network]] | None,
    busy: Iterable[str],
) -> Book:
    """Return the book without what is certainly gone; take note of what may be."""
    ledger, now = desk.ledger, desk.monotonic()
    young = {key for key, at in ledger.young.items() if now - at < SETTLING / 2}
    gone = _Gone({}, [])
    enis = [eni for eni in book.state.enis if eni.name not in busy]
    for eni in enis:
        shown = set(attached[eni.name].blocks) if eni.name in attached else set()
        for block in eni.blocks:
            key = eni.name, block
            if block not in shown and key not in young:
                both = seen is not None and block not in seen.get(eni.name, ())
                _judge(gone, key, ledger.suspects.get(key, NEVER), now, both=both)
    ledger.young = {key: at for key, at in ledger.young.items() if key in young}
    ledger.suspects = gone.suspects
    for name, block in gone.certain:
        book = replace(book, state=remove_blocks(book.state, name, (block,), desk.now()))
    for eni in enis:
        left = book.state.eni(eni.name)
        if eni.name not in attached and not left.blocks and not eni.primary:
            cards = {name: card for name, card in book.cards.items() if name != eni.name}
            state = remove_eni(book.state, eni.name, desk.now())
            book = replace(book, state=state, cards=cards)
    return book


def _judge(gone: _Gone, key: Key, since: float, now: float, *, both: bool) -> None:
    if both and now - since >= CONFIRM:
        gone.certain.append(key)
    elif both:
        gone.suspects[key] = min(since, now)
    else:
        gone.suspects[key] = NEVER


def trust_record(desk: Desk) -> None:
    """Open a pool while EC2 does not answer, if the metadata service shows all that it has.

    An agent that is started again then serves pods all the same.
    """
    book = desk.ledger.book
    if desk.ledger.open or not book.state.enis or not desk.set_up():
        return
    with desk.call("ask the metadata service", "glance"):
        seen = {one.name: one.blocks for one in desk.cloud.seen()}
    with desk.ledger.lock:
        desk.ledger.open = all(
            seen.get(eni.name, frozenset()).issuperset(eni.blocks) for eni in book.state.enis
        )


def glance(desk: Desk) -> bool:
    """Ask the metadata service, which costs no call; tell whether it says what we hold."""
    with desk.call("ask the metadata service", "glance"):
        seen = {one.name: set(one.blocks) for one in desk.cloud.seen()}
    book = desk.ledger.book
    busy = {one.name for one in book.intents if not isinstance(one, Returning)}
    going = {block for one in book.intents if isinstance(one, Returning) for block in one.blocks}
    held = {eni.name: set(eni.blocks) for eni in book.state.enis}
    names = (held.keys() | seen.keys()) - busy
    return all(held.get(name, set()) - going == seen.get(name, set()) - going for name in names)
