"""The entry of every program: environment and stdin in, one JSON document and 0 or 1 out.

Everything that can be refused is refused before anything is done (CNI SPEC 1.1.0, sections 2
to 4; the order in which errors win is that of the reference library).
"""

import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from cni import __version__, versions
from cni.attachment import Attachment
from cni.config import Section
from cni.errors import CniError, Code, KernelError
from cni.kernel import netns
from cni.names import NAME_MAX, check_container_id, check_ifname, check_network
from cni.programs import PROGRAMS
from cni.request import Request, read_config
from cni.result import Result, dump, render

TEXT_MAX = 800  # characters of a message, and of its details
STOPS = (signal.SIGTERM, signal.SIGINT)
STDIN_MAX = 4 << 20  # bytes; containerd reads conflists up to 2 MiB


@dataclass(frozen=True)
class Plugin:
    """The five verbs.  No defaults: a plugin that forgets one does not type-check."""

    add: Callable[[Request], Result]
    delete: Callable[[Request], None]
    check: Callable[[Request], None]
    status: Callable[[Request], None]
    gc: Callable[[Request], None]


class Verb(NamedTuple):
    """How a verb is called, what it needs besides CNI_COMMAND, the first SPEC that has it."""

    method: str
    required: tuple[str, ...]
    since: str


VERBS = {
    "ADD": Verb("add", ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"), "0.1.0"),
    "DEL": Verb("delete", ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"), "0.1.0"),
    "CHECK": Verb("check", ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"), "0.4.0"),
    "GC": Verb("gc", ("CNI_PATH",), "1.1.0"),
    "STATUS": Verb("status", ("CNI_PATH",), "1.1.0"),
}

# First match wins; CniError carries its own code.
CODE_OF: tuple[tuple[type[BaseException], Code], ...] = (
    (KernelError, Code.KERNEL_REFUSED),
    (OSError, Code.IO_FAILURE),
    (BaseException, Code.INTERNAL),
)


def main(name: str) -> int:
    """Be the program `name`: return its exit status."""
    logging.basicConfig(stream=sys.stderr, format=f"{name}: %(levelname)s: %(message)s")
    for number in STOPS:
        signal.signal(number, _stop)
    verb = os.environ.get("CNI_COMMAND", "")
    if not verb:
        sys.stderr.write(f"CNI {name} plugin v{__version__}\n")
        known = ", ".join(versions.SUPPORTED)
        sys.stderr.write(f"CNI protocol versions supported: {known}\n")
        return 0
    output, status = run(name, os.environ, lambda: read_all(0))
    try:
        sys.stdout.buffer.write(output.encode(errors="replace"))
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"{name}: cannot write to stdout: {error.strerror}\n")
        return 1
    return status


def _stop(number: int, _frame: object) -> NoReturn:
    """Turn SIGTERM into an exception: without that no undo would run.

    A second one does not stop the undo.  It is heard, not ignored: what we execute would ignore it.
    """
    for each in STOPS:
        signal.signal(each, lambda *_: None)
    raise SystemExit(128 + number)


def read_all(fd: int) -> bytes:
    """Return all of `fd`.  Raises CniError code 5 beyond STDIN_MAX or when it cannot be read."""
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := os.read(fd, 1 << 16):
            chunks.append(chunk)
            size += len(chunk)
            if size > STDIN_MAX:
                msg = f"cannot read the network configuration: over {STDIN_MAX >> 20} MiB"
                raise CniError(Code.IO_FAILURE, msg, "send one JSON object on stdin")
    except OSError as error:
        msg = f"cannot read the network configuration from stdin: {error.strerror}"
        raise CniError(Code.IO_FAILURE, msg) from error
    return b"".join(chunks)


def run(name: str, env: Mapping[str, str], read_stdin: Callable[[], bytes]) -> tuple[str, int]:
    """Serve one invocation; return what stdout gets and the exit status."""
    version = versions.NEWEST  # in which an error speaks until the configuration is read
    try:
        _check_environment(env)
        if env["CNI_COMMAND"] == "VERSION":
            return f"{json.dumps(_versions())}\n", 0
        stdin = read_stdin()
        config = read_config(stdin)
        request = _request(env, stdin, config)
        if request.cni_version in versions.SUPPORTED:
            version = request.cni_version
        return _dispatch(name, request, env.get("CNI_NETNS_OVERRIDE", "")), 0
    except (Exception, SystemExit) as error:  # noqa: BLE001  # each becomes JSON
        return dump(error_object(error, version)), 1


def _versions() -> dict[str, object]:
    return {"cniVersion": versions.NEWEST, "supportedVersions": list(versions.SUPPORTED)}


def error_object(error: BaseException, version: str) -> dict[str, object]:
    """Return the error as the SPEC prints it."""
    if isinstance(error, CniError):
        fields = {"cniVersion": version, "code": int(error.code), "msg": _short(error.msg)}
        return fields | ({"details": _short(error.details)} if error.details else {})
    code = next(code for kind, code in CODE_OF if isinstance(error, kind))
    if code == Code.INTERNAL and not isinstance(error, SystemExit):
        logging.getLogger(__name__).error("unexpected", exc_info=error)
    text = "stopped by a signal" if isinstance(error, SystemExit) else str(error)
    return {"cniVersion": version, "code": int(code), "msg": _short(text) or type(error).__name__}


def _short(text: str) -> str:
    """Return `text` without its middle when it is long: somebody has to read it in a log."""
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX // 2]} … {text[-TEXT_MAX // 4 :]}"


def _check_environment(env: Mapping[str, str]) -> None:
    """Refuse malformed variables, then all missing ones together (code 4)."""
    verb = VERBS.get(env["CNI_COMMAND"])
    missing = []
    for variable in verb.required if verb else ():
        value = env.get(variable, "")
        if not value:
            missing.append(variable)
        elif variable == "CNI_CONTAINERID":
            check_container_id(value)
        elif variable == "CNI_IFNAME":
            check_ifname(value)
    if missing:
        msg = f"required env variables [{','.join(missing)}] missing"
        raise CniError(Code.INVALID_ENVIRONMENT, msg)


def _request(env: Mapping[str, str], stdin: bytes, config: Section) -> Request:
    network = config.get("name") or ""
    check_network(network)
    return Request(
        verb=env["CNI_COMMAND"],
        attachment=Attachment(network, env.get("CNI_CONTAINERID", ""), env.get("CNI_IFNAME", "")),
        netns=env.get("CNI_NETNS", ""),
        args=env.get("CNI_ARGS", ""),
        path=env.get("CNI_PATH", ""),
        stdin=stdin,
        config=config,
    )


def _dispatch(name: str, request: Request, override: str) -> str:
    verb = VERBS.get(request.verb)
    if verb is None:
        msg = f"unknown CNI_COMMAND: {request.verb[:50]}"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, f"known: {', '.join(VERBS)}, VERSION")
    _check_version(request, verb)
    request = _with_checked_netns(name, request, override)
    result = getattr(load(name), verb.method)(request)
    return dump(render(result, request.cni_version)) if isinstance(result, Result) else ""


def load(name: str) -> Plugin:
    """Return the verbs of the program `name`."""
    plugin: Plugin = importlib.import_module(PROGRAMS[name].module).PLUGIN
    return plugin


def _check_version(request: Request, verb: Verb) -> None:
    version = request.cni_version
    try:
        allowed = verb.since == versions.SUPPORTED[0] or versions.at_least(version, verb.since)
    except ValueError as error:
        msg = f"cannot read cniVersion: {error}"
        raise CniError(Code.DECODING_FAILURE, msg[:200]) from error
    if not allowed:
        msg = f"config version does not allow {request.verb}"
        details = f"config is {version}, {request.verb} came with {verb.since}"
        raise CniError(Code.INCOMPATIBLE_VERSION, msg, details)
    if version not in versions.SUPPORTED:
        known = " ".join(f'"{one}"' for one in versions.SUPPORTED)
        details = f'config is "{version[:50]}", plugin supports [{known}]'
        raise CniError(Code.INCOMPATIBLE_VERSION, "incompatible CNI versions", details)


def _with_checked_netns(name: str, request: Request, override: str) -> Request:
    """Refuse what is not a namespace, or our own; on DEL the former means: it is gone.

    IPAM programs never enter it, and are called by hand with any path there.
    """
    path = request.netns
    if not path or request.verb in ("GC", "STATUS"):
        return request
    if not netns.exists(path):
        if PROGRAMS[name].kind == "ipam":
            return request
        if request.verb == "DEL":
            return replace(request, netns="")
        msg = f"cannot use CNI_NETNS {path[:NAME_MAX]!r}: not a network namespace"
        details = "pass the path of one, as `ip netns` or the runtime makes it"
        raise CniError(Code.INVALID_ENVIRONMENT, msg, details)
    if netns.is_own(path) and override.casefold() not in ("1", "true"):
        msg = "plugin's netns and netns from CNI_NETNS should not be the same"
        details = f"{path[:NAME_MAX]} is the host's; CNI_NETNS_OVERRIDE=1 allows it"
        raise CniError(Code.INVALID_NETNS, msg, details)
    return request
