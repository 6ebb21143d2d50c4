"""Certificates and tokens: who is who between the agent and an API."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Who may do what: admin everything, agent read nodes, stranger nothing.
TOKENS = {"admin-token": "admin", "agent-token": "agent", "stranger-token": "stranger"}
NAMES = "DNS:localhost,DNS:api.test,IP:127.0.0.1,IP:::1,IP:10.0.0.1,IP:172.18.0.200"


@dataclass(frozen=True)
class Pki:
    """A directory with ca, other-ca, server and agent: each a .crt and a .key."""

    directory: Path

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def text(self, name: str) -> str:
        return (self.directory / name).read_text()


def make_pki(directory: Path) -> Pki:
    """Make authorities, and certificates of the first one."""
    for name in ("ca", "other-ca"):
        _openssl(directory, f"req -x509 {_key(name)} -subj /CN={name} -days 2 -out {name}.crt")
    for name, uses in (("server", f"serverAuth\nsubjectAltName={NAMES}"), ("agent", "clientAuth")):
        (directory / f"{name}.ext").write_text(f"extendedKeyUsage={uses}\n")
        _openssl(directory, f"req {_key(name)} -subj /CN={name} -out {name}.csr")
        _openssl(
            directory,
            f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2"
            f" -extfile {name}.ext -out {name}.crt",
        )
    return Pki(directory)


def kubeconfig(pki: Pki, url: str) -> str:
    """Return a kubeconfig file by which the agent reaches an API."""
    cluster = {"server": url, "certificate-authority": pki.path("ca.crt")}
    return json.dumps(
        {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": "agent-token"}}],
        }
    )


def _key(name: str) -> str:
    return f"-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key"


def _openssl(directory: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)
