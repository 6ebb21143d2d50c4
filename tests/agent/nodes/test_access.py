"""Ways to the Kubernetes API: a service account, kubeconfig files of all kinds, an override."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni.agent.nodes import access
from cni.agent.nodes.access import Access, from_kubeconfig, in_cluster, reach
from cni.errors import CniError
from tests.agent.nodes.cluster import Cluster, Watcher
from tests.agent.nodes.conftest import MakeSource
from tests.agent.nodes.pki import Pki
from tests.lab import wait_until

Json = dict[str, Any]


def inline(pki: Pki, name: str) -> str:
    return base64.b64encode(pki.text(name).encode()).decode()


def kubeconfig(path: Path, cluster: Json, user: Json) -> str:
    """Write a kubeconfig file, with others' entries before ours; return its path."""
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "ours",
        "contexts": [
            {"name": "other", "context": {"cluster": "other", "user": "other"}},
            {"name": "ours", "context": {"cluster": "c", "user": "u", "namespace": "default"}},
        ],
        "clusters": [
            {"name": "other", "cluster": {"server": "https://192.0.2.1"}},
            {"name": "c", "cluster": cluster},
        ],
        "users": [{"name": "other", "user": {}}, {"name": "u", "user": user}],
    }
    path.write_text(json.dumps(text))
    return str(path)


CLUSTERS: dict[str, Callable[[Pki], Json]] = {
    "inline": lambda pki: {"certificate-authority-data": inline(pki, "ca.crt")},
    "files": lambda pki: {"certificate-authority": pki.path("ca.crt")},
    "relative": lambda pki: {
        "certificate-authority": f"pki/{os.path.basename(pki.path('ca.crt'))}"
    },
}
USERS: dict[str, Callable[[Pki], Json]] = {
    "certificate, inline": lambda pki: {
        "client-certificate-data": inline(pki, "agent.crt"),
        "client-key-data": inline(pki, "agent.key"),
    },
    "certificate, files": lambda pki: {
        "client-certificate": pki.path("agent.crt"),
        "client-key": "pki/agent.key",
    },
    "token": lambda _: {"token": "agent-token"},
    "token file": lambda _: {"tokenFile": "token"},
}


@pytest.mark.parametrize("of_user", USERS.values(), ids=USERS)
@pytest.mark.parametrize("of_cluster", CLUSTERS.values(), ids=CLUSTERS)
def test_a_kubeconfig_file_leads_to_the_api(
    cluster: Cluster,
    make_source: MakeSource,
    tmp_path: Path,
    of_cluster: Callable[[Pki], Json],
    of_user: Callable[[Pki], Json],
) -> None:
    (tmp_path / "pki").symlink_to(cluster.pki.directory)
    (tmp_path / "token").write_text("agent-token\n")
    server = {"server": cluster.url, **of_cluster(cluster.pki)}
    path = kubeconfig(tmp_path / "kubeconfig", server, of_user(cluster.pki))
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(make_source(reach(path))) as seen:
        assert seen.sees_names("n1"), seen.source.health()


@pytest.mark.parametrize(("server", "name"), [("localhost", ""), ("127.0.0.2", "api.test")])
def test_the_api_is_who_its_certificate_says(
    cluster: Cluster, make_source: MakeSource, tmp_path: Path, server: str, name: str
) -> None:
    found = {"server": cluster.url, "certificate-authority": cluster.pki.path("ca.crt")}
    path = kubeconfig(
        tmp_path / "kubeconfig", {**found, "tls-server-name": name}, {"token": "agent-token"}
    )
    cluster.relay.listen(server)

    with Watcher(make_source(reach(path, f"https://{server}:{cluster.relay.port}"))) as seen:
        assert seen.sees_names()


@pytest.mark.parametrize(
    ("server", "ca", "cause"),
    [
        ("https://127.0.0.1", "other-ca.crt", "certificate verify failed"),
        ("https://127.0.0.2", "ca.crt", "certificate is not valid for '127.0.0.2'"),
    ],
)
def test_an_api_that_cannot_prove_who_it_is_is_not_asked(
    cluster: Cluster, make_source: MakeSource, server: str, ca: str, cause: str
) -> None:
    cluster.relay.listen(server.removeprefix("https://"))
    url = f"{server}:{cluster.relay.port}"

    with Watcher(make_source(Access(url, "agent-token", cluster.pki.text(ca)))) as seen:
        assert wait_until(lambda: seen.source.health().last_error != "", 10)

    assert not seen.told
    assert url in seen.source.health().last_error
    assert cause in seen.source.health().last_error


@pytest.mark.parametrize(
    ("token", "cause"),
    [
        ("nobody-token", "401 Unauthorized"),
        ("", "401 Unauthorized"),
        ("stranger-token", '403 Forbidden: nodes is forbidden: User "stranger" cannot list'),
    ],
)
def test_who_may_not_list_nodes_is_told(
    cluster: Cluster,
    make_source: MakeSource,
    caplog: pytest.LogCaptureFixture,
    token: str,
    cause: str,
) -> None:
    with Watcher(make_source(cluster.access(token))) as seen:
        assert wait_until(lambda: cluster.relay.connections > 3, 10)

    if not token and "anonymous" in seen.source.health().last_error:
        cause = '403 Forbidden: nodes is forbidden: User "system:anonymous"'
    assert f"cannot list nodes of {cluster.url}: the API says {cause}" in caplog.text
    assert len(caplog.messages) == len(set(caplog.messages))
    assert not seen.told


def service_account(directory: Path, pki: Pki, token: str) -> str:
    (directory / "ca.crt").write_text(pki.text("ca.crt"))
    (directory / "token").write_text(token)
    return str(directory)


def test_a_pod_has_the_access_of_its_service_account(
    cluster: Cluster, make_source: MakeSource, tmp_path: Path
) -> None:
    """Kubernetes documentation, "Accessing the Kubernetes API from a Pod"."""
    place = service_account(tmp_path, cluster.pki, "agent-token")
    environ = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.relay.port),
    }

    with Watcher(make_source(lambda: in_cluster(environ, directory=place))) as seen:
        assert seen.sees_names()


def test_before_there_is_a_service_network_the_api_has_another_address(
    cluster: Cluster, make_source: MakeSource, tmp_path: Path
) -> None:
    place = service_account(tmp_path, cluster.pki, "agent-token")
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    server = f"127.0.0.1:{cluster.relay.port}"

    with Watcher(make_source(lambda: in_cluster(environ, server, place))) as seen:
        assert seen.sees_names()


def test_a_token_that_is_replaced_is_read_again(
    cluster: Cluster, make_source: MakeSource, tmp_path: Path
) -> None:
    place = service_account(tmp_path, cluster.pki, "expired-token")
    source = make_source(lambda: in_cluster({}, cluster.url, place))
    cluster.add("n1", "10.0.0.1", "10.244.1.0/24")

    with Watcher(source) as seen:
        assert wait_until(lambda: "401 Unauthorized" in seen.source.health().last_error, 10)
        (tmp_path / "token").write_text("agent-token")
        assert seen.sees_names("n1")
        (tmp_path / "token").write_text("expired-token")
        cluster.relay.cut()
        cluster.relay.mend()
        assert wait_until(lambda: "401 Unauthorized" in seen.source.health().last_error, 10)
        cluster.add("n2", "10.0.0.2", "10.244.2.0/24")
        (tmp_path / "token").write_text("agent-token")
        assert seen.sees_names("n1", "n2")

    assert all("n1" in nodes for nodes in seen.told)


def test_ipv6_service_addresses_stand_in_brackets(tmp_path: Path, pki: Pki) -> None:
    place = service_account(tmp_path, pki, "x")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}

    assert in_cluster(environ, directory=place).server == "https://[fd00::1]:443"


def test_secrets_are_not_shown() -> None:
    shown = repr(Access("https://x", "a-token", "", b"a-key"))

    assert "a-token" not in shown
    assert "a-key" not in shown


GOOD_CLUSTER, GOOD_USER = {"server": "https://192.0.2.1:6443"}, {"token": "x"}


@pytest.mark.parametrize(
    ("cluster", "user", "cause"),
    [
        ({**GOOD_CLUSTER, "proxy-url": "http://p"}, GOOD_USER, "proxy-url"),
        ({**GOOD_CLUSTER, "insecure-skip-tls-verify": True}, GOOD_USER, "insecure-skip-tls-verify"),
        ({**GOOD_CLUSTER, "certificate-authority": "gone"}, GOOD_USER, "gone: No such file"),
        ({**GOOD_CLUSTER, "certificate-authority-data": "%"}, GOOD_USER, "no base64"),
        ({"server": 5}, GOOD_USER, "server 5"),
        (GOOD_CLUSTER, {"exec": {"command": "aws"}}, "user.exec"),
        (GOOD_CLUSTER, {"auth-provider": {"name": "x"}}, "auth-provider"),
        (GOOD_CLUSTER, {"username": "me", "password": "p"}, "username"),
        (GOOD_CLUSTER, {"token": "two\nlines"}, "the token"),
        (GOOD_CLUSTER, {"tokenFile": "gone"}, "gone: No such file"),
    ],
)
def test_a_kubeconfig_file_we_cannot_follow_is_refused_with_the_key(
    tmp_path: Path, cluster: Json, user: Json, cause: str
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", cluster, user)

    with pytest.raises(CniError, match=cause) as refused:
        from_kubeconfig(path)

    assert path in str(refused.value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no object"),
        ("[]", "no object"),
        ("{", "decode"),
        ("current-context: a\n", "no context 'a'"),
        ("{}", "no context ''"),
        ("contexts: [{name: '', context: {}}]", "no cluster ''"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)

    with pytest.raises(CniError, match=cause):
        from_kubeconfig(str(tmp_path / "kubeconfig"))


def test_outside_of_a_cluster_the_way_out_is_told() -> None:
    with pytest.raises(CniError, match="--kubeconfig or --api-server"):
        in_cluster({})
    with pytest.raises(CniError, match=f"cannot read {access.SERVICE_ACCOUNT}/token"):
        in_cluster({}, "https://192.0.2.1")


@pytest.mark.parametrize(
    "server", ["ftp://x", "https://", "", "https://[::1", "https://x:99999", "http://x"]
)
def test_a_url_that_is_none_is_told(make_source: MakeSource, server: str) -> None:
    with Watcher(make_source(Access(server))) as seen:
        assert wait_until(lambda: "reach the API" in seen.source.health().last_error, 10)


@pytest.mark.parametrize(
    "found",
    [Access("https://127.0.0.1:1", ca="no PEM"), Access("https://127.0.0.1:1", identity=b"no PEM")],
    ids=["authority", "identity"],
)
def test_certificates_that_are_none_are_told(make_source: MakeSource, found: Access) -> None:
    with Watcher(make_source(found)) as seen:
        assert wait_until(lambda: "reach the API" in seen.source.health().last_error, 10)
