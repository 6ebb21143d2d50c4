"""ADD fails, or is killed, at any line: nothing is left, or DEL finds all of it.

The lines are those of the plugin and of what it calls to make the attachment; an exception
between two lines of one kernel request or one lease is SIGKILL's business.
"""

import json
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import ipam.aws_vpc_ipam
import ipam.host_local
import plugins.aws_vpc
import plugins.bridge
import plugins.ptp
from cni import veth
from cni.kernel import firewall, leftovers, netns
from tests import faults, lab, networks
from tests.networks import Json
from tests.pods import add, elements, leases, verb, veths
from tests.vpc.agent import SECONDARY, Agent, listening, place

LOADED = (  # once, not per child
    plugins.aws_vpc,
    plugins.bridge,
    plugins.ptp,
    ipam.aws_vpc_ipam,
    ipam.host_local,
    firewall,
    leftovers,
)
pytestmark = pytest.mark.usefixtures("host")
FILES = {  # what both go through is stopped in ptp
    "ptp": ("cni/routed.py", "cni/veth.py", "cni/pod.py", "cni/masquerade.py"),
    "bridge": (
        "plugins/bridge.py",
        "cni/bridge.py",
        "cni/gateways.py",
        "cni/vlan.py",
        "cni/macspoof.py",
    ),
    "aws-vpc": (
        "plugins/aws_vpc.py",
        "cni/vpc/pods.py",
        "cni/vpc/client.py",
        "cni/vpc/released.py",
        "ipam/aws_vpc_ipam.py",
    ),
}
KERNEL = {  # what makes several requests of one step
    "ptp": ("cni/kernel/firewall.py",),
    "bridge": (),
    "aws-vpc": ("cni/kernel/firewall.py", "cni/kernel/rule.py"),
}
SUBNETS = ("10.244.0.0/24", "fd00:10:244::/64")
NETWORKS = {
    "ptp": networks.ptp(*SUBNETS, ipMasq=True),
    "bridge": networks.bridge(*SUBNETS, ipMasq=True, isDefaultGateway=True, macspoofchk=True),
    "aws-vpc": {
        "cniVersion": "1.1.0",
        "name": "vpc",
        "type": "aws-vpc",
        "ipam": {"type": "aws-vpc-ipam"},
    },
}
ALL = pytest.mark.parametrize("conf", NETWORKS.values(), ids=NETWORKS)


@pytest.fixture(autouse=True)
def pool(host: None) -> Iterator[Agent]:  # noqa: ARG001  # where it listens
    """Have addresses of the VPC for who asks."""
    numbers = (23, 24, 25)
    places = [place(f"10.0.1.{one}", SECONDARY, ipv6=[f"fd00::{one}"]) for one in numbers]
    with listening(Agent(places)) as agent:
        yield agent


def stopped(
    suite: lab.Suite,
    conf: Json,
    count: int,
    action: Callable[[], object],
    more: tuple[str, ...] = (),
    verb: str = "ADD",
) -> lab.Reply:
    """Run ADD up to the `count`-th line of the plugin's files and of `more`."""
    given = {"netns": lab.netns_path("pod"), "containerid": "pod", "verb": verb}
    program, text = conf["type"], json.dumps(conf).encode()
    files = (*FILES[program], *more)
    return faults.call_stopped(suite, program, text, count, files, action, **given)


def left(pool: Agent) -> tuple[object, ...]:
    """Return what an attachment leaves behind: host, leases, firewall, container."""
    return *outside(pool), lab.run("ip -br link show type veth", netns="pod")


def outside(pool: Agent) -> tuple[object, ...]:
    """Return what it leaves behind outside of the container."""
    routes = lab.run("ip route").replace(" linkdown", "")  # the kernel hears of a carrier late
    rules = lab.run("ip rule"), lab.run("ip -6 rule"), routes
    return veths(), leases(), pool.addresses(), elements(), rules


def bridges() -> str:
    """Return the bridges that there are, with their addresses."""
    return lab.run("ip -br addr show type bridge scope global")


@ALL
def test_an_add_that_fails_at_any_line_leaves_nothing(
    imported: lab.Suite, pool: Agent, conf: Json
) -> None:
    """Nor does a bridge stay that it made."""
    lab.add_netns("pod")
    before = (*left(pool), bridges())
    lines = 0

    for count in range(1, faults.LIMIT):
        reply = stopped(imported, conf, count, faults.fail)
        if reply.exit == 0:
            lines = count
            break
        assert "injected" in reply.stdout, reply.stderr
        assert (*left(pool), bridges()) == before, f"after {count} lines"

    assert lines > 100
    verb(imported, "DEL", conf).ok()


def meet(suite: lab.Suite, conf: Json, *files: str, before: str = "", step: int = 1) -> int:
    """Let one ADD come at each line of `files` in another; return how many lines there are.

    `before` is done first each time.  Both must succeed.  `step` is how many lines are gone on.
    """
    given = {"netns": lab.netns_path("pod"), "containerid": "pod"}
    text, action = json.dumps(conf).encode(), partial(come, suite, conf, shared=bool(before))
    for pod in ("pod", "other"):
        lab.add_netns(pod)
    for count in range(1, faults.LIMIT, step):
        lab.run(f"sh -c '{before}'")
        reply = faults.call_stopped(suite, "bridge", text, count, files, action, **given)
        verb(suite, "CHECK", conf | {"prevResult": reply.ok().json}).ok()
        if "eth0" not in lab.run("ip link", netns="other"):  # nobody came: there are no more lines
            return count - 1
        for pod in ("pod", "other"):
            verb(suite, "DEL", conf, pod).ok()
        lab.run("ip link del cni0")
    return 0


def come(suite: lab.Suite, conf: Json, *, shared: bool) -> None:
    """Be another ADD.

    Fail where it could take away a bridge that is not `shared` yet, by failing after making it.
    """
    with netns.alone() as alone:
        unused = lab.ip("link show type bridge") and not veths()
    if alone and unused and not shared:
        faults.fail()
    verb(suite, "ADD", conf, "other").ok()


def test_two_adds_make_one_bridge_wherever_they_meet(imported: lab.Suite) -> None:
    conf = networks.bridge(*SUBNETS, isGateway=True)

    assert meet(imported, conf, "cni/bridge.py", "cni/gateways.py") > 30


def test_two_adds_replace_one_address_wherever_they_meet(imported: lab.Suite) -> None:
    conf = networks.bridge(*SUBNETS, isGateway=True, forceAddress=True)
    other = "ip link add cni0 type bridge && ip address add 10.9.9.1/24 dev cni0"

    assert meet(imported, conf, "cni/gateways.py", before=other) > 10


@ALL
def test_an_add_that_is_killed_at_any_line_is_cleaned_by_del(
    imported: lab.Suite, pool: Agent, conf: Json
) -> None:
    lab.add_netns("pod")
    add(imported, conf, "other")
    before = left(pool)
    lines = 0

    for count in range(1, faults.LIMIT):
        if stopped(imported, conf, count, faults.kill, KERNEL[conf["type"]]).exit == 0:
            lines = count
            break
        verb(imported, "DEL", conf).ok()
        assert left(pool) == before, f"killed after {count} lines"

    assert lines > 100
    verb(imported, "DEL", conf).ok()


@ALL
def test_a_del_that_is_killed_at_any_line_is_finished_by_the_next(
    imported: lab.Suite, pool: Agent, conf: Json
) -> None:
    lab.add_netns("pod")
    add(imported, conf, "other")
    before = left(pool)
    finished = False

    for count in range(1, faults.LIMIT, 2):
        add(imported, conf)
        finished = (
            stopped(imported, conf, count, faults.kill, KERNEL[conf["type"]], "DEL").exit == 0
        )
        verb(imported, "DEL", conf).ok()
        assert left(pool) == before, f"killed after {count} lines"
        if finished:
            break

    assert finished


@ALL
def test_a_killed_add_is_cleaned_by_gc_after_the_container_is_gone(
    imported: lab.Suite, pool: Agent, conf: Json
) -> None:
    add(imported, conf, "other")
    before = outside(pool)

    for count in range(1, faults.LIMIT, 7):
        lab.add_netns("pod")
        if stopped(imported, conf, count, faults.kill).exit == 0:
            break
        lab.run("ip netns del pod")
        imported.call(conf["type"], "GC", networks.gc(conf, ("other", "eth0"))).ok()
        assert outside(pool) == before, f"killed after {count} lines"


def test_a_repair_that_is_killed_at_any_line_is_done_by_the_next_add(imported: lab.Suite) -> None:
    """A bridge that was deleted under its pods is made again, and they become its ports."""
    conf = networks.bridge(*SUBNETS, isDefaultGateway=True)
    checked = conf | {"prevResult": add(imported, conf, "one")}
    lab.add_netns("pod")
    finished = False

    for count in range(1, faults.LIMIT, 5):
        lab.run("ip link del cni0")
        finished = stopped(imported, conf, count, faults.kill, ("cni/bridge.py",)).exit == 0
        if finished:
            break
        add(imported, conf, "next")
        verb(imported, "CHECK", checked, "one").ok()
        for pod in ("pod", "next"):
            verb(imported, "DEL", conf, pod).ok()

    assert finished


def test_a_pod_may_go_at_any_line_while_its_bridge_is_made_again(imported: lab.Suite) -> None:
    conf = networks.bridge()
    lab.add_netns("pod")

    for count in range(1, 50, 3):
        add(imported, conf, "one")
        (veth,) = veths()
        lab.run("ip link del cni0")
        stopped(
            imported, conf, count, partial(lab.run, f"ip link del {veth}"), ("cni/bridge.py",)
        ).ok()
        for pod in ("one", "pod"):
            verb(imported, "DEL", conf, pod).ok()


def _be_stopped_twice() -> None:
    """Let a signal come when the pair is there, and another one when it is to go again."""
    for name in ("get", "delete"):
        setattr(veth, name, _signalled(getattr(veth, name)))


def _signalled(step: Callable[..., object]) -> Callable[..., object]:
    def run(*given: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return step(*given)

    return run


def test_a_second_signal_does_not_stop_the_undo(imported: lab.Suite) -> None:
    """An operator presses Ctrl-C twice; a runtime that loses patience asks, then hangs up."""
    environment = imported.environment("ADD", netns=lab.add_netns("pod"))
    text = json.dumps(networks.ptp()).encode()

    program = imported.bin_dir / "ptp"
    reply = lab.run_forked(program, environment, text, _be_stopped_twice).failed(999)

    assert reply.json["msg"] == "stopped by a signal"
    assert (veths(), leases()) == ([], set())
