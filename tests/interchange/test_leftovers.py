"""Our DEL removes what the reference left for that attachment, and nothing else."""

from dataclasses import dataclass

import pytest

from tests import lab, networks
from tests.interchange import sides, state
from tests.interchange.conflists import CHAINS, EVERYTHING, add, assert_traffic
from tests.interchange.shapes import Attached, rules_with
from tests.interchange.sides import Network, Side


@dataclass(frozen=True)
class Form:
    """How a DEL comes: with or without the namespace, and what the runtime has kept."""

    netns: bool = True
    netns_ended: bool = False
    result: bool = True
    forget: bool = False


FORMS = {
    "after the namespace": Form(netns=False, netns_ended=True),
    "without netns": Form(netns=False),
    "without prevResult": Form(result=False),
    "with the name only": Form(netns=False, forget=True),
}
ANOTHER = Network(EVERYTHING.interface, (networks.mapping(9090), networks.mapping(9091, 53, "udp")))
LONG = "4a" * 32  # a container ID as containerd makes it: comments are cut


@pytest.mark.parametrize(
    ("theirs", "form"),
    [
        *(pytest.param("nft", form, id=name) for name, form in FORMS.items()),
        pytest.param("legacy", FORMS["with the name only"], id="legacy iptables"),
    ],
    indirect=["theirs"],
)
def test_the_deleted_container_loses_its_rules_and_the_other_keeps_its_own(
    ours: Side, theirs: Side, form: Form
) -> None:
    stays = add(theirs, EVERYTHING, "stays")
    before = state.firewall() | state.leases()
    goes = add(theirs, ANOTHER, "goes")
    given = {} if form.netns else {"netns": ""}
    if form.netns_ended:
        lab.run("ip netns del goes")

    for _ in ("first", "again"):
        result = goes if form.result else None
        assert ours.delete(ANOTHER, "goes", result, forget=form.forget, **given) == []

    assert state.firewall() | state.leases() == before
    assert ours.check(EVERYTHING, "stays", stays) == []
    assert_traffic(EVERYTHING, stays, "stays")


@pytest.mark.parametrize(
    ("theirs", "chain", "programs"),
    [
        ("nft", "dual stack with everything", set()),
        ("legacy", "routed", set()),
        ("legacy", "masqueraded", {"iptables-legacy"}),
        ("legacy", "dual stack with everything", {"iptables-legacy", "ip6tables-legacy"}),
    ],
    indirect=["theirs"],
    ids=["iptables-nft", "no firewall", "IPv4 nat table", "both nat tables"],
)
def test_a_firewall_program_is_executed_for_a_legacy_nat_table_only(
    ours: Side, theirs: Side, chain: str, programs: set[str]
) -> None:
    network = CHAINS[chain]
    result = add(theirs, network)

    ours.check(network, "pod", result)
    ours.delete(network, "pod", result)
    ours.delete(network, "another", add(ours, network, "another"))

    assert state.legacy_programs() == programs
    assert sides.executed() == programs


def test_masquerading_of_newer_releases_is_removed_for_that_attachment_only(ours: Side) -> None:
    network = Network(networks.ptp(ipMasq=True, name="unit-test"))
    gone = Attached("unit-test", "one")
    kept = [
        Attached("unit-test", "one", ifname="net1"),
        Attached("unit-test", "one1"),
        Attached("another", "one"),
        Attached("unit-test", LONG),
    ]
    for number, one in enumerate([kept[0], gone, *kept[1:]], start=2):
        Attached(one.network, one.container_id, one.ifname, number).masquerade()
    assert len(rules_with("6fd94d501e58f0aa-287fc69eff0574a2,")) == 2

    ours.delete(network, "one", netns="")

    assert rules_with(gone.comment) == []
    assert [len(rules_with(f'"{one.comment}"')) for one in kept] == [2, 2, 2, 2]
    ours.delete(network, LONG, netns="")
    assert rules_with("id: 4a") == []
    assert len(rules_with("goto masq_checks")) == 1
    assert sides.executed() == set()


def test_host_ports_of_newer_releases_are_removed_for_that_container_only(ours: Side) -> None:
    for number, container_id in enumerate(("pod", "pod-1", "a-pod", LONG), start=2):
        Attached("kindnet", container_id, number=number).map_ports()
    before = lab.run("nft list ruleset").splitlines()

    ours.delete(EVERYTHING, "pod", netns="")
    ours.delete(EVERYTHING, LONG, netns="", forget=True)

    gone = [line for line in before if '"pod"' in line or LONG in line]
    assert len(gone) == 16
    assert lab.run("nft list ruleset").splitlines() == [one for one in before if one not in gone]
    assert sides.executed() == set()
