"""The agent's start: settings are read in a child, so that what reads them is not kept loaded."""

import logging
import marshal
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from cni.agent.listener import Listener, build_id
from cni.agent.lock import Lock
from cni.agent.supervisor import SIGNALS, Child, Supervisor, notify

log = logging.getLogger(__name__)
PAUSE = 10.0  # seconds before a role that cannot begin is started again
Json = dict[str, Any]


def main(program: Callable[[], int]) -> int:
    """Run the agent as the command line says; return its exit status."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="pycnid: %(levelname)s: %(message)s"
    )
    status, said = _in_child(_read)
    if status < 0:
        log.error("cannot read the settings: stopped by signal %d", -status)
        return 1
    if not said:
        return status
    told = marshal.loads(said)  # noqa: S302  # from our own child
    listener = Listener(told["socket"])
    children = []
    if told["warm"]:
        children += [Child("the warm role", partial(_warm, listener, told, program))]
    if told["node"]:
        children += [Child("the node's roles", partial(_node, told))]
    if told["vpc"]:
        children += [Child("the vpc role", partial(_vpc, told))]
    lock = Lock()
    try:
        if told["node"] or told["vpc"]:
            lock.open()
        return Supervisor(children, [listener] * told["warm"]).run()
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400  # the text says it all
        return 1
    finally:
        lock.close()  # after the last pass of a role: who cleans up waits for that


def _in_child(run: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return what `run` returns in a process of its own: an exit status, and bytes."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status, said = run()
            sys.stdout.flush()
            os.write(writer, said)
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def _read() -> tuple[int, bytes]:
    """Read command line and settings; return what the processes must know."""
    from cni.agent import command
    from cni.agent.settings import VPC, WARM
    from cni.kernel import sysctl

    status, found = command.read()
    if found is None:
        return status, b""
    try:
        sysctl.make_writable()  # for all who share our mounts
    except OSError as error:
        log.warning("%s", error.strerror)
    told = {
        "socket": found.socket,
        "workers": found.workers,
        "limit": found.limit,
        "warm": WARM in found.roles,
        "node": found.needs_nodes,
        "vpc": VPC in found.roles,
        "settings": found.values,
    }
    return 0, marshal.dumps(told)


def _warm(listener: Listener, told: Json, program: Callable[[], int]) -> None:
    """Be the zygote."""
    from cni.agent import warm

    written = warm.load()
    limits = warm.Limits(told["workers"], told["limit"])
    zygote = warm.Zygote(listener.socket, build_id(), limits, program, written)
    zygote.take_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    notify("READY=1")
    zygote.run()


def _node(told: Json) -> None:
    """Be the process of the other roles: READY is the zygote's word, if there is one."""
    from cni.agent import settings
    from cni.agent.node import Node
    from cni.config import Section

    node = Node(settings.read(Section(told["settings"])))
    if not told["warm"]:
        notify("READY=1")
    node.run()


def _vpc(told: Json) -> None:
    """Be the process of the pool of VPC addresses: READY is the zygote's word, or the nodes'."""
    from cni.agent import settings
    from cni.agent.vpc.role import Role
    from cni.config import Section
    from cni.errors import CniError

    try:
        role = Role(settings.read(Section(told["settings"])))
    except CniError as error:  # the SDK is not there, or the record cannot be read
        log.error("%s", error)  # noqa: TRY400  # the text says it all
        signal.sigtimedwait(SIGNALS, PAUSE)
        return
    if not told["warm"] and not told["node"]:
        notify("READY=1")
    role.run()
