"""Finding and running other programs in CNI_PATH (CNI SPEC 1.1.0, section 4).

A delegate that is this same suite's is called in-process: that saves starting an interpreter.
"""

import errno
import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cni.config import decode
from cni.errors import CniError, Code, invalid_config
from cni.programs import PROGRAMS
from cni.request import Request
from cni.result import Json, Result, read_result, render

if TYPE_CHECKING:
    import subprocess

log = logging.getLogger(__name__)
METHODS = {"ADD": "add", "DEL": "delete", "CHECK": "check", "STATUS": "status", "GC": "gc"}
HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # while a program is being started
BUSY_TRIES = 6  # a program file that is being written right now: ETXTBSY, once a second


@dataclass(frozen=True)
class Delegate:
    """Another program that serves a part of `request`: the IPAM of an interface plugin."""

    name: str
    program: str
    request: Request

    def add(self) -> Result:
        """Return the delegate's result; after a failed ADD it gets its DEL, as the SPEC asks.

        Not so one of ours: it has left nothing, and DEL would release what a first ADD of the
        same attachment holds, when this one was refused as the second.
        """
        try:
            return self._read(self._call("ADD"))
        except BaseException:
            if not is_ours(self.program):
                self._undo()
            raise

    def _read(self, said: Json | None) -> Result:
        try:
            return read_result(printed_result(said), self.request.cni_version)
        except CniError as error:
            msg = f"cannot use the result of {self.name}: {error.msg}"
            raise CniError(error.code, msg, error.details) from error

    def _undo(self) -> None:
        try:
            self.delete()
        except Exception:
            log.warning("cannot undo ADD of %s", self.name, exc_info=True)

    def delete(self) -> None:
        """Release what ADD took; it may be gone."""
        self._call("DEL")

    def check(self) -> None:
        """Raise CniError unless the delegate still holds what its result says."""
        self._call("CHECK")

    def status(self) -> None:
        """Raise CniError unless the delegate can serve ADD."""
        self._call("STATUS")

    def gc(self) -> None:
        """Let the delegate remove what belongs to no valid attachment."""
        self._call("GC")

    def _call(self, verb: str) -> Json | None:
        request = replace(self.request, verb=verb)
        if is_ours(self.program):
            plugin = importlib.import_module(PROGRAMS[self.name].module).PLUGIN
            result = getattr(plugin, METHODS[verb])(request)
            # through JSON and back, so that it is what an executed delegate would have said
            return render(result, request.cni_version) if isinstance(result, Result) else None
        return execute(self.program, _environment(request), request.stdin)


def delegate(request: Request, name: str) -> Delegate:
    """Return the delegate called `name`.  Raises CniError code 7 when it is not in CNI_PATH."""
    return Delegate(name, find(name, request.path), request)


def ipam(request: Request) -> Delegate | None:
    """Return the delegate that gives addresses; None when the network names none."""
    name = request.config.section("ipam").string("type")
    return delegate(request, name) if name else None


def find(name: str, path: str) -> str:
    """Return the program `name` in `path`, directories with `:` between."""
    if not name:
        raise invalid_config("no plugin name provided", "the key type is missing")
    if "/" in name or name in (".", ".."):
        raise invalid_config(f"invalid plugin name: {name[:100]}")
    directories = [directory for directory in path.split(":") if directory]
    for directory in directories:
        program = os.path.join(directory, name)
        if os.path.isfile(program):
            return program
    msg = f'failed to find plugin "{name[:100]}" in path [{" ".join(directories)[:500]}]'
    raise invalid_config(msg, "install it there, or add its directory to CNI_PATH")


def is_ours(program: str) -> bool:
    """Tell whether `program` is a file of the suite that runs now.

    All programs of the suite are one file under several names; a copy of the folder may have
    lost the hard links, and another suite's program may have been copied over one of ours.  Our
    own file is "ptp (deleted)" when an installation replaced it before we asked for its name.
    """
    own = sys.executable if getattr(sys, "frozen", False) else sys.argv[0]
    if os.path.basename(program) not in PROGRAMS:
        return False
    try:
        if not os.path.samefile(os.path.dirname(own) or ".", os.path.dirname(program) or "."):
            return False
        return os.stat(own).st_size == os.stat(program).st_size
    except FileNotFoundError:
        return False


def _environment(request: Request) -> dict[str, str]:
    attachment = request.attachment
    return {
        "CNI_COMMAND": request.verb,
        "CNI_CONTAINERID": attachment.container_id,
        "CNI_NETNS": request.netns,
        "CNI_IFNAME": attachment.ifname,
        "CNI_ARGS": request.args,
        "CNI_PATH": request.path,
    }


def execute(program: str, env: dict[str, str], stdin: bytes) -> Json | None:
    """Run `program` with `env` added to ours; return the JSON it printed, None for nothing.

    `null` is an empty result, {}, as for the reference library.

    Raises CniError: the program's own error, or code 103 when it died without one.
    """
    done = _run(program, os.environ | env, stdin)
    if done.returncode:
        raise _plugin_error(program, done.returncode, done.stdout)
    said = done.stdout.strip()
    return None if not said else decode(b"{}" if said == b"null" else said, f"what {program} said")


def printed_result(said: Json | None) -> Json:
    """Return the result that ADD printed.  Raises CniError code 6 when it printed none."""
    if said is None:
        details = "ADD must print a result, a chained plugin at least the one before"
        raise CniError(Code.DECODING_FAILURE, "it printed no result", details)
    return said


def _run(program: str, env: dict[str, str], stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
    tries = BUSY_TRIES
    while True:
        try:
            return _run_once(program, env, stdin)
        except OSError as error:
            tries -= 1
            if error.errno != errno.ETXTBSY or not tries:
                msg = f"cannot execute {program}: {error.strerror}"
                raise CniError(Code.IO_FAILURE, msg) from error
            time.sleep(1)


def _run_once(
    program: str, env: dict[str, str], stdin: bytes
) -> "subprocess.CompletedProcess[bytes]":
    """Run `program`; it does not outlive us, whenever a signal comes."""
    import subprocess

    process = None
    try:
        with _signals_held():
            process = subprocess.Popen(
                [program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        stdout, _ = process.communicate(stdin)
        return subprocess.CompletedProcess([program], process.returncode, stdout)
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        raise


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals to end wait for the end of the block, if somebody here hears them.

    Only the main thread does.  One that is ignored stays so, for what we execute too.
    """
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = [number for number in HELD if callable(signal.getsignal(number))]
    handlers = [signal.signal(number, lambda *args: came.append(args[0])) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
        for sent in came:
            signal.raise_signal(sent)


def _plugin_error(program: str, status: int, stdout: bytes) -> CniError:
    name = os.path.basename(program)
    try:
        error = json.loads(stdout)
        return CniError(int(error["code"]), str(error["msg"]), str(error.get("details") or ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        said = stdout.decode(errors="replace")[:500]
        msg = f"cannot run {name}: exit status {status}" + (f": {said}" if said else "")
        return CniError(Code.PLUGIN_FAILED, msg, "its stderr may say more")
