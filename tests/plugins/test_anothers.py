"""DEL takes the attachment's own, though others have the same names in the same container."""

import pytest

from tests import lab, networks
from tests.plugins.test_bridge import gateway
from tests.pods import add, addresses, veths

pytestmark = pytest.mark.usefixtures("host")
NETWORKS = {"ptp": networks.ptp(), "bridge": gateway()}


@pytest.mark.parametrize("conf", NETWORKS.values(), ids=NETWORKS)
def test_who_was_refused_for_an_interface_that_is_there_does_not_take_it_with_del(
    suite: lab.Suite, conf: networks.Json
) -> None:
    """A runtime answers a failed ADD with DEL."""
    add(suite, networks.ptp())
    second = conf | {"name": "second"}
    given = {"netns": lab.netns_path("pod"), "containerid": "pod"}
    suite.call(conf["type"], "ADD", second, **given).failed(101)

    suite.call(conf["type"], "DEL", second, **given).ok()

    assert addresses("pod", "eth0") == {"10.244.0.2/24"}


def test_a_late_del_of_the_container_before_leaves_its_successor_alone(suite: lab.Suite) -> None:
    """Under another ID, in a namespace of the same name."""
    conf = networks.ptp()
    add(suite, conf, containerid="now")

    given = {"netns": lab.netns_path("pod"), "containerid": "before"}
    suite.call("ptp", "DEL", conf, **given).ok()

    assert addresses("pod", "eth0") == {"10.244.0.2/24"}
    assert len(veths()) == 1


def test_a_pair_that_says_not_whose_it_is_goes_by_its_end_in_the_container(
    suite: lab.Suite,
) -> None:
    """As the reference plugins make them."""
    lab.add_netns("pod")
    lab.run("ip link add veth12345678 type veth peer name eth0 netns pod")

    given = {"netns": lab.netns_path("pod"), "containerid": "pod"}
    suite.call("ptp", "DEL", networks.ptp(), **given).ok()

    assert veths() == []
