"""An ENI is made: created, attached, bound to the node; then the host is set up, and pods get it.

Each step may have been done already, by a call without an answer or before a kill: creating is
safe by its token; that the ENI is attached, EC2 says when it is asked to attach it again.
"""

from dataclasses import replace

from ipam.aws_vpc.agent.desk import SETTLING, Desk
from ipam.aws_vpc.agent.intents import Freeing, Making, Stage
from ipam.aws_vpc.agent.record import eni_of
from ipam.aws_vpc.cloud import CloudError, Kind, Order
from ipam.aws_vpc.state import add_eni

CREATE = "create"  # what waits after a refusal: no other ENI is made meanwhile
POLL = 1.0  # seconds between two looks at an ENI that is being attached
FULL = (Kind.NO_ADDRESS, Kind.NO_PREFIX)
LATER = (Kind.THROTTLED, Kind.UNCERTAIN)


def advance(desk: Desk, one: Making) -> None:
    """Do the next step.  Raises CloudError when it is refused; what is to be done then is done."""
    {
        Stage.PLANNED: _create,
        Stage.CREATED: _attach,
        Stage.ATTACHED: _bind,
        Stage.BOUND: _finish,
    }[one.stage](desk, one)


def _create(desk: Desk, one: Making) -> None:
    order = Order(one.token, one.at, one.subnet, one.count, one.prefixes)
    try:
        with desk.call(f"create an ENI in {one.subnet}", one.key):
            card = desk.cloud.create(order)
    except CloudError as error:
        if error.kind not in LATER:
            _drop(desk, one)
            desk.patience.failed(CREATE)
        if error.kind in FULL:
            desk.hold(one.subnet, one.count + 1, prefixes=error.kind is Kind.NO_PREFIX)
        raise
    _set(desk, one, replace(one, stage=Stage.CREATED, name=card.name, blocks=card.blocks))


def _attach(desk: Desk, one: Making) -> None:
    used = {eni.device for eni in desk.ledger.book.state.enis}
    used |= {other.device for other in desk.makings() if other.key != one.key}
    device = next(number for number in range(1, len(used) + 2) if number not in used)
    try:
        with desk.call(f"attach {one.name}", one.key):
            attachment = desk.cloud.attach(one.name, device)
    except CloudError as error:
        _not_attached(desk, one, error)
        raise
    attached = replace(one, stage=Stage.ATTACHED, device=device, attachment=attachment)
    _set(desk, one, attached)


def _not_attached(desk: Desk, one: Making, error: CloudError) -> None:
    """See whether it is attached all the same; give it up when it never will be."""
    if error.kind is Kind.ENI_LIMIT:
        desk.learn_limit(len(desk.ledger.book.state.enis))
        _give_up(desk, one, Stage.DELETING, str(error))
    elif error.kind in (Kind.BUSY, Kind.REFUSED):  # it is attached, or something else is there
        _look(desk, one, error)
    elif error.kind is Kind.DENIED:
        _give_up(desk, one, Stage.DELETING, str(error))
    elif error.kind is Kind.GONE and desk.now() - one.at > SETTLING:
        _drop(desk, one)  # not late, but lost


def _look(desk: Desk, one: Making, error: CloudError) -> None:
    with desk.call(f"look at {one.name}", one.key):
        card = desk.cloud.card(one.name)
    if card is None:
        _drop(desk, one)
    elif card.attachment:
        found = replace(one, device=card.device, attachment=card.attachment)
        _set(desk, one, replace(found, stage=Stage.ATTACHED))
    elif desk.patience.tries(f"give up {one.key}") < 3:  # another device may be free by then
        desk.patience.failed(f"give up {one.key}")
        desk.patience.failed(one.key)
        desk.look_now = True
    else:
        _give_up(desk, one, Stage.DELETING, str(error))


def _bind(desk: Desk, one: Making) -> None:
    try:
        with desk.call(f"bind {one.name} to the node", one.key):
            desk.cloud.bind(one.name, one.attachment)
    except CloudError as error:
        if error.kind is Kind.GONE:
            _look(desk, one, error)
        elif error.kind not in LATER:
            _give_up(desk, one, Stage.DETACHING, str(error))
        raise
    _set(desk, one, replace(one, stage=Stage.BOUND))


def _finish(desk: Desk, one: Making) -> None:
    """Have the ENI when it is there and the host is set up for it."""
    with desk.call(f"look at {one.name}", one.key):
        card = desk.cloud.card(one.name)
    if card is None or card.status != "attached":
        if card is None and desk.now() - one.at > SETTLING:
            _drop(desk, one)
        else:
            desk.patience.wait(one.key, POLL)
        return
    if card.name not in desk.set_up(card):
        desk.patience.failed(one.key)
        return
    ledger = desk.ledger
    with ledger.lock:
        book = ledger.book
        if all(eni.name != one.name for eni in book.state.enis):
            book = replace(book, state=add_eni(book.state, eni_of(card, desk.now())))
        intents = ledger.intents_with(None, one.key)
        cards = {**book.cards, card.name: card}
        ledger.commit(replace(book, intents=intents, cards=cards))
    desk.patience.succeeded(CREATE)


def _set(desk: Desk, one: Making, new: Making) -> None:
    with desk.ledger.lock:
        desk.ledger.set_intent(new, one.key)


def _drop(desk: Desk, one: Making) -> None:
    desk.patience.succeeded(one.key)
    with desk.ledger.lock:
        desk.ledger.set_intent(None, one.key)


def _give_up(desk: Desk, one: Making, stage: Stage, why: str) -> None:
    """Take back what was made."""
    desk.patience.failed(CREATE)
    with desk.ledger.lock:
        desk.ledger.set_intent(Freeing(one.name, stage, why), one.key)
