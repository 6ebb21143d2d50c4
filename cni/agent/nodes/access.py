"""How to reach the Kubernetes API: as a pod of the cluster does, or as a kubeconfig file says.

Both are read again for each connection: tokens and certificates are replaced while we run.
"""

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from cni import document
from cni.config import Section
from cni.errors import CniError, Code, invalid_config

# Kubernetes documentation, "Accessing the API from within a Pod"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

# Keys of kubeconfig files that we do not follow, and what to write instead.
_FOREIGN_USER = dict.fromkeys(
    ("exec", "auth-provider", "username"), "an agent needs a token or a client certificate"
)
_FOREIGN_CLUSTER = {
    "insecure-skip-tls-verify": "give certificate-authority",
    "proxy-url": "the API must be reached directly",
}


@dataclass(frozen=True)
class Access:
    """The URL of the API, and what proves who is who.

    `ca` and `identity` are PEM: the authorities of the API's certificate (empty: the machine's
    own), and a client's certificate with its key.  `server_name` is the name in the API's
    certificate, where it is not that of the URL.
    """

    server: str
    token: str = field(default="", repr=False)
    ca: str = ""
    identity: bytes = field(default=b"", repr=False)
    server_name: str = ""


def reach(kubeconfig: str = "", api_server: str = "") -> Callable[[], Access]:
    """Return what tells the access of the moment; `api_server` takes the place of the URL.

    What it returns raises CniError.  Without a kubeconfig file we are a pod.
    """

    def access() -> Access:
        found = from_kubeconfig(kubeconfig) if kubeconfig else in_cluster(os.environ, api_server)
        return replace(found, server=api_server) if api_server else found

    return access


def in_cluster(
    environ: Mapping[str, str], server: str = "", directory: str = SERVICE_ACCOUNT
) -> Access:
    """Return the access of a pod, from its service account; the URL from its environment."""
    if not server:
        host, port = (environ.get(f"KUBERNETES_SERVICE_{key}", "") for key in ("HOST", "PORT"))
        if not host or not port:
            msg = "cannot find the Kubernetes API: this is no pod of a cluster"
            raise invalid_config(msg, "say --kubeconfig or --api-server")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    token, ca = (_read(os.path.join(directory, name)) for name in ("token", "ca.crt"))
    return Access(server, _token(token), _text(ca))


def from_kubeconfig(path: str) -> Access:
    """Return the access that the file's current context describes."""
    value = document.read(path, "kubeconfig file")
    try:
        if not isinstance(value, dict):
            raise invalid_config("it is no object")
        return _from_config(Section(value), os.path.dirname(path))
    except CniError as error:
        msg = f"cannot use kubeconfig file {path}: {error.msg}"
        raise CniError(error.code, msg, error.details) from error


def _from_config(config: Section, directory: str) -> Access:
    context = _named(config, "context", config.string("current-context"))
    cluster = _named(config, "cluster", context.string("cluster"))
    user = _named(config, "user", context.string("user"))
    for section, keys in ((user, _FOREIGN_USER), (cluster, _FOREIGN_CLUSTER)):
        for key, instead in keys.items():
            if section.get(key):
                raise invalid_config(f"cannot use {section.path(key)}", instead)
    identity = [_content(user, key, directory) for key in ("client-certificate", "client-key")]
    token_file = user.string("tokenFile")
    token = user.string("token").encode()
    if token_file:
        token = _read(os.path.join(directory, token_file))
    return Access(
        cluster.string("server"),
        _token(token),
        _text(_content(cluster, "certificate-authority", directory)),
        b"\n".join(identity) if all(identity) else b"",
        cluster.string("tls-server-name"),
    )


def _named(config: Section, kind: str, name: str) -> Section:
    """Return the context, cluster or user of that name."""
    for entry in config.sections(f"{kind}s"):
        if entry.string("name") == name:
            return entry.section(kind)
    raise invalid_config(f"it has no {kind} {name!r}")


def _content(section: Section, key: str, directory: str) -> bytes:
    """Return what stands in the file `key`, or inline under `key`-data; empty for neither."""
    inline, path = section.string(f"{key}-data"), section.string(key)
    if not inline:
        return _read(os.path.join(directory, path)) if path else b""
    try:
        return base64.b64decode(inline, validate=True)
    except ValueError as error:
        raise invalid_config(f"cannot use {section.path(key)}-data: it is no base64") from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CniError(Code.IO_FAILURE, f"cannot read {path}: {error.strerror}") from error


def _text(value: bytes) -> str:
    """Return what does not decode with marks in it, that the reader of the text refuses."""
    return value.decode(errors="replace")


def _token(value: bytes) -> str:
    token = _text(value).strip()
    if not (token.isascii() and token.isprintable()):
        raise invalid_config("cannot use the token: it cannot stand in an HTTP header")
    return token
