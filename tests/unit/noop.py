"""A program for the tests of the skeleton: it writes down what it is asked, and does as told.

The key `do` of its configuration names what ADD does.
"""

import errno
import os
import signal

from cni.errors import CniError, Code, KernelError
from cni.request import Request
from cni.result import DNS, Result
from cni.rollback import rollback
from cni.skel import Plugin

calls: list[Request] = []


def add(request: Request) -> Result:
    """Return a result, or fail as `do` says."""
    calls.append(request)
    return ACTIONS[request.config.string("do", "succeed")](request)


def _succeed(_request: Request) -> Result:
    return Result(dns=DNS(domain="\u00e9\ud800"))


def _refuse(_request: Request) -> Result:
    raise CniError(Code.TRY_AGAIN, "cannot do it now", "wait")


def _refuse_shortly(_request: Request) -> Result:
    raise CniError(4711, "no")


def _kernel(_request: Request) -> Result:
    raise KernelError(errno.EBUSY, "add link eth0", "Device or resource busy")


def _file(_request: Request) -> Result:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/none")


def _fault(_request: Request) -> Result:
    raise ZeroDivisionError


def _stopped(request: Request) -> Result:
    """Be told to end between two steps."""
    log = os.open(request.config.string("file"), os.O_WRONLY | os.O_CREAT)
    with rollback() as undo:
        undo(lambda: os.write(log, b"first undone\n"))
        undo(lambda: os.write(log, b"second undone\n"))
        os.kill(os.getpid(), signal.SIGTERM)
        os.write(log, b"went on\n")
    return Result()


ACTIONS = {
    "succeed": _succeed,
    "refuse": _refuse,
    "refuse shortly": _refuse_shortly,
    "kernel": _kernel,
    "file": _file,
    "fault": _fault,
    "stopped": _stopped,
}


def _note(request: Request) -> None:
    calls.append(request)


PLUGIN = Plugin(add=add, delete=_note, check=_note, status=_note, gc=_note)
