"""Hand an invocation over to the node agent, which has everything loaded already.

The first thing that a frozen program runs: only built-in modules are imported.  The agent's side
is `cni/agent/warm.py`; docs/architecture.md has the protocol.
"""

import _signal  # type: ignore[import-not-found]  # built in; signal itself loads enum
import _socket
import marshal
import posix
import sys

SOCKET = "/run/pycni/warm.sock"
# What the worker must share with us: in this order, after stdin, stdout and stderr.
PLACES = ("/proc/self/ns/mnt", "/proc/self/ns/net", "/proc/self/ns/pid", "/", ".")
ACCEPTED = b"A"
ACCEPT_WAIT = 10.0  # seconds; then the agent hangs, or has too much to do
ALONE = ("cnictl", "pycnid")  # programs that are never handed over
LOST = b"""{
    "cniVersion": "1.0.0",
    "code": 103,
    "msg": "the node agent's worker was lost",
    "details": "it may have done a part of its work: DEL cleans up; the log of pycnid may say why"
}"""


def hand_over(
    argv: list[str], build: str, path: str = SOCKET, wait: float = ACCEPT_WAIT
) -> int | None:
    """Let the agent serve this invocation; return its exit status, None: serve it yourself.

    None comes only when nothing has begun; once a worker has, there is no second try.
    After `wait` seconds the agent is taken for one that hangs.
    """
    if argv[0].rpartition("/")[2] in ALONE or not posix.environ.get(b"CNI_COMMAND"):
        return None
    try:
        for stream in (0, 1, 2):
            posix.fstat(stream)  # a closed one would be the number of our socket
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        connection.settimeout(wait)
        connection.connect(path)
        _offer(connection, argv, build)
    except OSError:
        return None
    if not _is_accepted(connection):
        return None
    # the worker hears of it as a signal, and what it then says is its status
    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, lambda *_: _send(connection))
    status = _receive(connection)
    if status:
        return status[0]
    posix.write(1, LOST)
    return 1


def _offer(connection: _socket.socket, argv: list[str], build: str) -> None:
    """Send what an exec would have given.  Raises OSError when it cannot or shall not be sent."""
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if credentials[4:8] != bytes(4):  # pid, uid, gid: anybody may listen, only root is believed
        raise PermissionError
    umask = posix.umask(0)
    posix.umask(umask)
    program = posix.readlink("/proc/self/exe")
    invocation = marshal.dumps((build, program, umask, argv, posix.environ))
    files = [posix.open(place, posix.O_RDONLY | posix.O_CLOEXEC) for place in PLACES]
    numbers = b"".join(file.to_bytes(4, sys.byteorder) for file in (0, 1, 2, *files))
    # A worker speaks first.  In a queue that nobody reads our stdout would stay open, and a
    # runtime that waits for its end would hang with the agent.
    if connection.recv(len(build) + 1) != build.encode():
        raise PermissionError
    connection.sendmsg([invocation], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    for file in files:
        posix.close(file)


def _is_accepted(connection: _socket.socket) -> bool:
    """Wait for a worker to begin; after this says no, none can."""
    answer = _receive(connection)
    if not answer:
        # a worker that begins only now finds the connection shut, and ends
        try:
            connection.shutdown(_socket.SHUT_RDWR)
        except OSError:
            return False
        answer = _receive(connection)
    connection.settimeout(None)
    return answer == ACCEPTED


def _send(connection: _socket.socket) -> None:
    try:
        connection.send(b"T")
    except OSError:
        return  # it has ended: its status is on the way


def _receive(connection: _socket.socket) -> bytes:
    """Return what the agent says; nothing when it is gone, or says nothing in time."""
    try:
        return connection.recv(1)
    except ConnectionResetError:  # it ended without hearing our signal: told once, and first
        return connection.recv(1)
    except OSError:
        return b""


def clean_environment() -> None:
    """Take back what the loader put there, lest a program that we execute uses our libraries.

    Before `os` is imported: it takes its environment from here.
    """
    path = posix.environ.pop(b"LD_LIBRARY_PATH_ORIG", None)
    ours = [key for key in posix.environ if key == b"LD_LIBRARY_PATH" or key.startswith(b"_PYI_")]
    for key in (*ours, b"LD_LIBRARY_PATH_ORIG"):
        posix.environ.pop(key, None)
        posix.unsetenv(key)
    if path is not None:
        posix.environ[b"LD_LIBRARY_PATH"] = path
        posix.putenv(b"LD_LIBRARY_PATH", path)


if __name__ == "__main__":  # the first script of the frozen executable
    clean_environment()
    ended = hand_over(sys.argv, sys.path[-1].rpartition("/")[2])
    if ended is not None:
        posix._exit(ended)  # noqa: SLF001  # what os._exit is
