"""A real kube-apiserver with its etcd; KUBE_BIN_DIR names the directory of the first.

etcd is in the same directory, or on PATH (Debian's etcd-server).
"""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import IO

import urllib3

from tests.agent.nodes.pki import TOKENS, Pki
from tests.lab import wait_until

KUBE_BIN_DIR = os.environ.get("KUBE_BIN_DIR", "")
# Kubernetes documentation, "Using ABAC Authorization"
POLICIES = (
    {"user": "admin", "namespace": "*", "resource": "*", "apiGroup": "*", "nonResourcePath": "*"},
    {"user": "agent", "resource": "nodes", "apiGroup": "", "readonly": True},
)


class KubeApiServer:
    """etcd and kube-apiserver as processes of ours, their files in `directory`."""

    def __init__(self, pki: Pki, directory: Path, address: str = "127.0.0.1") -> None:
        self._pki, self._directory, self.address = pki, directory, address
        self.port, self._etcd_port, peer = _free_port(), _free_port(), _free_port()
        self._log = (directory / "log").open("w")
        url, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{peer}"
        self._etcd = _run(
            self._log,
            shutil.which("etcd", path=f"{KUBE_BIN_DIR}:{os.environ['PATH']}") or "etcd",
            f"--data-dir={directory}/etcd",
            *(f"--{key}-client-urls={url}" for key in ("listen", "advertise")),
            *(f"--{key}-peer-urls={peers}" for key in ("listen", "initial-advertise")),
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        )
        self._write_users()
        self._server: subprocess.Popen[bytes] | None = None

    def _write_users(self) -> None:
        users = (f"{token},{user},{user}\n" for token, user in TOKENS.items())
        (self._directory / "tokens.csv").write_text("".join(users))
        head = {"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy"}
        policies = (json.dumps({**head, "spec": policy}) for policy in POLICIES)
        (self._directory / "policy.jsonl").write_text("\n".join(policies))

    def start(self) -> None:
        pki, own = self._pki, self._directory
        self._server = _run(
            self._log,
            f"{KUBE_BIN_DIR}/kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={self.address}",
            f"--secure-port={self.port}",
            f"--cert-dir={own}",
            f"--client-ca-file={pki.path('ca.crt')}",
            f"--tls-cert-file={pki.path('server.crt')}",
            f"--tls-private-key-file={pki.path('server.key')}",
            f"--token-auth-file={own}/tokens.csv",
            "--authorization-mode=ABAC",
            f"--authorization-policy-file={own}/policy.jsonl",
            "--endpoint-reconciler-type=none",
            *_dual_stack(),
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://localhost",
            f"--service-account-key-file={pki.path('server.crt')}",
            f"--service-account-signing-key-file={pki.path('server.key')}",
        )
        assert wait_until(self._is_ready, 180), f"kube-apiserver does not start: {own}/log"

    def _is_ready(self) -> bool:
        url = f"https://{self.address}:{self.port}/readyz"
        with urllib3.PoolManager(ca_certs=self._pki.path("ca.crt"), retries=False) as pool:
            try:
                headers = {"Authorization": "Bearer admin-token"}
                return pool.request("GET", url, headers=headers, timeout=5).status == 200
            except urllib3.exceptions.HTTPError:
                return False

    def stop(self) -> None:
        """End, as a machine does that loses its power."""
        _kill(self._server)
        self._server = None

    def forget(self) -> None:
        """Make every resourceVersion up to now too old: its watch cache starts from the next."""
        self.stop()
        self.start()

    def end(self) -> None:
        self.stop()
        _kill(self._etcd)
        self._log.close()


def _dual_stack() -> list[str]:
    """Return the option that nodes with two pod CIDRs need before Kubernetes 1.23."""
    words = [f"{KUBE_BIN_DIR}/kube-apiserver", "--version"]
    version = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    minor = int(version.split(".")[1])
    return ["--feature-gates=IPv6DualStack=true"] if minor < 23 else []


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _run(log: IO[str], *words: str) -> "subprocess.Popen[bytes]":
    """Start what ends with us, however we end."""
    words = ("setpriv", "--pdeathsig", "KILL", *words)
    return subprocess.Popen(words, stdout=log, stderr=log, cwd="/")


def _kill(process: "subprocess.Popen[bytes] | None") -> None:
    if process:
        process.kill()
        process.wait(30)
