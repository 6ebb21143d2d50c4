"""Our CHECK takes the reference's rules for ours: content with them, and not without them."""

from itertools import product
from pathlib import Path

import pytest

from tests import lab
from tests.interchange.conflists import CHAINS, EVERYTHING, add
from tests.interchange.shapes import Attached
from tests.interchange.sides import FAMILIES, Side

# the reference's digests of network "kindnet" and container "pod"
CHAIN_OF = {"ptp": "CNI-19418d774a09668c1abdd3a7", "portmap": "CNI-DN-19418d774a09668c1abdd"}


@pytest.mark.parametrize("theirs", ["nft", "legacy"], indirect=True)
def test_a_missing_rule_of_theirs_is_noticed(
    ours: Side, theirs: Side, subtests: pytest.Subtests
) -> None:
    network = CHAINS["dual stack with everything"]
    links = network.links(add(theirs, network))

    for family, (program, conf) in product(FAMILIES, links):
        tool = Path(theirs.path.split(":")[0], family)
        saved = lab.run(f"{tool}-save -t nat")
        for words in (f"-j {CHAIN_OF[program]}", f"-A {CHAIN_OF[program]} "):
            rest = [line for line in saved.splitlines() if words not in line]
            with subtests.test(f"{family} without {words}"):
                lab.run(f"{tool}-restore", stdin="\n".join([*rest, ""]))
                reply = ours.call(program, "CHECK", conf, "pod")
                assert reply.exit == 1
                assert "incomplete" in reply.json["msg"]
        lab.run(f"{tool}-restore", stdin=saved)
        ours.call(program, "CHECK", conf, "pod").ok()


NEWER = {
    "masquerading": ["inet cni_plugins_masquerade masq_checks"],
    "host ports": ["ip cni_hostport hostports", "ip cni_hostport hostip_hostports"],
}


@pytest.mark.parametrize("chains", NEWER.values(), ids=NEWER)
def test_missing_rules_of_newer_releases_are_noticed(
    ours: Side, theirs: Side, chains: list[str]
) -> None:
    result = add(theirs, CHAINS["routed"])
    attached = Attached("kindnet", "pod")
    attached.masquerade()
    attached.map_ports()
    assert ours.check(EVERYTHING, "pod", result) == []

    for chain in chains:
        lab.run(f"nft flush chain {chain}")

    (complaint,) = ours.check(EVERYTHING, "pod", result)
    assert "incomplete" in complaint
