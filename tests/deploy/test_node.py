"""The DaemonSet's pod on a node, in a real container with just what its manifest allows."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha512
from pathlib import Path
from tempfile import TemporaryFile

import pytest
import yaml

from cni.programs import NAMES
from tests import lab, snapshot
from tests.deploy.conftest import IMAGE, OTHER, Deployed
from tests.deploy.manifests import DEPLOY
from tests.runtimes import image
from tests.runtimes.cri import CriError
from tests.runtimes.node import CNI_BIN, NET_D, OUTSIDE, leases
from tests.runtimes.traffic import ping

CONFLIST = NET_D / "10-pycni.conflist"
one_network = pytest.mark.parametrize("network", ["routes"])


@contextmanager
def crippled() -> Iterator[None]:
    """Take from the node's programs what they need to serve themselves, within the block."""
    folders = [folder / "python3.11" for folder in CNI_BIN.glob("_pycni-*")]
    for folder in folders:
        (folder / "lib-dynload").rename(folder / "away")
    yield
    for folder in folders:
        (folder / "away").rename(folder / "lib-dynload")


def answers() -> bool:
    """Tell whether a program answers."""
    done = subprocess.run(
        [CNI_BIN / "ptp"], env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=False
    )
    return done.returncode == 0


@contextmanager
def pinged(address: str) -> Iterator[None]:
    """Ping `address` from the outside within the block, which must lose nothing."""
    words = ["ip", "netns", "exec", "outside", str(image.BUSYBOX), "ping", "-i", "0.02", address]
    with TemporaryFile("w+") as output:  # a pipe would be full, and ping wait, in half a minute
        with subprocess.Popen(words, stdout=output) as process:
            try:
                yield
            finally:
                lab.run(f"pkill -INT --parent {process.pid}", check=False)
                process.send_signal(2)
        output.seek(0)
        said = output.read()
    answered = [int(number) for number in re.findall(r"seq=(\d+)", said)]
    assert len(answered) > 50
    assert answered == list(range(len(answered)))


def test_a_node_is_ready_with_programs_first_and_the_conflist_last(deployed: Deployed) -> None:
    deployed.start()

    written = CONFLIST.stat().st_ctime_ns
    assert all((CNI_BIN / name).stat().st_ctime_ns < written for name in NAMES)
    assert [path.name for path in NET_D.iterdir()] == [CONFLIST.name]
    pod = deployed.runtime.run_sandbox("a")
    ping(OUTSIDE, netns=pod.netns)
    ping(pod.address, netns="outside")
    assert "WARNING" not in deployed.kubelet.log("pycnid")


@pytest.mark.parametrize("network", ["vxlan"])
def test_the_agent_sets_what_a_container_has_read_only(deployed: Deployed) -> None:
    Path("/proc/sys/net/ipv4/conf/default/rp_filter").write_text("1")

    deployed.start()

    value = Path("/proc/sys/net/ipv4/conf/pycni-vxlan/rp_filter").read_text()
    assert value == "2\n"


def test_programs_are_served_from_within_the_container(deployed: Deployed) -> None:
    deployed.start()

    with crippled():
        pod = deployed.runtime.run_sandbox("a")
        deployed.runtime.remove_sandbox(pod.id)
        assert answers()
        deployed.kubelet.stop()
        assert not answers()  # so it was not by themselves


@one_network
@pytest.mark.parametrize("capability", ["SYS_ADMIN", "SYS_CHROOT"])
def test_without_a_capability_programs_serve_themselves(
    deployed: Deployed, capability: str
) -> None:
    deployed.capabilities("containers").remove(capability)

    deployed.start()

    deployed.runtime.run_sandbox("a")
    with crippled():
        assert not answers()


@one_network
def test_without_the_nodes_processes_programs_serve_themselves(deployed: Deployed) -> None:
    del deployed.spec["hostPID"]

    deployed.start()

    deployed.runtime.run_sandbox("a")
    with crippled():
        assert not answers()


@one_network
def test_without_net_admin_a_node_is_not_ready(deployed: Deployed) -> None:
    deployed.capabilities("containers").remove("NET_ADMIN")
    deployed.kubelet.start(deployed.spec)

    assert lab.wait_until(lambda: "not permitted" in deployed.kubelet.log("pycnid"))
    assert lab.wait_until(lambda: deployed.page("/readyz") == "503")
    assert not CONFLIST.exists()


@one_network
@pytest.mark.parametrize("allowed", [True, False], ids=["with net_raw", "without"])
def test_rules_of_iptables_legacy_are_found_with_net_raw(
    deployed: Deployed,
    allowed: bool,  # noqa: FBT001
) -> None:
    if not allowed:
        deployed.capabilities("containers").remove("NET_RAW")
    deployed.start()
    pod = deployed.runtime.run_sandbox("a")
    chain = f"CNI-{sha512(f'kindnet{pod.id}'.encode()).hexdigest()[:24]}"
    lab.run(f"iptables-legacy -t nat -N {chain}")

    deployed.runtime.remove_sandbox(pod.id)

    assert (chain not in lab.run("iptables-legacy -t nat -S")) is allowed


@one_network
@pytest.mark.parametrize("allowed", [True, False], ids=["with dac_override", "without"])
def test_programs_are_installed_into_a_folder_of_another_user_with_dac_override(
    deployed: Deployed,
    allowed: bool,  # noqa: FBT001
) -> None:
    os.chown(CNI_BIN, 1001, 1001)
    CNI_BIN.chmod(0o755)
    if allowed:
        deployed.start()
        return
    deployed.capabilities("initContainers").remove("DAC_OVERRIDE")

    with pytest.raises(AssertionError, match="Permission denied"):
        deployed.start()


def test_an_upgrade_loses_no_packet_and_stops_no_pod_from_starting(deployed: Deployed) -> None:
    deployed.start()
    pod = deployed.runtime.run_sandbox("a")
    (before,) = CNI_BIN.glob("_pycni-*")
    written = CONFLIST.stat().st_ctime_ns

    with pinged(pod.address):
        deployed.kubelet.stop()
        between = deployed.runtime.run_sandbox("b")
        deployed.start(OTHER)
        after = deployed.runtime.run_sandbox("c")

    builds = set(CNI_BIN.glob("_pycni-*"))
    assert {path.name for path in builds - {before}} == {f"_pycni-{'c' * 12}"}
    assert CONFLIST.stat().st_ctime_ns == written
    for one in (between, after):
        ping(one.address, netns=pod.netns)
    with crippled():
        assert answers()


def state() -> dict[str, str]:
    """Return what there is on the node of ours, and its network."""
    network = {key: value for key, value in snapshot.take().items() if key.startswith("host")}
    places = (CNI_BIN, NET_D, Path("/run/pycni"), Path("/var/lib/pycni"))
    for path in (one for place in places for one in (place, *place.rglob("*"))):
        if path.is_file():
            network[str(path)] = sha512(path.read_bytes()).hexdigest()
        elif path.exists() and path not in (NET_D, CNI_BIN):
            network[str(path)] = "a folder"
    return network


def test_uninstalling_leaves_the_node_as_it_was(deployed: Deployed) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # which the first pod switches on
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    before = state()
    deployed.start()
    pod = deployed.runtime.run_sandbox("a")
    deployed.kubelet.stop()
    deployed.runtime.remove_sandbox(pod.id)
    left = deployed.runtime.run_sandbox("left")
    text = (DEPLOY / "kubernetes/cleanup.yaml").read_text()
    job = yaml.safe_load(text.replace("IMAGE", IMAGE).replace("NODE", "node1"))

    deployed.kubelet.start(job["spec"]["template"]["spec"])
    deployed.kubelet.wait("cleanup")

    assert state() == before
    assert leases() == set()
    deployed.kubelet.stop()
    with pytest.raises(CriError, match="cni plugin not initialized"):
        deployed.runtime.cri.stop_sandbox(left.id)
    deployed.start()  # with the next network it goes
