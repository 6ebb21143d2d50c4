"""Many pods at once on one network: no duplicate address, no leak, no failure."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import lab, networks
from tests.pods import elements, leases, veths

pytestmark = pytest.mark.usefixtures("host")
PODS = [f"pod{number}" for number in range(50)]
AT_ONCE = 16


def call(suite: lab.Suite, verb: str, pod: str, port: int) -> Any:
    """Run the chain of one pod: ptp and portmap on ADD, the other way round on DEL."""
    given = {"netns": lab.netns_path(pod), "containerid": pod}
    conf = networks.ptp("10.244.0.0/24", "fd00:10:244::/64", ipMasq=True)
    if verb == "ADD":
        result = suite.call("ptp", verb, conf, **given).ok().json
        suite.call("portmap", verb, networks.portmap(result, networks.mapping(port)), **given).ok()
        return result
    suite.call("portmap", verb, networks.portmap(None), **given).ok()
    return suite.call("ptp", verb, conf, **given).ok()


def test_fifty_pods_sixteen_at_a_time(frozen_bin: Path) -> None:
    suite = lab.Suite(frozen_bin, imported=False)
    for pod in PODS:
        lab.add_netns(pod)
    ports = range(8000, 8000 + len(PODS))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda pod, port: call(suite, "ADD", pod, port), PODS, ports))

    addresses = {ip["address"] for result in results for ip in result["ips"]}
    assert len(addresses) == 2 * len(PODS)
    assert len(veths()) == len(PODS)
    assert elements().count("kindnet/") == 6 * len(PODS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda pod, port: call(suite, "DEL", pod, port), PODS, ports))
    assert (veths(), leases(), elements()) == ([], set(), "")


def test_one_pod_added_by_many_at_once_is_added_once(frozen_bin: Path) -> None:
    suite = lab.Suite(frozen_bin, imported=False)
    netns = lab.add_netns("pod")
    conf = networks.ptp(ipMasq=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        given = {"netns": netns, "containerid": "pod"}
        replies = list(pool.map(lambda _: suite.call("ptp", "ADD", conf, **given), range(AT_ONCE)))

    added = [reply for reply in replies if reply.exit == 0]
    assert len(added) == 1, [reply.stdout for reply in replies]
    assert {reply.json["code"] for reply in replies if reply.exit} <= {101, 104}
    suite.call("ptp", "CHECK", conf | {"prevResult": added[0].json}, **given).ok()
    assert leases() == {added[0].json["ips"][0]["address"].split("/")[0]}
