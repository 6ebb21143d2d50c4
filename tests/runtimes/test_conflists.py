"""Every conflist of the project, and those that others ship, as a kubelet runs them.

The runtimes are containerd and, where there is one, CRI-O; nerdctl and Nomad, whose conflists these
are too, are not run.
"""

import pytest

from tests import conflists, lab, packets
from tests.conflists import Conflist
from tests.runtimes.cri import HostPort
from tests.runtimes.node import (
    NODE,
    NODE_6,
    OUTSIDE,
    OUTSIDE_6,
    Pod,
    rules_that_mention,
    traces,
)
from tests.runtimes.runtime import Runtime
from tests.runtimes.traffic import ask
from tests.vpc.agent import SECONDARY, Agent, listening, place

WEB = HostPort(18080, 80)
NODES = {4: (NODE, OUTSIDE), 6: (NODE_6, OUTSIDE_6)}
ALL = conflists.own() | conflists.shipped()
VPC = conflists.of_vpc()


@pytest.mark.parametrize("conflist", ALL.values(), ids=list(ALL), indirect=True)
def test_pods_reach_what_the_conflist_promises_and_leave_nothing_but_the_bridge(
    conflist: Conflist, runtime: Runtime
) -> None:
    before = traces()
    ports = [WEB] if runtime.maps_ports or "portmap" in conflist.types else []
    first, second = runtime.run_sandbox("a", ports), runtime.run_sandbox("b")

    assert runtime.cri.addresses(first.id) == conflist.pod_addresses(1)
    assert_traffic(conflist, first, second)
    if ports:
        assert_port(first, second, reflects=conflist.reflects and not runtime.maps_ports)
    runtime.remove_sandbox(first.id)
    runtime.remove_sandbox(second.id)

    words = (first.id, *first.addresses, second.id, *second.addresses)
    assert rules_that_mention(WEB.host, *words) == []
    bridge = conflist.interface.get("bridge")
    assert {one for one in traces() - before if one.split()[-1] != bridge} == set()


def assert_traffic(conflist: Conflist, first: Pod, second: Pod) -> None:
    """Fail unless the pods, the node and the outside reach each other."""
    for ours, theirs, gateway in zip(
        first.addresses, second.addresses, conflist.gateways, strict=True
    ):
        node, outside = NODES[6 if ":" in ours else 4]
        assert ask(theirs, netns=first.netns) == ours
        assert ask(ours) == gateway
        if conflist.interface["ipMasq"]:
            assert packets.seen_from(first.netns, "outside", (outside, 80)) == node


def assert_port(pod: Pod, other: Pod, *, reflects: bool) -> None:
    """Fail unless WEB leads to `pod` from outside, from another pod and, if it `reflects`, itself.

    CRI-O's own port does not: it leaves the masquerading to a chain that a kubelet fills.
    """
    for address in pod.addresses:
        node, outside = NODES[6 if ":" in address else 4]
        assert ask(node, WEB.host, netns="outside") == outside
        ask(node, WEB.host, netns=other.netns)
        if reflects:
            ask(node, WEB.host, netns=pod.netns)


@pytest.mark.parametrize("conflist", VPC.values(), ids=list(VPC), indirect=True)
def test_pods_of_a_vpc_have_the_addresses_that_the_agent_gives(
    conflist: Conflist, runtime: Runtime
) -> None:
    given = [place(conflist.pod_addresses(number)[0], SECONDARY) for number in (1, 2)]
    before, rules = traces(), lab.run("ip rule")
    with listening(Agent(given)) as agent:
        first, second = runtime.run_sandbox("a", [WEB]), runtime.run_sandbox("b")

        assert runtime.cri.addresses(first.id) == conflist.pod_addresses(1)
        assert ask(second.address, netns=first.netns) == first.address
        assert ask(first.address) == NODE
        assert ask(NODE, WEB.host, netns="outside") == OUTSIDE
        runtime.remove_sandbox(first.id)
    runtime.remove_sandbox(second.id)

    assert (traces(), lab.run("ip rule")) == (before, rules)
    assert agent.addresses() == set()
