"""The one thread that calls the cloud: looks at what there is, goes on with what was begun, plans.

Nothing here is remembered between two turns that is not in the ledger, or only makes a call come
later: a keeper that is killed anywhere goes on where it was.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from cni.errors import CniError
from ipam.aws_vpc.agent import freeing, looking, making
from ipam.aws_vpc.agent.desk import Desk
from ipam.aws_vpc.agent.intents import Freeing, Making, Returning, Stage
from ipam.aws_vpc.agent.making import CREATE
from ipam.aws_vpc.cloud import CloudError, Kind
from ipam.aws_vpc.limits import limits_of
from ipam.aws_vpc.plan import Plan, plan
from ipam.aws_vpc.state import Action, Assign, CreateEni, State, Unassign, add_blocks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Seconds between two of each, where nothing happens that makes them come earlier.

    `look` asks EC2, `glance` the metadata service; `sweep` looks for ENIs that were lost; the
    number of free addresses of a subnet is `old` after so long; `tick` is the longest sleep.
    """

    look: float = 300.0
    glance: float = 30.0
    sweep: float = 3600.0
    old: float = 60.0
    tick: float = 9.0


class Keeper:
    """Keeps the pool of `desk`; `max_pods` is the kubelet's, None: what the type can have."""

    def __init__(self, desk: Desk, max_pods: int | None = None, pace: Pace | None = None) -> None:
        self.desk, self._max_pods, self._pace = desk, max_pods, pace or Pace()
        self.planned: Plan | None = None
        self.beat = desk.monotonic()
        self._due: dict[str, float] = {}
        self._moved = False

    def run(self, stop: threading.Event, told: Callable[[], object] = bool) -> None:
        """Take turns until `stop`; call `told` after each."""
        while not stop.is_set():
            pause = self.turn()
            told()
            if not stop.is_set():
                self.desk.ledger.sleep(pause)

    def turn(self) -> float:
        """Do all that can be done now; return the seconds until there may be more."""
        desk = self.desk
        self._moved = False
        try:
            with desk.ledger.lock:
                desk.ledger.tidy()
            for step in (self._start, self._look, self._go_on, self._act, self._sweep):
                if not desk.patience.ready():
                    break
                self._try(step)
        except OSError as error:
            log.error("cannot keep the pool's record: %s", error)  # noqa: TRY400
            return 1.0
        return self._pause()

    def _try(self, step: Callable[[], object]) -> None:
        self.beat = self.desk.monotonic()  # a turn may have many calls
        try:
            step()
        except CloudError:
            log.debug("refused", exc_info=True)  # the desk has told of it

    def _pause(self) -> float:
        if self._moved:
            return 0.0
        now, desk = self.desk.now(), self.desk
        pauses = [self._pace.tick]
        if (left := desk.patience.next()) is not None:
            pauses.append(left)
        # while all calls wait, nothing is planned anew
        if self.planned and self.planned.again is not None and desk.patience.ready():
            pauses.append(self.planned.again - now)
        if desk.ledger.suspects:
            pauses.append(looking.CONFIRM)
        return max(min(pauses), 0.01)

    # -- looking ----------------------------------------------------------------------------

    def _start(self) -> None:
        """Ask who we are, once."""
        desk = self.desk
        if desk.node is None and desk.patience.ready("start"):
            try:
                with desk.call("ask what this node is", "start"):
                    node = desk.cloud.node()
            except CniError as error:
                if not desk.problem:
                    log.error("%s", error)  # noqa: TRY400
                desk.problem = error
                desk.patience.wait("start", self._pace.old)
                return
            with desk.ledger.lock:
                desk.ledger.belong_to(node.name)
            desk.node, desk.problem = node, None
            log.info("%s is a %s", node.name, node.instance.name)
        if desk.node:
            limits = limits_of(desk.node.instance, desk.ledger.settings, self._max_pods)
            if desk.cap and desk.monotonic() >= desk.cap[1]:
                desk.cap = None
            if desk.cap:
                most = min(desk.cap[0], limits.enis)
                limits = replace(limits, enis=most, why=f"EC2 attaches no more than {most}")
            desk.limits = limits

    def _look(self) -> None:
        desk, pace = self.desk, self._pace
        if desk.node is None:
            return
        if not desk.look_now and self._is_due("glance", pace.glance):
            desk.look_now = not looking.glance(desk)
            if desk.cloud.fixed:
                desk.look_now = True
        suspected = bool(desk.ledger.suspects) and self._is_due("confirm", looking.CONFIRM)
        due = desk.look_now or suspected or self._is_due("look", pace.look)
        if due and desk.patience.ready(looking.LOOK):
            desk.look_now = True  # until it went well
            try:
                good = looking.look(desk)
            except CloudError:
                self._try(lambda: looking.trust_record(desk))
                raise
            if good:
                desk.look_now = False
                self._put_off("look", pace.look)
                self._put_off("confirm", looking.CONFIRM)
            else:
                desk.patience.failed(looking.LOOK)

    def _is_due(self, what: str, pause: float) -> bool:
        """Tell whether it is time for something; if so, the next time is after the pause."""
        if self._due.get(what, 0.0) > self.desk.monotonic():
            return False
        self._put_off(what, pause)
        return True

    def _put_off(self, what: str, pause: float) -> None:
        spread = secrets.randbelow(200) / 1000  # nodes that were started together part
        self._due[what] = self.desk.monotonic() + pause * (0.9 + spread)

    # -- going on ---------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Do the next step of each intent."""
        desk = self.desk
        if desk.node is None:
            return
        for one in desk.ledger.book.intents:
            if desk.patience.ready() and desk.patience.ready(one.key):
                before = desk.ledger.book.intents
                self._try(lambda one=one: self._advance(one))  # type: ignore[misc]
                self._moved |= desk.ledger.book.intents != before

    def _advance(self, one: Making | Freeing | Returning) -> None:
        if isinstance(one, Making):
            making.advance(self.desk, one)
        elif isinstance(one, Freeing):
            freeing.advance(self.desk, one)
        else:
            freeing.give_back(self.desk, one)

    # -- planning ---------------------------------------------------------------------------

    def _act(self) -> None:
        """Do what the plan says."""
        desk = self.desk
        if desk.limits is None or not desk.ledger.open:
            return
        self.planned = found = plan(self._imagined(), desk.ledger.settings, desk.limits, desk.now())
        if desk.cloud.fixed:
            return
        makes = any(isinstance(action, CreateEni) for action in found.actions)
        old = self._pace.old
        if (makes or found.held) and desk.patience.ready(CREATE) and self._is_due("subnets", old):
            desk.refresh_subnets()
            self._moved = True
            return
        for action in found.actions:
            if desk.patience.ready():
                self._try(lambda action=action: self._do(action))  # type: ignore[misc]

    def _imagined(self) -> State:
        """Return the pool as it will be when what is under way is there."""
        with self.desk.ledger.lock:
            state = self.desk.ledger.state()
            coming = tuple(one.eni for one in self.desk.makings())
        return replace(state, enis=(*state.enis, *coming))

    def _do(self, action: Action) -> None:
        if isinstance(action, Assign):
            self._assign(action)
        elif isinstance(action, CreateEni):
            self._begin_making(action)
        elif isinstance(action, Unassign):
            self._begin(Returning(action.eni, action.blocks, why=action.why))
        else:
            self._begin(Freeing(action.eni, why=action.why))

    def _assign(self, action: Assign) -> None:
        desk, key = self.desk, f"assign {action.eni}"
        here = any(eni.name == action.eni for eni in desk.ledger.book.state.enis)
        if not here or not desk.patience.ready(key):
            return
        try:
            with desk.call(f"put {action.count} more on {action.eni}", key):
                blocks = self._blocks(action)
        except CloudError as error:
            if error.kind in making.FULL:
                subnet = desk.ledger.book.state.eni(action.eni).subnet
                desk.patience.succeeded(key)  # the subnet waits, or fewer are asked for
                desk.hold(subnet, action.count, prefixes=error.kind is Kind.NO_PREFIX)
                self._moved = True
            raise
        with desk.ledger.lock:
            state = desk.ledger.book.state
            known = state.eni(action.eni).blocks  # one may have been taken away, and is back
            new = [one for one in blocks if one not in known]
            desk.ledger.young |= {(action.eni, one): desk.monotonic() for one in blocks}
            desk.ledger.set_state(add_blocks(state, action.eni, new, desk.now()))
        self._moved = True

    def _blocks(self, action: Assign) -> tuple[IPv4Network, ...]:
        blocks = self.desk.cloud.assign(action.eni, action.count, prefixes=action.prefixes)
        if not blocks:
            raise CloudError(Kind.REFUSED, "", "EC2 says yes, and gives nothing")
        return blocks

    def _begin_making(self, action: CreateEni) -> None:
        desk = self.desk
        asked = any(one.stage is Stage.PLANNED for one in desk.makings())
        if asked or not desk.patience.ready(CREATE):
            return
        token = f"pycni-{secrets.token_hex(16)}"
        one = Making(token, desk.now(), action.subnet, action.count, action.prefixes)
        log.info("an ENI in %s: %s", action.subnet, action.why)
        with desk.ledger.lock:
            desk.ledger.set_intent(one, one.key)
        self._moved = True

    def _begin(self, one: Freeing | Returning) -> None:
        """Write down that something is given back, unless a pod has got an address of it."""
        with self.desk.ledger.lock:
            book = self.desk.ledger.book
            eni = next((eni for eni in book.state.enis if eni.name == one.name), None)
            if eni is None:
                return
            blocks = one.blocks if isinstance(one, Returning) else eni.blocks
            taken = [each.address for each in book.state.assignments]
            if any(address in block for address in taken for block in blocks):
                return
            self.desk.ledger.set_intent(one, one.key)
        log.info("%s goes back, %d blocks: %s", one.name, len(blocks), one.why)
        self._moved = True

    # -- sweeping ---------------------------------------------------------------------------

    def sweep_now(self) -> None:
        """Let the next turn look for lost ENIs."""
        self._due.pop("sweep", None)

    def _sweep(self) -> None:
        """Delete ENIs that were made for a node and lost on the way."""
        desk = self.desk
        if desk.node is None or desk.cloud.fixed or not self._is_due("sweep", self._pace.sweep):
            return
        with desk.call("look for lost ENIs", "sweep"):
            lost = desk.cloud.leaked()
        ours = {one.name for one in desk.ledger.book.intents}
        for name in lost:
            if name not in ours:
                log.warning("%s was lost by a node, and is deleted", name)
                with desk.ledger.lock:
                    one = Freeing(name, why="it is attached to nothing")
                    desk.ledger.set_intent(one, one.key)
                self._moved = True
