"""What the role vpc says of itself: for cnictl a file, for Prometheus a page."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cni.agent.metrics import figure
from ipam.aws_vpc.agent.answers import Answers
from ipam.aws_vpc.agent.desk import Desk
from ipam.aws_vpc.agent.intents import Freeing, Making
from ipam.aws_vpc.agent.keeper import Keeper
from ipam.aws_vpc.state import Eni, size
from ipam.aws_vpc.usage import EniUse, look

Json = dict[str, Any]


def describe(keeper: Keeper, answers: Answers, reasons: tuple[str, ...]) -> Json:
    """Return the state of the pool, in JSON's types."""
    desk, planned = keeper.desk, keeper.planned
    with desk.ledger.lock:
        trouble = desk.ledger.trouble
        return {
            "ready": not reasons,
            "reasons": list(reasons),
            "node": desk.node.name if desk.node else "",
            "instanceType": desk.node.instance.name if desk.node else "",
            "enis": list(_enis(desk)),
            "pending": [_pending(one) for one in desk.makings()],
            "why": list(planned.why) if planned else [],
            "actions": [one.why for one in planned.actions] if planned else [],
            "waiting": desk.ledger.waiting,
            "lack": answers.lack(),
            "alarms": list(alarms(desk)),
            "trouble": vars(trouble) if trouble else None,
        }


def _enis(desk: Desk) -> Iterator[Json]:
    state, now = desk.ledger.state(), desk.ledger.clock()
    leaving = {one.name for one in desk.ledger.book.intents if isinstance(one, Freeing)}
    uses = {use.eni.name: use for use in look(state, now)}
    slots = desk.limits.slots if desk.limits else 0
    unit = 16 if desk.limits and desk.limits.prefixes else 1
    for eni in state.enis:
        known = "foreign" if not eni.managed else "leaving" if eni.name in leaving else "ready"
        yield {
            "name": eni.name,
            "device": eni.device,
            "subnet": eni.subnet,
            "address": str(eni.address),
            "state": known,
            "capacity": slots * unit if eni.managed else 0,
            **_use(eni, uses.get(eni.name)),
        }


def _use(eni: Eni, use: EniUse | None) -> Json:
    blocks = use.blocks if use else ()
    return {
        "total": sum(map(size, eni.blocks)),
        "assigned": sum(one.pods for one in blocks),
        "cooling": sum(one.cooling for one in blocks),
        "free": sum(one.free for one in blocks),
    }


def _pending(one: Making) -> Json:
    return {"name": one.name, "subnet": one.subnet, "stage": one.stage.value, "blocks": one.count}


def alarms(desk: Desk) -> Iterator[str]:
    """Yield what an operator must know."""
    blocks = [block for eni in desk.ledger.book.state.enis for block in eni.blocks]
    for one in desk.ledger.book.state.assignments:
        if not any(one.address in block for block in blocks):
            owner = one.owner.container_id
            yield f"address {one.address} of container {owner} was taken from this node"
    if desk.ledger.suspects:
        gone = sorted(str(block) for _, block in desk.ledger.suspects)
        yield f"the cloud does not show {', '.join(gone)}: given to no pod until that is clear"


def text(keeper: Keeper, answers: Answers, repairs: Mapping[str, int], *, ready: bool) -> str:
    """Return all figures, in the format of Prometheus; `repairs` of the kernel are by kind."""
    desk = keeper.desk
    with desk.ledger.lock:
        lines = [
            *figure("ready", "Whether this node can serve pods.", [("", ready)]),
            *_pool(keeper),
            *_calls(desk.cloud.tally),
        ]
        waits = answers.waits
        about = "Time that ADDs waited for an address."
        samples = [("_sum", waits.seconds), ("_count", float(waits.number))]
        lines += figure("vpc_wait_seconds", about, samples, "summary")
        refused = [(f'{{code="{int(code)}"}}', n) for code, n in sorted(waits.refused.items())]
        lines += figure("vpc_refusals_total", "ADDs that got none.", refused, "counter")
    mended = [(f'{{role="vpc",kind="{kind}"}}', n) for kind, n in sorted(repairs.items())]
    lines += figure("repairs_total", "What was broken and is mended.", mended, "counter")
    return "\n".join(lines) + "\n"


def _pool(keeper: Keeper) -> Iterator[str]:
    desk, planned = keeper.desk, keeper.planned
    enis = list(_enis(desk))
    sums = {
        kind: sum(one[kind] for one in enis) for kind in ("total", "assigned", "cooling", "free")
    }
    sums["pending"] = sum(one.count for one in desk.makings())
    samples = [(f'{{state="{kind}"}}', float(number)) for kind, number in sums.items()]
    yield from figure("vpc_addresses", "Addresses for pods.", samples)
    states = Counter(one["state"] for one in enis)
    states["pending"] = len(desk.makings())
    samples = [(f'{{state="{kind}"}}', float(number)) for kind, number in sorted(states.items())]
    yield from figure("vpc_enis", "Network interfaces of this node.", samples)
    most = desk.limits.enis if desk.limits else 0
    yield from figure("vpc_enis_max", "Network interfaces that it can have.", [("", most)])
    short = planned.short if planned else 0
    yield from figure("vpc_short", "Addresses that the targets ask for.", [("", short)])
    yield from figure("vpc_waiting", "ADDs that wait now.", [("", desk.ledger.waiting)])
    count = float(len(list(alarms(desk))))
    yield from figure("vpc_alarms", "What the pool complains of.", [("", count)])


def _calls(tally: Counter[tuple[str, str]]) -> Iterator[str]:
    each = sorted(tally.items())
    calls = [(f'{{call="{name}",refused="{kind}"}}', float(n)) for (name, kind), n in each]
    yield from figure("vpc_calls_total", "Calls of the cloud.", calls, "counter")
    throttled = sum(n for (_, kind), n in each if kind == "throttled")
    yield from figure("vpc_throttled_total", "Those throttled.", [("", throttled)], "counter")
