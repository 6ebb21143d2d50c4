"""What the agent is told: by a file, by options, by nobody."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from cni.agent import settings
from cni.agent.warm import Limits
from cni.config import Section
from cni.errors import CniError
from cni.handover import SOCKET
from cni.overlay.settings import Settings as Overlay

WHOLE = """
roles: [warm, vxlan, masq]
nodeName: node-1
nodes: {file: /etc/pycni/nodes.yaml}
clusterCIDRs: [10.244.0.0/16, "fd00:10:244::/56"]
serviceCIDR: 10.96.0.0/16
overlay: {mode: auto, vni: 7, port: 4789, device: vx, mtu: 1400}
masquerade: {exclude: [192.168.0.0/16], fullyRandom: false}
conflist: {template: /etc/pycni/template, file: /run/x.conflist}
listen: "[::1]:9000"
warm: {socket: /run/x.sock, workers: 3, limit: 1.5}
"""


def loaded(tmp_path: Path, text: str, **options: Any) -> settings.Settings:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return settings.load(str(path), {key.replace("_", "."): one for key, one in options.items()})


def test_nobody_said_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_NAME", raising=False)

    found = settings.load("", {})

    assert (found.roles, found.socket) == (("warm",), SOCKET)
    assert Limits(found.workers, found.limit) == Limits()
    assert not found.needs_nodes
    assert found.listen == ("127.0.0.1", 9473)
    assert found.overlay == Overlay()
    assert found.template == ""
    assert found.fully_random


def test_every_key_is_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE)

    assert found.roles == ("warm", "vxlan", "masq")
    assert found.node_name == "node-1"
    assert found.nodes_file == "/etc/pycni/nodes.yaml"
    assert found.cluster_cidrs == (ip_network("10.244.0.0/16"), ip_network("fd00:10:244::/56"))
    assert found.service_cidr == ip_network("10.96.0.0/16")
    assert found.overlay == Overlay("auto", 7, 4789, "vx", 1400)
    assert (found.excluded, found.fully_random) == ((ip_network("192.168.0.0/16"),), False)
    assert (found.template, found.conflist) == ("/etc/pycni/template", "/run/x.conflist")
    assert found.listen == ("::1", 9000)
    assert (found.socket, found.workers, found.limit) == ("/run/x.sock", 3, 1.5)


def test_another_program_reads_the_same_from_what_was_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE, nodeName="other")
    said = json.loads(json.dumps(found.values))

    assert settings.read(Section(said)) == found


def test_options_win_over_the_file(tmp_path: Path) -> None:
    found = loaded(tmp_path, WHOLE, nodeName="other", warm_workers=9, nodes_apiServer="https://a")

    assert found.node_name == "other"
    assert (found.workers, found.limit) == (9, 1.5)
    assert (found.nodes_file, found.api_server) == ("/etc/pycni/nodes.yaml", "https://a")


def test_options_win_over_keys_in_another_case(tmp_path: Path) -> None:
    found = loaded(tmp_path, "Roles: [routes]\nWARM: {Workers: 2}", roles=["warm"], warm_workers=4)

    assert (found.roles, found.workers) == (("warm",), 4)


def test_the_role_routes_needs_no_device(tmp_path: Path) -> None:
    assert loaded(tmp_path, "roles: [routes]\noverlay: {mode: auto}").overlay.mode == "direct"


def test_nodes_are_needed_by_what_depends_on_them(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "roles: [warm]").needs_nodes
    assert loaded(tmp_path, "roles: [masq]").needs_nodes
    assert loaded(tmp_path, "conflist: {template: /x}").needs_nodes


def test_the_node_is_called_as_kubernetes_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "from-the-downward-api")
    assert settings.load("", {}).node_name == "from-the-downward-api"

    monkeypatch.delenv("NODE_NAME")
    name = settings.load("", {}).node_name
    assert name
    assert name == name.lower()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no object"),
        ("roles: [warm", "cannot decode"),
        ("rules: [warm]", "cannot use rules; keys there are roles, nodeName"),
        ("overlay: {vnid: 1}", "cannot use overlay.vnid; keys there are mode, vni"),
        ("roles: [wram]", 'cannot use roles ["wram"]; it must be a list of warm, routes'),
        ("roles: warm", "it must be a list"),
        ("roles: [routes, vxlan]", "both say where pods are"),
        ("nodeName: a b", "cannot use nodeName 'a b'"),
        ("clusterCIDRs: [10.244.0.0]", "cannot use clusterCIDRs[0]"),
        ("serviceCIDR: x", "cannot use serviceCIDR"),
        ("overlay: {mode: fast}", "vxlan, direct or auto"),
        ("overlay: {port: 0}", "cannot use overlay.port 0"),
        ("overlay: 3", "it must be an object"),
        ("masquerade: {fullyRandom: 3}", "true or false"),
        ("listen: 9473", "it must be a string"),
        ("listen: ':9473'", "address:port"),
        ("listen: '127.0.0.1:99999'", "address:port"),
        ("warm: {workers: 0}", "cannot use warm.workers 0; it must be 1 to 1000"),
        ("warm: {limit: 0}", "a number of seconds"),
        ("warm: {limit: true}", "a number of seconds"),
    ],
)
def test_what_makes_no_sense_is_refused_by_file_and_key(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(CniError) as error:
        loaded(tmp_path, text)

    assert said in str(error.value)
    assert str(tmp_path / "agent.yaml") in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CniError, match="nowhere"):
        settings.load(str(tmp_path / "nowhere"), {})


def test_nothing_of_what_is_listened_at_may_be_empty(tmp_path: Path) -> None:
    assert loaded(tmp_path, "listen: ''").listen is None
