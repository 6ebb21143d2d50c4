"""Arguments and environment of cnitool, understood as it understands them.

CNI_PATH, NETCONFPATH, CAP_ARGS, CNI_ARGS, CNI_IFNAME; the container ID is a digest of the
namespace's path, so that two calls on the same path mean the same attachment.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni.errors import CniError, Code
from cni.runtime import conflist
from cni.runtime.cache import Args
from cni.runtime.conflist import ConfList
from cni.runtime.network import Container, Runtime

NET_D = "/etc/cni/net.d"
INSTALLED = "/opt/cni/bin"
IFNAME = "eth0"


@dataclass(frozen=True)
class Settings:
    """What one call is about."""

    runtime: Runtime
    conflist: ConfList
    container: Container


def read(network: str, netns: str, ifname: str, env: Mapping[str, str]) -> Settings:
    """Return what the arguments and `env` say.  Raises CniError."""
    found = conflist.load(net_d(env), network)
    path = absolute(netns)
    container = Container(
        container_id=container_id(path),
        netns=path,
        ifname=ifname or env.get("CNI_IFNAME") or IFNAME,
        args=_args(env.get("CNI_ARGS", "")),
        capability_args=_capability_args(env.get("CAP_ARGS", "")),
    )
    return Settings(Runtime(cni_path(env)), found, container)


def net_d(env: Mapping[str, str]) -> Path:
    """Return the directory of network configurations."""
    return Path(env.get("NETCONFPATH") or NET_D)


def cni_path(env: Mapping[str, str]) -> str:
    """Return where programs are searched: CNI_PATH, else beside this one and where all are."""
    return env.get("CNI_PATH") or f"{own_directory()}:{INSTALLED}"


def own_directory() -> Path:
    """Return the directory of the program that runs now."""
    return Path(sys.executable if is_frozen() else sys.argv[0]).resolve().parent


def is_frozen() -> bool:
    """Tell whether this is an executable of the suite, not the source tree under Python."""
    return bool(getattr(sys, "frozen", False))


def source_tree() -> Path | None:
    """Return the directory of the project; None when frozen, and nobody can tell."""
    return None if is_frozen() else Path(__file__).resolve().parents[2]


def container_id(netns: str) -> str:
    """Return cnitool's ID for the namespace at the absolute path `netns`."""
    return f"cnitool-{hashlib.sha512(os.fsencode(netns)).digest()[:10].hex()}"


def absolute(path: str) -> str:
    """Return `path` from the root, by its text alone: links stay as they are."""
    whole = path if path.startswith("/") else f"{_directory()}/{path}"
    return "/" + os.path.normpath(whole).lstrip("/")


def _directory() -> str:
    """Return the directory that we are in, by the name that the shell has for it if it has one."""
    shown = os.environ.get("PWD", "")
    with suppress(OSError):
        if shown.startswith("/") and Path(shown).samefile("."):
            return shown
    return str(Path.cwd())


def _args(text: str) -> Args:
    """Return the pairs of CNI_ARGS; both halves must be there, as cnitool wants it."""
    pairs = []
    for pair in text.split(";") if text else []:
        key, _, value = pair.partition("=")
        if not key or not value or "=" in value:
            msg = f"invalid CNI_ARGS pair {pair[:200]!r}"
            raise CniError(Code.INVALID_ENVIRONMENT, msg, "write K=V;K=V")
        pairs.append((key, value))
    return tuple(pairs)


def _capability_args(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text) if text else None
    except (ValueError, RecursionError) as error:
        msg = f"cannot use CAP_ARGS: {error}"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, _CAP_ARGS_HINT) from error
    if values is not None and not isinstance(values, dict):
        msg = f"cannot use CAP_ARGS: it is a {type(values).__name__}"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, _CAP_ARGS_HINT)
    return values or {}


_CAP_ARGS_HINT = 'it must be a JSON object such as {"portMappings": [...]}'
