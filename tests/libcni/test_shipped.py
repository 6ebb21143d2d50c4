"""Conflists that others ship, to the letter, in one CNI_PATH with the reference's plugins.

So are run those whose own runtime may not be at hand: CRI-O's, nerdctl's and Nomad's.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cni.programs import NAMES
from tests import conflists, lab, packets, pods
from tests.conflists import Conflist
from tests.interchange import state
from tests.libcni.networks import PORT_8080
from tests.libcni.runtimes import Libcni, Pod, Tool

SHIPPED = conflists.shipped() | {"podman": conflists.PODMAN}
NODE, OUTSIDE = "172.18.0.1", "172.18.0.2"
NODE_6, OUTSIDE_6 = "fd01::1", "fd01::2"
MIXES = (  # what is the reference's
    ("bridge",),
    ("host-local",),
    ("portmap",),
    ("bridge", "portmap"),
    ("bridge", "host-local"),
    ("host-local", "portmap"),
)
MACHINES = {
    "out": (f"{NODE}/24", f"{OUTSIDE}/24"),
    "out6": (f"{NODE_6}/64", f"{OUTSIDE_6}/64"),
}


@dataclass(frozen=True)
class Runtime:
    """Who calls the chain of `conflist`: `call` takes verb and pod, which is its container ID."""

    conflist: Conflist
    call: Callable[[str, str], lab.Reply]

    def add(self, pod: str) -> list[str]:
        """Attach a pod; return its addresses."""
        result = self.call("add", pod).ok().json
        return [ip["address"].split("/")[0] for ip in result["ips"]]

    def delete(self, pod: str) -> None:
        self.call("del", pod).ok()


def of_libcni(libcni: Libcni, conflist: Conflist) -> Runtime:
    """Return the reference's library as runtime."""

    def call(verb: str, pod: str) -> lab.Reply:
        attachment = Pod(lab.netns_path(pod), pod, capabilities=PORT_8080)
        reply = libcni.call(verb, conflist.json, attachment)
        result = reply.json.get("result") if reply.exit == 0 else reply.json
        return lab.Reply(reply.exit, json.dumps(result), reply.stderr)

    return Runtime(conflist, call)


def of_cnictl(cnictl: Tool, conflist: Conflist, path: str) -> Runtime:
    """Return our own tool as runtime, over the programs of `path`."""
    shutil.copy(conflist.path, cnictl.net_d / "10-shipped.conflist")
    settings = {"CNI_PATH": path, "CAP_ARGS": json.dumps(PORT_8080)}
    return Runtime(
        conflist,
        lambda verb, pod: cnictl.call(verb, conflist.name, lab.netns_path(pod), **settings),
    )


@pytest.fixture
def theirs(reference_bin: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return what makes a folder with the reference's `programs`, and with all we have not."""

    def folder(*programs: str) -> Path:
        for program in reference_bin.iterdir():
            if program.name in programs or program.name not in NAMES:
                (tmp_path / program.name).symlink_to(program)
        return tmp_path

    return folder


@pytest.fixture
def world(host: None) -> None:  # noqa: ARG001 - the machines stand beside it
    """Give the host neighbours of both families, which know no way to its pods."""
    pods.outside(MACHINES)


@pytest.fixture
def pod(world: None) -> str:  # noqa: ARG001 - the pod is of that host
    """Make the namespace of a pod, and of one that comes before it; lo is down as after DEL."""
    for name in ("first", "pod"):
        lab.add_netns(name)
        lab.run("ip link set lo down", netns=name)
    return "pod"


def assert_life(runtime: Runtime, pod: str, complaint: str = "") -> None:
    """Fail unless the pod is added, checked, reaches the world, is deleted, and leaves nothing.

    What the first pod of a host leaves is everybody's: the bridge, sysctls, empty chains.
    `complaint` is part of what CHECK says, when it fails.
    """
    runtime.add("first")
    runtime.delete("first")
    before = state.look()

    addresses = runtime.add(pod)
    said = runtime.call("check", pod)
    assert_traffic(runtime.conflist, addresses, pod)
    for _ in ("first", "again"):
        runtime.delete(pod)
        assert state.look() == before
    assert (said.exit != 0) == bool(complaint), said.stdout + said.stderr
    assert complaint in said.stdout


def assert_traffic(conflist: Conflist, addresses: list[str], pod: str) -> None:
    assert tuple(addresses) == conflist.pod_addresses(2)
    for address, gateway in zip(addresses, conflist.gateways, strict=True):
        name, node, outside = (
            ("out6", NODE_6, OUTSIDE_6) if ":" in address else ("out", NODE, OUTSIDE)
        )
        assert packets.seen_from("", pod, (address, 80)) == gateway
        assert packets.seen_from(pod, name, (outside, 80)) == node
        if "portmap" in conflist.types:
            assert packets.seen_from(name, pod, (node, 8080), listen=80) == outside


@pytest.mark.parametrize("runtime", ["libcni", "cnictl"])
@pytest.mark.parametrize("conflist", SHIPPED.values(), ids=SHIPPED)
def test_a_pod_of_a_shipped_conflist_lives_and_leaves_nothing(
    conflist: Conflist,
    runtime: str,
    pod: str,
    libcni: Libcni,
    cnictl: Tool,
    theirs: Callable[..., Path],
) -> None:
    ours, others = cnictl.bin_dir, theirs()
    if runtime == "cnictl":
        assert_life(of_cnictl(cnictl, conflist, f"{ours}:{others}"), pod)
    else:
        assert_life(of_libcni(Libcni(libcni.driver, ours, others), conflist), pod)


@pytest.mark.parametrize("programs", MIXES, ids="+".join)
def test_a_pod_of_both_suites_lives_and_leaves_nothing(
    programs: tuple[str, ...], pod: str, libcni: Libcni, theirs: Callable[..., Path]
) -> None:
    """Podman's chain, each of our programs before and behind one of the reference's.

    Its portmap (to 1.1.1) fails CHECK of a pod that has no IPv6.
    """
    mixed = Libcni(libcni.driver, theirs(*programs), *libcni.bin_dirs)

    complaint = "could not check ipv6 dnat" if "portmap" in programs else ""
    assert_life(of_libcni(mixed, conflists.PODMAN), pod, complaint)
