"""The role masq and its table: compared with what ought to be, mended, and only its own."""

import os
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from cni.cluster import Cluster, Node
from cni.kernel import nft
from cni.kernel.clusterrules import TABLE
from tests import faults, lab, networks, pods
from tests.agent.masq import PROXY, apply, cluster, node, role


def table() -> str:
    return lab.run("nft -s list table inet pycni-node", check=False)


BREAK = {
    "the table is deleted": "delete table inet pycni-node",
    "all is flushed": "flush ruleset",
    "a chain is flushed": "flush chain inet pycni-node leaving4",
    "a chain is deleted": "flush chain inet pycni-node input\ndelete chain inet pycni-node input",
    "a rule is put before ours": "insert rule inet pycni-node postrouting accept",
    "a policy is another": "chain inet pycni-node input { policy drop; }",
    "a node is missing": "delete element inet pycni-node nodes4 { 172.18.0.3 }",
    "a node is too many": "add element inet pycni-node nodes6 { fc00::9 }",
    "a network is missing": "delete element inet pycni-node cluster4 { 10.244.0.0/16 }",
    "a network is too many": "add element inet pycni-node cluster6 { fd99::/32 }",
    "a set is flushed": "flush set inet pycni-node cluster6",
    "a rule is another": "replace rule inet pycni-node leaving4 handle HANDLE accept",
}
CIDRS = ["10.244.0.0/16", "fd00:244::/32"]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("way", BREAK)
def test_what_is_broken_is_mended(way: str) -> None:
    one = apply(clusterCIDRs=CIDRS)
    whole = table()
    last = lab.run("nft -a list chain inet pycni-node leaving4").split("# handle")[-1].split()[0]
    lab.run("nft -f -", stdin=BREAK[way].replace("HANDLE", last))
    assert table() != whole

    report = one.reconcile(cluster(2), full=True)

    assert report.repairs
    assert table() == whole
    assert one.reconcile(cluster(2), full=True).repairs == {}


@pytest.mark.usefixtures("host")
def test_an_agent_that_starts_again_finds_all_in_order() -> None:
    one = apply()
    whole = table()
    assert one.reconcile(cluster(2), full=False).repairs == {}

    assert role().reconcile(cluster(2), full=True).repairs == {}

    assert table() == whole


@pytest.mark.usefixtures("host")
def test_other_tables_stay_as_they_are() -> None:
    lab.run("nft -f -", stdin=PROXY)
    before = lab.run("nft list ruleset")

    apply()
    with nft.socket() as netlink:
        nft.commit(netlink, TABLE.delete())

    assert lab.run("nft list ruleset") == before


@pytest.mark.usefixtures("host")
def test_random_ports_can_be_switched_off() -> None:
    one = apply()
    assert table().count("fully-random") == 6

    one = role(masquerade={"fullyRandom": False})

    assert one.reconcile(cluster(2), full=True).repairs
    assert "fully-random" not in table()
    assert table().count("masquerade comment") == 6


@pytest.mark.usefixtures("host")
def test_wherever_the_agent_dies_the_table_is_the_old_one_or_the_new_one() -> None:
    one = apply()
    old = table()
    apply(overlay={"port": 4789})
    new = table()
    for count in range(1, faults.LIMIT, 11):
        one.reconcile(cluster(2), full=True)
        child = os.fork()
        if child == 0:
            try:
                faults.stop_at(count, ("cni/kernel/declared.py",), faults.kill)
                apply(overlay={"port": 4789})
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])

        assert table() in (old, new)
        if not killed:
            break
    assert table() == new
    assert count > 50, "it was not killed on the way"


@pytest.mark.usefixtures("host")
def test_thousands_of_nodes_are_one_transaction() -> None:
    addresses = [
        ip_address(f"172.{16 + i // 65536}.{i // 256 % 256}.{i % 256}") for i in range(6000)
    ]
    peers = tuple(
        Node(f"peer-{i}", (one,), (ip_network((int(ip_address("10.0.0.0")) + i * 512, 24)),))
        for i, one in enumerate(addresses)
    )
    one = role()

    whole = Cluster(node(1), peers, ())
    assert one.reconcile(whole, full=True).wanted > 18000
    assert one.reconcile(whole, full=True).repairs == {}
    fewer = Cluster(node(1), peers[1:], ())
    assert one.reconcile(fewer, full=False).repairs == {"element": 3}
    assert one.reconcile(fewer, full=True).repairs == {}


@pytest.mark.usefixtures("host")
def test_pods_that_their_network_masquerades_too_are_told_of(source_bin: Path) -> None:
    suite = lab.Suite(source_bin, imported=True)
    pods.add(suite, networks.ptp("10.99.0.0/24", ipMasq=True), pod="foreign")
    one = apply()
    assert one.reconcile(cluster(2), full=True).alarms == ()
    pods.add(suite, networks.ptp("10.244.1.0/24", ipMasq=True))

    (alarm,) = one.reconcile(cluster(2), full=True).alarms

    assert "1 addresses of pods, 10.244.1.2" in alarm
    assert "ipMasq" in alarm
