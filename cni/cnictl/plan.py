"""How many addresses nodes and their subnet take, with the sums shown.

On AWS the pool of each node is carried out (ipam/aws_vpc/sizing.py).  On Azure a node has an
address for each pod that it may run from its first minute on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from typing import Any

from cni import document
from cni.cnictl.screen import Screen
from cni.config import Section
from cni.errors import CniError, Code
from ipam.aws_vpc import settings
from ipam.aws_vpc.limits import ON_HOST_NETWORK, InstanceType, Limits, find, limits_of
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.sizing import ENDS, RESERVED, NodeSize, Taken, node_size
from ipam.aws_vpc.state import PREFIX_SIZE
from ipam.aws_vpc.target import target_of

SMALLEST = {"AWS": 28, "Azure": 29}  # lengths of the prefix of subnets that can be had
LARGEST = 16
LENGTHS = range(8, 30)  # that are worth a look
AZURE_MAX_PODS = range(10, 251)


@dataclass(frozen=True)
class Question:
    """What is planned; `surge`: nodes more than that, while an upgrade replaces them."""

    nodes: int
    surge: int = 1
    instance_type: str = ""  # none: Azure
    max_pods: int | None = None
    subnet: int | None = None  # the length of its prefix
    limits: str = ""  # a file with the answer of DescribeInstanceTypes
    variables: tuple[str, ...] = ()  # NAME=VALUE, settings of the pool


@dataclass(frozen=True)
class Sum:
    """One line of the arithmetic."""

    what: str
    sum: str
    result: str


@dataclass(frozen=True)
class Answer:
    """What comes out, in addresses where it does not say otherwise."""

    cloud: str
    pods_per_node: int
    node_at_rest: int
    node_at_worst: int
    nodes: int  # while an upgrade goes on
    subnet_needs: int
    subnet_prefix: int | None  # the smallest that does; None: no subnet is that large
    nodes_that_fit: int | None  # in the subnet that was asked about, an upgrade's included
    sums: tuple[Sum, ...]

    def json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def subnet_length(text: str) -> int:
    """Return the length of the prefix in `10.0.0.0/22` or `/22`.  Raises CniError."""
    address, _, length = text.rpartition("/")
    try:
        found = IPv4Network(f"{address or '10.0.0.0'}/{length}", strict=False).prefixlen
    except ValueError:
        found = 0
    if found not in LENGTHS:
        msg = f"cannot use subnet {text[:100]!r}"
        raise CniError(Code.INVALID_CONFIG, msg, "write 10.0.0.0/22, or /22: from /8 to /29")
    return found


def answer(question: Question) -> Answer:
    """Return what is needed.  Raises CniError for what cannot be."""
    cloud, pods, rest, worst, lines = _aws(question) if question.instance_type else _azure(question)
    nodes = question.nodes + question.surge
    lines.append(Sum("nodes", f"{question.nodes} + {question.surge} in an upgrade", f"{nodes}"))
    needs = worst.needs(nodes)
    for what, one in {"at rest": rest.addresses, "at the worst": worst.addresses}.items():
        lines.append(Sum(f"all nodes {what}", f"{nodes} x {one}", f"{nodes * one}"))
    lines.append(_needed(worst, nodes, needs))
    length = min(32 - (needs - 1).bit_length(), SMALLEST[cloud])
    best = length if length >= LARGEST else None
    lines.append(_smallest(cloud, needs, best))
    fit = None
    if question.subnet is not None:
        fit = _fit(worst, question.subnet)
        lines += _subnet_lines(question.subnet, rest, worst, fit, nodes)
    return Answer(
        cloud, pods, rest.addresses, worst.addresses, nodes, needs, best, fit, tuple(lines)
    )


def _needed(worst: Taken, nodes: int, needs: int) -> Sum:
    if not worst.prefixes:
        whole = f"{nodes * worst.addresses} + {RESERVED} that the cloud keeps"
        return Sum("the subnet needs", whole, f"{needs}")
    prefixes = nodes * worst.prefixes
    others = nodes * (worst.enis + worst.singles) + RESERVED
    blocks = needs // PREFIX_SIZE - prefixes
    whole = f"({prefixes} + {blocks}) x 16: /28s for pods, and for {others} others"
    if blocks == ENDS:
        whole += ", in the first and the last, which are never whole"
    return Sum("the subnet needs", whole, f"{needs}")


def _smallest(cloud: str, needs: int, length: int | None) -> Sum:
    if length is None:
        largest = 1 << 32 - LARGEST
        return Sum("smallest subnet", f"{needs} > {largest}: none on {cloud}; use several", "-")
    return Sum("smallest subnet", f"{needs} <= {1 << 32 - length}", f"/{length}")


def _fit(one: Taken, length: int) -> int:
    """Return how many such nodes a subnet has room for."""
    nodes = (1 << 32 - length) // one.addresses  # at most
    while nodes and one.needs(nodes) > 1 << 32 - length:
        nodes -= 1
    return nodes


def _subnet_lines(length: int, rest: Taken, worst: Taken, fit: int, nodes: int) -> Iterator[Sum]:
    size = 1 << 32 - length
    yield Sum(f"a /{length} has", f"{size} - {RESERVED}", f"{size - RESERVED}")
    how = "in whole /28s" if worst.prefixes else f"{size - RESERVED} / {rest.addresses}"
    yield Sum("nodes that fit at rest", how, f"{_fit(rest, length)}")
    how = "in whole /28s" if worst.prefixes else f"{size - RESERVED} / {worst.addresses}"
    verdict = "enough" if fit >= nodes else f"too few, {nodes} are wanted"
    yield Sum("nodes that fit at the worst", f"{how}: {verdict}", f"{fit}")


# AWS

_Parts = tuple[str, int, Taken, Taken, list[Sum]]


def _aws(question: Question) -> _Parts:
    wanted = settings.read(_variables(question.variables))
    described = None
    if question.limits:
        read = document.read(question.limits, "limits")
        described = Section({question.limits: read}).section(question.limits).values
    instance = find(question.instance_type, described)
    limits = limits_of(instance, wanted, question.max_pods)
    size = node_size(wanted, limits)
    return "AWS", size.pods, size.rest, size.worst, list(_aws_lines(instance, wanted, limits, size))


def _variables(pairs: Iterable[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in settings.NAMES:
            msg = f"cannot use {pair[:100]!r}"
            raise CniError(Code.INVALID_ENVIRONMENT, msg, f"known are {', '.join(settings.NAMES)}")
        found[name] = value
    return found


def _aws_lines(
    instance: InstanceType, wanted: Settings, limits: Limits, size: NodeSize
) -> Iterator[Sum]:
    most = limits.enis * limits.slots * (PREFIX_SIZE if limits.prefixes else 1)
    product = f"{limits.enis} ENIs x ({instance.addresses} - 1)"
    if limits.prefixes:
        product = f"{product} x 16 of a /28"
    if most > limits.max_pods:
        product = f"{product} = {most}; the kubelet takes {limits.max_pods}"
    yield Sum("pods of a node", product, f"{size.pods}")
    if size.pods == most:
        advised = most + ON_HOST_NETWORK
        said = f"{most} + {ON_HOST_NETWORK} on the host's network"
        if limits.max_pods > advised:
            said += f"; {limits.max_pods} is more than can have an address"
        yield Sum("maxPods of the kubelet", said, f"{advised}")
    if limits.note:
        yield Sum("note", limits.note, "")
    target = target_of(wanted, limits).why
    yield Sum("a node at rest", f"{_parts(size.rest)}: {target}", f"{size.rest.addresses}")
    yield Sum(f"with {size.pods} pods", _parts(size.full), f"{size.full.addresses}")
    what = f"all of them replaced within {wanted.cooldown} s"
    yield Sum(what, _parts(size.replaced), f"{size.replaced.addresses}")


def _parts(taken: Taken) -> str:
    said = f"{taken.enis} ENI{'s' * (taken.enis > 1)}"
    if taken.singles:
        said += f" + {taken.singles} for pods"
    if taken.prefixes:
        said += f" + {taken.prefixes} x 16 for pods"
    return said


# Azure


def _azure(question: Question) -> _Parts:
    pods = question.max_pods or 0
    if pods not in AZURE_MAX_PODS:
        msg = f"cannot plan nodes of {pods} pods"
        raise CniError(Code.INVALID_CONFIG, msg, "Azure takes 10 to 250; AWS needs the type too")
    if question.variables or question.limits:
        msg = "cannot use settings of the pool without an instance type"
        raise CniError(Code.INVALID_CONFIG, msg, "on Azure all addresses are there from the start")
    taken = Taken(1, pods, 0)
    lines = [
        Sum("pods of a node", "its maxPods", f"{pods}"),
        Sum("a node, always", f"1 of its own + {pods} for pods", f"{taken.addresses}"),
    ]
    return "Azure", pods, taken, taken, lines


def show(screen: Screen, found: Answer) -> None:
    """Print it."""
    rows = [(one.what, one.sum, one.result) for one in found.sums]
    screen.table(("ON " + found.cloud.upper(), "SUM", "ADDRESSES"), rows)
