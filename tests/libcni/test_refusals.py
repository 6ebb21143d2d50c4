"""What a program refuses reaches the user of the reference runtime library word for word."""

from typing import Any

import pytest

from cni.errors import Code
from tests import lab
from tests.libcni import networks
from tests.libcni.runtimes import Libcni, Pod

pytestmark = pytest.mark.usefixtures("host")


def ranged(subnet: str) -> Any:
    """Return kindnet's list over another range."""
    conflist = networks.kindnet("1.0.0")
    conflist["plugins"][0]["ipam"]["ranges"] = [[{"subnet": subnet}]]
    return conflist


def without_ipam() -> Any:
    """Return kindnet's list with nothing to ask for an address."""
    conflist = networks.kindnet("1.0.0")
    del conflist["plugins"][0]["ipam"]
    return conflist


def said_directly(libcni: Libcni, conflist: Any, pod: Pod) -> Any:
    """Run the list's first program as libcni does; return its code, msg and details."""
    conf = {
        **conflist["plugins"][0],
        "name": conflist["name"],
        "cniVersion": conflist["cniVersion"],
    }
    suite = lab.Suite(libcni.bin_dirs[0], imported=False)
    given = {"netns": pod.netns, "containerid": pod.container_id, "args": pod.args}
    error = suite.call(conf["type"], "ADD", conf, **given).json
    return {key: error[key] for key in ("code", "msg", "details") if error.get(key)}


def assert_refused(libcni: Libcni, conflist: Any, pod: Pod, code: Code) -> Any:
    """ADD fails with `code`, changes nothing, and libcni decodes just what the program says."""
    before = networks.traces(pod.container_id)

    reply = libcni.call("add", conflist, pod).failed(code).json

    direct = said_directly(libcni, conflist, pod)
    text = f"{direct['msg']}; {direct['details']}" if "details" in direct else direct["msg"]
    assert {key: reply[key] for key in ("code", "msg", "details") if key in reply} == direct
    assert reply["error"] == f'plugin type="ptp" failed (add): {text}'
    assert networks.traces(pod.container_id) == before
    return direct


@pytest.mark.parametrize(
    ("conflist", "netns", "args", "code"),
    [
        (networks.kindnet("9.9.9"), "", "", Code.INCOMPATIBLE_VERSION),
        (networks.kindnet("1.0.0"), "/proc/self/ns/net", "", Code.INVALID_NETNS),
        (ranged("10.9.0.7/24"), "", "", Code.INVALID_CONFIG),
        (without_ipam(), "", "", Code.INVALID_CONFIG),
        (networks.kindnet("1.0.0"), "", "NO_SUCH_KEY=1", Code.INVALID_ENVIRONMENT),
    ],
    ids=["unknown version", "netns of the host", "range with host bits", "no ipam", "unknown args"],
)
def test_refusal_survives_libcni(
    libcni: Libcni, conflist: Any, netns: str, args: str, code: Code
) -> None:
    pod = Pod(netns or lab.add_netns("pod"), args=args)

    assert_refused(libcni, conflist, pod, code)


def test_refusal_of_a_second_add_survives_libcni(libcni: Libcni) -> None:
    pod = Pod(lab.add_netns("pod"))
    libcni.add(networks.kindnet("1.0.0"), pod)

    assert_refused(libcni, networks.kindnet("1.0.0"), pod, Code.ALREADY_ATTACHED)


def test_refusal_of_a_full_range_survives_libcni(libcni: Libcni) -> None:
    """A /30 has the gateway and one address for a pod."""
    first, second = Pod(lab.add_netns("one")), Pod(lab.add_netns("two"), container_id="pod-2")
    libcni.add(ranged("10.9.0.0/30"), first)

    assert_refused(libcni, ranged("10.9.0.0/30"), second, Code.EXHAUSTED)


def test_details_survive_libcni(libcni: Libcni) -> None:
    pod = Pod(lab.add_netns("pod"))

    refusal = assert_refused(libcni, networks.kindnet("9.9.9"), pod, Code.INCOMPATIBLE_VERSION)

    assert "9.9.9" in refusal["details"]
    assert "1.1.0" in refusal["details"]
