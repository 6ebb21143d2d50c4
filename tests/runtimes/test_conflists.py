"""Every conflist of the project, and those that others ship, as a kubelet runs them.

The runtime is containerd; CRI-O, nerdctl and Nomad, whose conflists these are too, are not run.
"""

import pytest

from tests import conflists, lab, packets
from tests.conflists import Conflist
from tests.runtimes.containerd import Containerd
from tests.runtimes.cri import HostPort
from tests.runtimes.node import (
    NODE,
    NODE_6,
    OUTSIDE,
    OUTSIDE_6,
    Node,
    Pod,
    rules_that_mention,
    traces,
)
from tests.runtimes.traffic import ask
from tests.vpc.agent import SECONDARY, Agent, listening, place

WEB = HostPort(18080, 80)
NODES = {4: (NODE, OUTSIDE), 6: (NODE_6, OUTSIDE_6)}
ALL = conflists.own() | conflists.shipped()
VPC = conflists.of_vpc()


@pytest.fixture(params=ALL.values(), ids=list(ALL))
def conflist(request: pytest.FixtureRequest, node: Node) -> Conflist:
    """Return a conflist that is the node's network."""
    found: Conflist = request.param
    node.install(found.path)
    return found


def test_pods_reach_what_the_conflist_promises_and_leave_nothing_but_the_bridge(
    conflist: Conflist, containerd: Containerd
) -> None:
    before = traces()
    ports = [WEB] if "portmap" in conflist.types else []
    first, second = containerd.run_sandbox("a", ports), containerd.run_sandbox("b")

    assert containerd.cri.addresses(first.id) == conflist.pod_addresses(1)
    assert_traffic(conflist, first, second)
    containerd.remove_sandbox(first.id)
    containerd.remove_sandbox(second.id)

    words = (first.id, *first.addresses, second.id, *second.addresses)
    assert rules_that_mention(WEB.host, *words) == []
    bridge = conflist.interface.get("bridge")
    assert {one for one in traces() - before if one.split()[-1] != bridge} == set()


def assert_traffic(conflist: Conflist, first: Pod, second: Pod) -> None:
    """Fail unless the pods, the node and the outside reach each other; WEB is the first pod's."""
    for ours, theirs, gateway in zip(
        first.addresses, second.addresses, conflist.gateways, strict=True
    ):
        node, outside = NODES[6 if ":" in ours else 4]
        assert ask(theirs, netns=first.netns) == ours
        assert ask(ours) == gateway
        if conflist.interface["ipMasq"]:
            assert packets.seen_from(first.netns, "outside", (outside, 80)) == node
        if "portmap" in conflist.types:
            assert ask(node, WEB.host, netns="outside") == outside
            ask(node, WEB.host, netns=second.netns)
            if conflist.reflects:
                ask(node, WEB.host, netns=first.netns)


@pytest.mark.parametrize("name", VPC)
def test_pods_of_a_vpc_have_the_addresses_that_the_agent_gives(
    name: str, node: Node, containerd: Containerd
) -> None:
    conflist = VPC[name]
    node.install(conflist.path)
    given = [place(conflist.pod_addresses(number)[0], SECONDARY) for number in (1, 2)]
    before, rules = traces(), lab.run("ip rule")
    with listening(Agent(given)) as agent:
        first, second = containerd.run_sandbox("a", [WEB]), containerd.run_sandbox("b")

        assert containerd.cri.addresses(first.id) == conflist.pod_addresses(1)
        assert ask(second.address, netns=first.netns) == first.address
        assert ask(first.address) == NODE
        assert ask(NODE, WEB.host, netns="outside") == OUTSIDE
        containerd.remove_sandbox(first.id)
    containerd.remove_sandbox(second.id)

    assert (traces(), lab.run("ip rule")) == (before, rules)
    assert agent.addresses() == set()
