"""Many pods at once on one network: no duplicate address, no leak, no failure."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import lab, networks, packets
from tests.pods import elements, leases, veths

pytestmark = pytest.mark.usefixtures("host")
PODS = [f"pod{number}" for number in range(50)]
AT_ONCE = 16


SUBNETS = ("10.244.0.0/24", "fd00:10:244::/64")
NETWORKS = {
    "ptp": networks.ptp(*SUBNETS, ipMasq=True),
    "bridge": networks.bridge(*SUBNETS, ipMasq=True, isGateway=True, macspoofchk=True),
}
BOTH = pytest.mark.parametrize("conf", NETWORKS.values(), ids=NETWORKS)


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


@BOTH
def test_one_pod_added_by_many_at_once_is_added_once(frozen_bin: Path, conf: networks.Json) -> None:
    suite = lab.Suite(frozen_bin, imported=False)
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
