"""Their DEL knows nothing of our nf_tables elements: what happens to those it leaves."""

from tests import networks, packets
from tests.interchange import state
from tests.interchange.conflists import (
    CHAINS,
    EVERYTHING,
    NODE,
    OUTSIDE,
    PORTS,
    add,
    assert_traffic,
    ptp,
    seen_through,
)
from tests.interchange.sides import Network, Side
from tests.pods import elements

ONE_ADDRESS = Network(ptp("10.244.0.0/30", ipMasq=True), PORTS)


def leave(ours: Side, theirs: Side, network: Network, pod: str) -> None:
    """Attach `pod` by us and delete it by them; its namespace, without links, lives on."""
    result = add(ours, network, pod)
    assert_traffic(network, result, pod)
    for _ in ("complains of a chain of its own", "finds nothing any more"):
        theirs.delete(network, pod, result)
    assert f"kindnet/{pod}/eth0" in elements()
    assert state.leases() == {}


def test_an_address_and_its_ports_go_to_the_next_pod(ours: Side, theirs: Side) -> None:
    leave(ours, theirs, ONE_ADDRESS, "old")

    result = add(ours, ONE_ADDRESS, "new")

    assert result["ips"][0]["address"] == "10.244.0.2/30"
    assert_traffic(ONE_ADDRESS, result, "new")
    assert "kindnet/old/" not in elements()
    assert ours.check(ONE_ADDRESS, "new", result) == []
    assert ours.delete(ONE_ADDRESS, "old") == []  # late, and harmless
    assert_traffic(ONE_ADDRESS, result, "new")


def test_host_ports_go_to_the_next_pod_whatever_its_address(ours: Side, theirs: Side) -> None:
    leave(ours, theirs, EVERYTHING, "old")
    other_ports = tuple(one | {"containerPort": one["containerPort"] + 1000} for one in PORTS)
    network = Network(EVERYTHING.interface, other_ports)

    result = add(ours, network, "new")

    assert result["ips"][0]["address"] == "10.244.0.3/24"
    assert_traffic(network, result, "new")


def test_a_udp_client_that_goes_on_talking_reaches_the_next_pod(ours: Side, theirs: Side) -> None:
    """Its flow is tracked: without a fresh look at the rules it would go to the old address."""
    result = add(ours, EVERYTHING, "old")
    assert seen_through(PORTS[1], "old", source_port=5000) == OUTSIDE
    for _ in range(2):
        theirs.delete(EVERYTHING, "old", result)

    add(ours, EVERYTHING, "new")

    assert seen_through(PORTS[1], "new", source_port=5000) == OUTSIDE


def test_gc_removes_what_they_left_and_keeps_the_valid(ours: Side, theirs: Side) -> None:
    leave(ours, theirs, CHAINS["dual stack with everything"], "old")
    network = Network(EVERYTHING.interface, (networks.mapping(9090),))
    result = add(ours, network, "new")

    for program, conf in network.links(None):
        ours.call(program, "GC", networks.gc(conf, ("new", "eth0")), "new").ok()

    assert "kindnet/old/" not in elements()
    assert_traffic(network, result, "new")
    assert ours.check(network, "new", result) == []


def test_a_port_that_wants_no_snat_gets_none(ours: Side, theirs: Side) -> None:
    leave(ours, theirs, EVERYTHING, "old")
    result = add(ours, CHAINS["routed"], "new")
    client = add(ours, CHAINS["routed"], "client")["ips"][0]["address"].split("/")[0]
    conf = networks.portmap(result, PORTS[0], cniVersion="1.0.0", snat=False)

    ours.call("portmap", "ADD", conf, "new").ok()

    assert packets.seen_from("client", "new", (NODE, 8080), listen=80) == client
