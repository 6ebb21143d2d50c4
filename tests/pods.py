"""Pods on a test host: added, looked at, talked to from outside."""

import re
from typing import Any

from tests import lab, networks


def add(suite: lab.Suite, conf: networks.Json, pod: str = "pod", **given: str) -> Any:
    """Make the pod's namespace unless it is there, ADD, return the result."""
    if pod not in lab.run("ip netns list").split():
        lab.add_netns(pod)
    given = {"netns": lab.netns_path(pod), "containerid": pod} | given
    return suite.call(conf["type"], "ADD", conf, **given).ok().json


def verb(suite: lab.Suite, name: str, conf: networks.Json, pod: str = "pod") -> lab.Reply:
    """Call another verb on that pod."""
    return suite.call(conf["type"], name, conf, netns=lab.netns_path(pod), containerid=pod)


def addresses(netns: str = "", ifname: str = "") -> set[str]:
    """Return all global addresses there, as text."""
    found = lab.ip(f"addr show scope global {ifname and f'dev {ifname}'}", netns=netns)
    infos = [info for one in found for info in one.get("addr_info", ()) if info]
    return {f"{info['local']}/{info['prefixlen']}" for info in infos}


def leases() -> set[str]:
    """Return the addresses that host-local has given away."""
    names = lab.run(f"ls {networks.DATA_DIR}/kindnet", check=False).split()
    return {name for name in names if name != "lock" and not name.startswith("last_")}


def veths() -> list[str]:
    """Return the names of the veth ends on the host."""
    return [one["ifname"] for one in lab.ip("link show type veth")]


def elements() -> str:
    """Return the attachments in our firewall tables, as nft shows them."""
    ruleset = lab.run("nft list ruleset")
    text = "".join(re.findall(r"^table \w+ pycni \{.*?^\}", ruleset, re.DOTALL | re.MULTILINE))
    return "\n".join(re.findall(r"elements = \{(.*?)\}", text, re.DOTALL))


def outside(nets: dict[str, tuple[str, str]]) -> None:
    """Make machines outside, each on a link of its own: name, our address, its address.

    They know no way to the pods: only what is masqueraded gets an answer.
    """
    for number, (name, (ours, theirs)) in enumerate(nets.items()):
        lab.add_netns(name)
        lab.run(f"ip link add out{number} type veth peer name eth0 netns {name}")
        for address, device, netns in ((ours, f"out{number}", ""), (theirs, "eth0", name)):
            nodad = "nodad" if ":" in address else ""
            lab.run(f"ip addr add {address} dev {device} {nodad}", netns=netns)
            lab.run(f"ip link set {device} up", netns=netns)
