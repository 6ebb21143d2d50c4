"""Every key of every program, with values that it cannot have: refused by name, nothing done."""

import copy
from itertools import groupby
from typing import Any

import pytest

from tests import lab, snapshot
from tests.conformance.confs import NETNS, conf, prev_result, some

MASK = "10.1.2.0/255.255.255.0"
HUGE, INFINITE = 10**40, float("1e308")
NO_STRING: tuple[Any, ...] = (5, ["x"], True)
NO_TRUTH: tuple[Any, ...] = ("yes", 1, "")
NO_INTEGER: tuple[Any, ...] = ("5", 5.5, True, {})
NO_LIST: tuple[Any, ...] = ({"a": 1}, "x", 5)
NO_OBJECT: tuple[Any, ...] = (["x"], "x", 5)
NO_STRINGS = (*NO_LIST, [5], [None], [["x"]])
NO_OBJECTS = (*NO_LIST, [5], ["x"], [None], [[]])
NO_ADDRESS = (*NO_STRING, "10.1.2", "10.1.2.3/24", "10.1.2.256", "::1::", "fe80::1%eth0", "1\x00")
NO_CIDR = (
    *NO_STRING,
    "",
    None,
    "10.1.2.3",
    "10.1.2.0/33",
    "10.1.2/24",
    "/24",
    "::/129",
    "::%x/64",
    MASK,
)
NO_U32 = (*NO_INTEGER, -1, 1 << 32, HUGE, INFINITE)
NO_MAC = (*NO_STRING, "no", "0a:00:00:00:00", "01:00:00:00:00:01", "0a:00:00:00:00:0g")
NO_PATH = (*NO_STRING, "/run/\x00", "\ud800", "/run/" + "a" * 5000)

Keys = dict[str, tuple[Any, ...]]
DNS: Keys = {
    "dns": NO_OBJECT,
    "dns.nameservers": NO_STRINGS,
    "dns.domain": NO_STRING,
    "dns.search": NO_STRINGS,
    "dns.options": NO_STRINGS,
}
ROUTE: Keys = {
    "dst": NO_CIDR,
    "gw": NO_ADDRESS,
    "mtu": NO_U32,
    "advmss": NO_U32,
    "priority": NO_U32,
    "table": NO_U32,
    "scope": (*NO_INTEGER, -1, 256, HUGE),
}
RANGE: Keys = {
    "subnet": NO_CIDR,
    "rangeStart": NO_ADDRESS,
    "rangeEnd": NO_ADDRESS,
    "gateway": NO_ADDRESS,
}


def below(path: str, keys: Keys) -> Keys:
    """Return `keys` of the object at `path`."""
    return {f"{path}.{key}": values for key, values in keys.items()}


PREV_RESULT: Keys = {
    "prevResult": NO_OBJECT,
    "prevResult.cniVersion": NO_STRING,
    "prevResult.interfaces": NO_OBJECTS,
    "prevResult.interfaces.0.name": NO_STRING,
    "prevResult.interfaces.0.mac": NO_STRING,
    "prevResult.interfaces.0.mtu": NO_INTEGER,
    "prevResult.interfaces.0.sandbox": NO_STRING,
    "prevResult.interfaces.0.socketPath": NO_STRING,
    "prevResult.interfaces.0.pciID": NO_STRING,
    "prevResult.ips": NO_OBJECTS,
    "prevResult.ips.0.address": NO_CIDR,
    "prevResult.ips.0.gateway": NO_ADDRESS,
    "prevResult.ips.0.interface": NO_INTEGER,
    "prevResult.routes": NO_OBJECTS,
    "prevResult.routes.0.dst": NO_CIDR,
    "prevResult.routes.0.gw": NO_ADDRESS,
    **below("prevResult", DNS),
}
IPAM: Keys = {
    "ipam": NO_OBJECT,
    "ipam.dataDir": NO_PATH,
    "ipam.resolvConf": NO_STRING,
    "ipam.ranges": (*NO_LIST, [5], [{}], [[]], [[5]], [], None),
    "ipam.routes": NO_OBJECTS,
    **below("ipam", {"subnet": NO_STRING}),
    **below("ipam.ranges.0.0", RANGE),
    **below("ipam.routes.0", ROUTE),
    "args": NO_OBJECT,
    "args.cni": NO_OBJECT,
    "args.cni.ips": (*NO_STRINGS, ["x"], ["10.1.2.3/99"], [""]),
    "runtimeConfig": NO_OBJECT,
    "runtimeConfig.ips": (*NO_STRINGS, ["x"], ["10.1.2.3/99"], [""]),
    "runtimeConfig.ipRanges": (*NO_LIST, [5], [{}], [[]], [[5]]),
    **below("runtimeConfig.ipRanges.0.0", RANGE),
}
KEYS: dict[str, Keys] = {
    "loopback": PREV_RESULT,
    "host-local": IPAM,
    "ptp": {
        "ipMasq": NO_TRUTH,
        "ipMasqBackend": (*NO_STRING, "pf"),
        "mtu": (*NO_INTEGER, -1, 67, 65536, HUGE, INFINITE),
        "ipam.type": (*NO_STRING, "", None, "../../bin/sh", "/bin/sh", "..", "no-such", "a\x00"),
        **DNS,
        **{path: values[-2:] for path, values in IPAM.items()},
    },
    "vxlan": {
        "mode": (*NO_STRING, "ipip"),
        "vni": (*NO_INTEGER, 0, -1, 1 << 24, HUGE, INFINITE),
        "port": (*NO_INTEGER, 0, -1, 65536, HUGE),
        "device": (*NO_STRING, "a/b", "fifteen-letters"),
        "mtu": (*NO_INTEGER, -1, 1279, 65536, HUGE),
        "nodeName": NO_STRING,
        "clusterCIDRs": (*NO_STRINGS, ["x"], ["10.1.2.3/99"]),
        "peersFile": NO_STRING,
        "peers": (*NO_LIST, [5]),
        "peers.0.name": (*NO_STRING, "", "a/b", None),
        "peers.0.addresses": (*NO_STRINGS, ["x"], ["127.0.0.1"], ["10.0.0.1", "10.0.0.2"]),
        "peers.0.podCIDRs": (*NO_STRINGS, ["x"], ["10.1.2.3/99"]),
    },
    "bridge": {
        "bridge": (*NO_STRING, "", "a/b", "a b", ".", "a" * 16),
        **dict.fromkeys(("isGateway", "isDefaultGateway", "forceAddress"), NO_TRUTH),
        **dict.fromkeys(("hairpinMode", "promiscMode", "portIsolation"), NO_TRUTH),
        **dict.fromkeys(("macspoofchk", "enabledad", "ipMasq"), NO_TRUTH),
        **dict.fromkeys(("disableContainerInterface", "preserveDefaultVlan"), NO_TRUTH),
        "ipMasqBackend": (*NO_STRING, "pf"),
        "mtu": (*NO_INTEGER, -1, 67, 65536, HUGE, INFINITE),
        "vlan": (*NO_INTEGER, -1, 4095, HUGE, INFINITE),
        "vlanTrunk": (*NO_OBJECTS, [{"id": 0}], [{"minID": 1}], [{"minID": 2, "maxID": 1}]),
        "runtimeConfig.mac": NO_MAC,
        "args.cni.mac": NO_MAC,
        "ipam.type": (*NO_STRING, "../../bin/sh", "/bin/sh", "..", "no-such", "a\x00"),
        **{path: values[-2:] for path, values in IPAM.items()},
    },
    "portmap": {
        "backend": (*NO_STRING, "pf"),
        "snat": NO_TRUTH,
        "masqAll": NO_TRUTH,
        "markMasqBit": (*NO_INTEGER, -1, 32, HUGE),
        "externalSetMarkChain": (*NO_STRING, "KUBE-MARK-MASQ"),
        "conditionsV4": (*NO_STRINGS, ["-s"]),
        "conditionsV6": (*NO_STRINGS, ["-s"]),
        "runtimeConfig": NO_OBJECT,
        "runtimeConfig.portMappings": NO_OBJECTS,
        "runtimeConfig.portMappings.0.hostPort": (*NO_INTEGER, 0, -1, 65536, HUGE, None),
        "runtimeConfig.portMappings.0.containerPort": (*NO_INTEGER, 0, -1, 65536, HUGE, None),
        "runtimeConfig.portMappings.0.protocol": (*NO_STRING, "icmp", "tcp;reboot", "6"),
        "runtimeConfig.portMappings.0.hostIP": NO_ADDRESS,
        **{path: values[:1] for path, values in PREV_RESULT.items()},
        "prevResult": (*NO_OBJECT, None),
    },
}
NAMES = {  # what the message may say in place of the key
    "hostPort": "host port number",
    "containerPort": "container port number",
    "markMasqBit": "MasqMarkBit",
    "ipMasqBackend": "ipmasq backend",
    "type": "plugin",
    "vlan": "VLAN ID",
    "vlanTrunk": "trunk",
    **dict.fromkeys(("ranges", "ipRanges", "subnet", "gateway"), "range set"),
    **dict.fromkeys(("rangeStart", "rangeEnd"), "range set"),
}


def wrong(program: str, path: str, value: Any) -> Any:
    """Return a configuration of `program` with `value` at `path`."""
    values: Any = copy.deepcopy(conf(program))
    values.setdefault("args", {"cni": {}})
    values.setdefault("runtimeConfig", {})
    values.setdefault("prevResult", prev_result())
    if "ipRanges." in path:
        values["runtimeConfig"]["ipRanges"] = [[{"subnet": "10.9.0.0/24"}]]
    if "prevResult.routes." in path:
        values["prevResult"]["routes"] = [{"dst": "0.0.0.0/0"}]
    if "prevResult.dns." in path:
        values["prevResult"]["dns"] = {}
    if path.startswith("peers."):
        values["peers"] = [{"name": "n1", "addresses": ["10.0.0.1"], "podCIDRs": []}]
    *parents, last = path.split(".")
    section = values
    for key in parents:
        section = section[int(key) if key.isdigit() else key]
    section[last] = value
    return values


def words(path: str) -> list[str]:
    """Return what may stand for the key in the message."""
    key = path.rpartition(".")[2]
    return [key, *([NAMES[key]] if key in NAMES else [])]


def codes(path: str, value: Any) -> tuple[int, ...]:
    """Return the codes that fit: 6 for what cannot be decoded, else 7, or 2 for a known key."""
    if isinstance(value, str) and len(value) > 4096:
        return (5, 7)  # ENAMETOOLONG
    if path.startswith("prevResult"):
        return (1, 6) if path.endswith("cniVersion") else (6, 7) if value is None else (6,)
    return (2, 7) if isinstance(value, str | list) else (7,)


def refused(suite: lab.Suite, program: str, path: str, value: Any) -> None:
    """ADD with `value` at `path`; it must be refused by name."""
    given = wrong(program, path, value)
    reply = suite.call(program, "ADD", given, netns=NETNS)
    if reply.exit == 0:  # a defect that the next cases must not suffer from
        suite.call(program, "DEL", given, netns=NETNS)
    told = f"{value!r:.100} -> {reply.stdout}"
    assert reply.exit == 1, told
    assert reply.json["code"] in codes(path, value), told
    assert any(word in reply.stdout for word in words(path)), told
    assert len(reply.stdout) < 2000


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("program", KEYS)
def test_a_value_that_a_key_cannot_have_is_refused_by_name(
    suite: lab.Suite, program: str, subtests: pytest.Subtests
) -> None:
    """Of the frozen programs a sample is taken: the code is the same."""
    keys = KEYS[program]
    for top, paths in groupby(keys, lambda path: path.partition(".")[0]):
        with subtests.test(f"{top} changes nothing"), snapshot.unchanged():
            for path in some(suite, paths):
                with subtests.test(path):
                    for value in keys[path] if suite.imported else keys[path][-1:]:
                        refused(suite, program, path, value)


NEEDED = ("ipam", "ipam.type", "ipam.dataDir")  # to find what DEL must release


@pytest.mark.parametrize("program", ["host-local", "ptp", "bridge", "portmap"])
def test_del_releases_whatever_else_the_configuration_says(
    suite: lab.Suite, pod: str, program: str, subtests: pytest.Subtests
) -> None:
    own = [path for path in KEYS[program] if program == "host-local" or path not in IPAM]
    paths = [path for path in own if path not in NEEDED]
    given: dict[str, str] = {"netns": pod}
    suite.call(program, "ADD", conf(program), **given).ok()
    suite.call(program, "DEL", conf(program), **given).ok()
    before = snapshot.take()
    for number, path in enumerate(paths if suite.imported else paths[::6]):
        with subtests.test(path):
            suite.call(program, "ADD", conf(program), **given).ok()
            values = KEYS[program][path]

            later = wrong(program, path, values[number % len(values)])
            suite.call(program, "DEL", later, **given).ok()

    suite.call(program, "DEL", conf(program), **given).ok()
    assert not [name for name in snapshot.changes(before) if "last_reserved_ip" not in name]


VALID = ("x", 5, {"a": 1}, [5], [None], [{"containerID": 5}], [{"ifname": ["eth0"]}])


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_with_a_list_that_cannot_be_read_removes_nothing(
    suite: lab.Suite, pod: str, key: str, subtests: pytest.Subtests
) -> None:
    for program in ("host-local", "portmap"):
        suite.call(program, "ADD", conf(program), netns=pod, containerid=program).ok()
        with snapshot.unchanged():
            for value in VALID if suite.imported else VALID[:2]:
                with subtests.test(program=program, value=value):
                    reply = suite.call(program, "GC", conf(program) | {key: value}).failed(7)

                    assert key in reply.json["msg"]


LONG = "x" * 100_000
LONG_VALUES = {
    "bridge": ("bridge", "ipMasqBackend", "ipam.type", "runtimeConfig.mac"),
    "ptp": ("type", "ipMasqBackend", "ipam.type", "ipam.dataDir", "ipam.resolvConf"),
    "host-local": (
        *("ipam.dataDir", "ipam.resolvConf", "ipam.onDuplicate", "ipam.ranges.0.0.subnet"),
        *("ipam.ranges.0.0.rangeStart", "ipam.routes.0.dst", "ipam.routes.0.gw", "args.cni.ips"),
    ),
    "portmap": (
        *("backend", "externalSetMarkChain", "conditionsV4", "prevResult.cniVersion"),
        *("runtimeConfig.portMappings.0.protocol", "runtimeConfig.portMappings.0.hostIP"),
    ),
    "loopback": ("prevResult.cniVersion", "prevResult.ips.0.address"),
}


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("program", LONG_VALUES)
def test_a_value_of_100_kb_is_told_in_few_words(
    suite: lab.Suite, program: str, subtests: pytest.Subtests
) -> None:
    for path in some(suite, LONG_VALUES[program]):
        with subtests.test(path):
            value = [LONG] if path in ("args.cni.ips", "conditionsV4") else LONG
            given = wrong(program, path, value)

            reply = suite.call(program, "ADD" if path != "type" else "CHECK", given, netns=NETNS)

            assert reply.exit == 1
            assert len(reply.stdout) < 2000
