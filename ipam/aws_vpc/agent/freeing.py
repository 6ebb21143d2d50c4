"""What is given back: an ENI is detached and deleted, blocks are unassigned.

The pool lets go only when EC2 has said yes; until then no pod gets an address of it.
"""

from dataclasses import replace

from ipam.aws_vpc.agent.desk import SETTLING, Desk
from ipam.aws_vpc.agent.intents import Freeing, Returning, Stage
from ipam.aws_vpc.agent.ledger import NEVER
from ipam.aws_vpc.cloud import CloudError, Kind
from ipam.aws_vpc.state import remove_blocks, remove_eni

PAUSE = 2.0  # seconds from detaching an ENI to deleting it: it is in use for as long at least


def advance(desk: Desk, one: Freeing) -> None:
    """Do the next step of freeing an ENI.  Raises CloudError when it is refused."""
    if one.stage is Stage.DETACHING:
        _detach(desk, one)
    else:
        _delete(desk, one)


def _detach(desk: Desk, one: Freeing) -> None:
    desk.set_up()  # the host does without it before its interface goes
    with desk.call(f"look at {one.name}", one.key):
        card = desk.cloud.card(one.name)
    if card is None:
        _gone(desk, one)
        return
    if card.attachment and card.status != "detaching":
        try:
            with desk.call(f"detach {one.name}", one.key):
                desk.cloud.detach(card.attachment)
        except CloudError as error:
            if error.kind is not Kind.GONE:
                raise
    with desk.ledger.lock:
        desk.ledger.set_intent(replace(one, stage=Stage.DELETING), one.key)
    if card.attachment:
        desk.patience.wait(one.key, PAUSE)


def _delete(desk: Desk, one: Freeing) -> None:
    try:
        with desk.call(f"delete {one.name}", one.key):
            desk.cloud.delete(one.name)
    except CloudError as error:
        if error.kind is Kind.BUSY:  # it is still attached, or again
            with desk.ledger.lock:
                desk.ledger.set_intent(replace(one, stage=Stage.DETACHING), one.key)
        if error.kind is not Kind.GONE or _is_there(desk, one):
            raise
    _gone(desk, one)


def _is_there(desk: Desk, one: Freeing) -> bool:
    with desk.call(f"look at {one.name}", one.key):
        return desk.cloud.card(one.name) is not None


def _gone(desk: Desk, one: Freeing) -> None:
    ledger = desk.ledger
    with ledger.lock:
        book = ledger.book
        if any(eni.name == one.name for eni in book.state.enis):
            book = replace(book, state=remove_eni(book.state, one.name, desk.now()))
        cards = {name: card for name, card in book.cards.items() if name != one.name}
        intents = ledger.intents_with(None, one.key)
        ledger.commit(replace(book, intents=intents, cards=cards))
    desk.set_up()


def give_back(desk: Desk, one: Returning) -> None:
    """Let EC2 have blocks back.  Raises CloudError when it refuses."""
    if one.stage is Stage.RETURNED:
        if desk.now() - one.at > SETTLING or desk.now() < one.at:
            _done(desk, one, None)
        return
    try:
        with desk.call(f"take {len(one.blocks)} blocks from {one.name}", one.key):
            desk.cloud.unassign(one.name, one.blocks)
    except CloudError as error:
        if error.kind in (Kind.REFUSED, Kind.GONE):  # some are not there any more
            _doubt(desk, one)
        raise
    _done(desk, one, replace(one, stage=Stage.RETURNED, at=desk.now()))


def _doubt(desk: Desk, one: Returning) -> None:
    """Leave it to the next look which blocks are still here; no pod gets an address of them."""
    ledger = desk.ledger
    with ledger.lock:
        for block in one.blocks:
            ledger.young.pop((one.name, block), None)
            ledger.suspects[one.name, block] = NEVER
        desk.look_now = True
        _done(desk, one, None)


def _done(desk: Desk, one: Returning, new: Returning | None) -> None:
    ledger = desk.ledger
    with ledger.lock:
        book = replace(ledger.book, intents=ledger.intents_with(new, one.key))
        known = any(eni.name == one.name for eni in book.state.enis)
        if new and known:
            state = remove_blocks(book.state, one.name, one.blocks, desk.now())
            book = replace(book, state=state)
        ledger.commit(book)
