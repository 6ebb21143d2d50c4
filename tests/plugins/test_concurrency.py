"""Many pods at once on one network: no duplicate address, no leak, no failure."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import lab, networks, packets
from tests.pods import elements, leases, veths
from tests.vpc.agent import SECONDARY, Agent, listening, place

pytestmark = pytest.mark.usefixtures("host")
PODS = [f"pod{number}" for number in range(50)]
AT_ONCE = 16


SUBNETS = ("10.244.0.0/24", "fd00:10:244::/64")
NETWORKS = {
    "ptp": networks.ptp(*SUBNETS, ipMasq=True),
    "bridge": networks.bridge(*SUBNETS, ipMasq=True, isGateway=True, macspoofchk=True),
}
BOTH = pytest.mark.parametrize("conf", NETWORKS.values(), ids=NETWORKS)
VPC = {
    "cniVersion": "1.1.0",
    "name": "vpc",
    "type": "aws-vpc",
    "ipam": {"type": "aws-vpc-ipam"},
}


@pytest.fixture
def agent(host: None) -> Iterator[Agent]:  # noqa: ARG001
    """Have addresses on a secondary ENI for all pods."""
    places = [place(f"10.0.1.{23 + number}", SECONDARY) for number in range(len(PODS))]
    with listening(Agent(places)) as double:
        yield double


def call(suite: lab.Suite, conf: networks.Json, verb: str, pod: str, port: int) -> Any:
    """Run the chain of one pod: `conf` and portmap on ADD, the other way round on DEL."""
    given = {"netns": lab.netns_path(pod), "containerid": pod}
    if verb == "ADD":
        result = suite.call(conf["type"], verb, conf, **given).ok().json
        suite.call("portmap", verb, networks.portmap(result, networks.mapping(port)), **given).ok()
        return result
    suite.call("portmap", verb, networks.portmap(None), **given).ok()
    return suite.call(conf["type"], verb, conf, **given).ok()


@BOTH
def test_fifty_pods_sixteen_at_a_time(frozen_bin: Path, conf: networks.Json) -> None:
    """The bridge is not there when they begin."""
    suite = lab.Suite(frozen_bin, imported=False)
    for pod in PODS:
        lab.add_netns(pod)
    ports = range(8000, 8000 + len(PODS))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda pod, port: call(suite, conf, "ADD", pod, port), PODS, ports))

    addresses = {ip["address"] for result in results for ip in result["ips"]}
    assert len(addresses) == 2 * len(PODS)
    assert len(veths()) == len(PODS)
    assert elements().count("kindnet/") == len(PODS) * (8 if "macspoofchk" in conf else 6)
    sample = [ip["address"].split("/")[0] for ip in results[0]["ips"]]
    assert all(packets.reachable(PODS[-1], PODS[0], (address, 80)) for address in sample)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda pod, port: call(suite, conf, "DEL", pod, port), PODS, ports))
    assert (veths(), leases(), elements()) == ([], set(), "")


@pytest.mark.parametrize("duplicate", ["refuse", "reuse"])
@BOTH
def test_one_pod_added_by_many_at_once_is_added_once(
    frozen_bin: Path, conf: networks.Json, duplicate: str
) -> None:
    """Reusing, IPAM gives its address to all of them, and each that fails gives it back."""
    suite = lab.Suite(frozen_bin, imported=False)
    conf = conf | {"ipam": conf["ipam"] | {"onDuplicate": duplicate}}
    netns = lab.add_netns("pod")
    program = conf["type"]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        given = {"netns": netns, "containerid": "pod"}
        replies = list(
            pool.map(lambda _: suite.call(program, "ADD", conf, **given), range(AT_ONCE))
        )

    added = [reply for reply in replies if reply.exit == 0]
    assert len(added) == 1, [reply.stdout for reply in replies]
    assert {reply.json["code"] for reply in replies if reply.exit} <= {101, 104}
    suite.call(program, "CHECK", conf | {"prevResult": added[0].json}, **given).ok()
    assert leases() == {ip["address"].split("/")[0] for ip in added[0].json["ips"]}


def test_fifty_pods_of_a_vpc_have_each_their_own_rules(frozen_bin: Path, agent: Agent) -> None:
    suite = lab.Suite(frozen_bin, imported=False)
    before = lab.run("ip rule")
    for pod in PODS:
        lab.add_netns(pod)

    def run(verb: str, pod: str) -> lab.Reply:
        given = {"netns": lab.netns_path(pod), "containerid": pod}
        return suite.call("aws-vpc", verb, VPC, **given).ok()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [one.json for one in pool.map(lambda pod: run("ADD", pod), PODS)]

    addresses = {result["ips"][0]["address"].removesuffix("/32") for result in results}
    assert addresses == agent.addresses()
    assert len(addresses) == len(PODS)
    rules = lab.run("ip rule").split("\n")
    for address in addresses:
        assert sum(f" to {address} " in rule for rule in rules) == 1
        assert sum(f"from {address} lookup 2 " in rule for rule in rules) == 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda pod: run("DEL", pod), PODS))
    assert (veths(), elements(), lab.run("ip rule")) == ([], "", before)
    assert agent.addresses() == set()


def test_one_pod_of_a_vpc_added_by_many_at_once_keeps_its_address(
    frozen_bin: Path, agent: Agent
) -> None:
    """The agent would give it to all of them, and each that fails gives it back."""
    suite = lab.Suite(frozen_bin, imported=False)
    given = {"netns": lab.add_netns("pod"), "containerid": "pod"}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = pool.map(lambda _: suite.call("aws-vpc", "ADD", VPC, **given), range(AT_ONCE))
        replies = list(calls)

    (added,) = [reply for reply in replies if reply.exit == 0]
    assert {reply.json["code"] for reply in replies if reply.exit} <= {101, 104}
    suite.call("aws-vpc", "CHECK", VPC | {"prevResult": added.json}, **given).ok()
    assert len(agent.addresses()) == 1
