"""Our programs under the reference runtime library, in every version that it knows."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cni.errors import Code
from cni.programs import PROGRAMS
from tests import lab
from tests.libcni import networks
from tests.libcni.runtimes import CACHE_DIR, KNOWN, WITH_CHECK, WITH_INTERFACES, Libcni, Pod

GREETER = """
import socket
with socket.create_server(("0.0.0.0", 80)) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    connection.sendall(b"hello from the pod")
    connection.close()
"""


@contextmanager
def greeter(netns: str) -> Iterator[None]:
    """Greet the first who connects to port 80 in `netns`."""
    words = ["nsenter", f"--net={netns}", sys.executable, "-c", GREETER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def test_result_is_in_the_version_asked_and_equals_the_kernel(
    libcni: Libcni, subtests: pytest.Subtests
) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            pod = Pod(netns, capabilities=networks.PORT_8080)

            said = libcni.add(networks.kindnet(version), pod)

            newest = said["as"]["1.0.0"]
            assert said["result"]["cniVersion"] == version
            assert "unconverted" not in said
            assert networks.result_addresses(newest) == networks.addresses("eth0", netns)
            assert newest["ips"][0]["gateway"] == networks.GATEWAYS["4"]
            assert newest["routes"] == [{"dst": "0.0.0.0/0"}]
            (route,) = lab.ip("route show default", netns)
            assert route["gateway"] == networks.GATEWAYS["4"]


def test_result_names_the_interfaces_of_both_sides(
    libcni: Libcni, subtests: pytest.Subtests
) -> None:
    for version in WITH_INTERFACES:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            said = libcni.add(networks.kindnet(version), Pod(netns))

            outside, inside = said["result"]["interfaces"]
            assert said["result"]["ips"][0]["interface"] == 1
            assert inside["name"] == "eth0"
            assert inside["sandbox"] == netns
            assert inside["mac"] == networks.mac("eth0", netns)
            assert "sandbox" not in outside
            assert outside["mac"] == networks.mac(outside["name"])


def test_a_result_is_what_libcni_makes_of_the_newest_one(
    libcni: Libcni, subtests: pytest.Subtests
) -> None:
    def add(version: str, *, converted: str) -> object:
        """Attach a dual-stack pod of a fresh host; MACs differ from host to host."""
        with networks.fresh_pod() as netns:
            said = libcni.add(networks.kindnet(version, "46"), Pod(netns))["as"][converted]
        for interface in said.get("interfaces", []):
            del interface["name"], interface["mac"]
        return said

    for version in KNOWN:
        with subtests.test(cni_version=version):
            assert add(version, converted=version) == add("1.0.0", converted=version)


def test_check_passes_until_the_address_is_gone(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in WITH_CHECK:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            pod = Pod(netns, capabilities=networks.PORT_8080)
            conflist = networks.kindnet(version)
            libcni.add(conflist, pod)
            libcni.check(conflist, pod)

            lab.run("ip address flush dev eth0", netns=netns)

            libcni.call("check", conflist, pod).failed(Code.CHECK_FAILED)


def test_del_leaves_nothing_and_succeeds_again(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            pod = Pod(netns, capabilities=networks.PORT_8080)
            conflist = networks.kindnet(version, ipMasq=True)
            words = (pod.container_id, "10.244.1.2")
            before = networks.traces(*words)
            libcni.add(conflist, pod)
            during = networks.traces(*words)

            libcni.delete(conflist, pod)

            assert during["rules"] and during["files"]
            assert networks.traces(*words) == before
            assert [link["ifname"] for link in lab.ip("link", netns)] == ["lo"]
            libcni.delete(conflist, pod)
            assert networks.traces(*words) == before


def test_del_succeeds_when_the_netns_is_gone(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            pod = Pod(netns, capabilities=networks.PORT_8080)
            conflist = networks.kindnet(version, ipMasq=True)
            words = (pod.container_id, "10.244.1.2")
            before = networks.traces(*words)
            libcni.add(conflist, pod)

            lab.run("ip netns delete pod")
            libcni.delete(conflist, pod)

            assert networks.traces(*words) == before


@pytest.mark.usefixtures("host")
def test_del_without_the_port_mappings_removes_them(libcni: Libcni) -> None:
    netns = lab.add_netns("pod")
    conflist = networks.kindnet("0.3.1")
    before = networks.traces("pod-1", "10.244.1.2")
    libcni.add(conflist, Pod(netns, capabilities=networks.PORT_8080))

    libcni.delete(conflist, Pod(netns=""))

    assert networks.traces("pod-1", "10.244.1.2") == before


@pytest.mark.usefixtures("host")
def test_del_of_what_was_never_added_succeeds(libcni: Libcni) -> None:
    libcni.delete(networks.kindnet("1.0.0"), Pod("/run/netns/nowhere"))

    assert not CACHE_DIR.exists()


def test_second_add_is_refused_and_harms_nothing(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            pod = Pod(netns, capabilities=networks.PORT_8080)
            conflist = networks.kindnet(version)
            words = (pod.container_id, "10.244.1.2", "10.244.1.3")
            libcni.add(conflist, pod)
            before = networks.traces(*words)

            libcni.call("add", conflist, pod).failed(Code.ALREADY_ATTACHED)

            assert networks.traces(*words) == before
            assert networks.addresses("eth0", netns) == {"10.244.1.2/24"}
            if version in WITH_CHECK:
                libcni.check(conflist, pod)


@pytest.mark.usefixtures("host")
def test_list_without_a_version_is_of_0_1_0(libcni: Libcni) -> None:
    netns = lab.add_netns("pod")
    conflist = networks.kindnet("")
    del conflist["cniVersion"]

    said = libcni.add(conflist, Pod(netns))

    assert said["result"]["cniVersion"] == "0.1.0"
    assert said["result"]["ip4"]["ip"] == "10.244.1.2/24"
    libcni.delete(conflist, Pod(netns))


def test_dual_stack_pod_has_both_addresses(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version), networks.fresh_pod() as netns:
            pod = Pod(netns, capabilities=networks.PORT_8080)
            conflist = networks.kindnet(version, "46", ipMasq=True)
            words = (pod.container_id, "10.244.1.2", "fd00:10:244:1::2")
            before = networks.traces(*words)

            said = libcni.add(conflist, pod)

            newest = said["as"]["1.0.0"]
            assert networks.addresses("eth0", netns) == {"10.244.1.2/24", "fd00:10:244:1::2/64"}
            assert networks.result_addresses(newest) == networks.addresses("eth0", netns)
            lab.run(f"busybox ping -c1 -W5 {networks.GATEWAYS['4']}", netns=netns)
            lab.run(f"busybox ping -c1 -W5 {networks.GATEWAYS['6']}", netns=netns)
            if version in WITH_CHECK:
                libcni.check(conflist, pod)
            libcni.delete(conflist, pod)
            assert networks.traces(*words) == before


def test_loopback_is_a_list_of_its_own(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version), lab.fresh_host():
            lab.run("ip netns add pod")
            pod = Pod("/run/netns/pod", ifname="lo")
            conflist = networks.loopback(version)

            said = libcni.add(conflist, pod)

            assert networks.result_addresses(said["as"]["1.0.0"]) == {"127.0.0.1/8", "::1/128"}
            assert networks.addresses("lo", pod.netns) == {"127.0.0.1/8", "::1/128"}
            if version in WITH_CHECK:
                libcni.check(conflist, pod)
            libcni.delete(conflist, pod)
            libcni.delete(conflist, pod)
            assert networks.addresses("lo", pod.netns) == {"127.0.0.1/8"}


@pytest.mark.usefixtures("host")
def test_ports_in_go_capitals_reach_the_pod(libcni: Libcni) -> None:
    """As containerd's go-cni sends them, with its CNI_ARGS beside."""
    netns = lab.add_netns("pod")
    port = {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}
    args = "K8S_POD_NAME=web;IgnoreUnknown=1;K8S_POD_NAMESPACE=default"
    pod = Pod(netns, capabilities={"portMappings": [port]}, args=args)

    libcni.add(networks.kindnet("1.0.0"), pod)

    libcni.check(networks.kindnet("1.0.0"), pod)
    with greeter(netns), socket.create_connection((networks.GATEWAYS["4"], 8080), 10) as client:
        assert client.recv(100) == b"hello from the pod"


def test_every_program_speaks_every_version(libcni: Libcni) -> None:
    spoken = libcni.versions(*PROGRAMS)

    assert spoken == {program: [*KNOWN, "1.1.0"] for program in PROGRAMS}


def test_libcni_finds_every_list_valid(libcni: Libcni, subtests: pytest.Subtests) -> None:
    for version in KNOWN:
        with subtests.test(cni_version=version):
            said = libcni.call("validate", networks.kindnet(version), Pod("")).ok()

            assert said.json["capabilities"] == ["portMappings"]
