"""The socket at which programs ask: a line of JSON each way, and the end.  For root alone."""

import json
import logging
import os
import socket
import socketserver
import stat
import struct
from contextlib import suppress
from typing import cast

from cni.config import Section, decode
from cni.errors import CniError, Code
from cni.threads import Threads
from cni.vpc.client import SOCKET
from ipam.aws_vpc.agent.answers import Answers, Json

log = logging.getLogger(__name__)
LINE_MAX = 1 << 22  # bytes; a GC names every pod of the node
PATIENCE = 5.0  # seconds for a caller to say what it wants


class Listener(Threads, socketserver.UnixStreamServer):
    """Serves `answers` at `path`.  Raises OSError when somebody else does."""

    at_once = 512
    request_queue_size = 1024

    def __init__(self, answers: Answers, path: str = SOCKET) -> None:
        self.answers = answers
        self._path = path
        _make_room(path)
        umask = os.umask(0o177)
        try:
            super().__init__(path, _Handler)
        finally:
            os.umask(umask)

    def stop(self) -> None:
        """Serve no more; who has no answer by now is hung up on when the process ends."""
        self.shutdown()
        self.server_close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)


def _make_room(path: str) -> None:
    """Remove the socket of an agent that was killed.  Raises OSError when one listens."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            message = f"another agent listens at {path}"
            raise OSError(message)
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


class _Handler(socketserver.StreamRequestHandler):
    timeout = PATIENCE

    def handle(self) -> None:
        line = self.rfile.readline(LINE_MAX)
        if line:
            answer = self._answer(line)
            if not self._is_read(answer):
                self._take_back()

    @property
    def _answers(self) -> Answers:
        return cast("Listener", self.server).answers

    def _is_read(self, answer: Json) -> bool:
        """Send the answer; tell whether the program has read it before it closed.

        The kernel resets a connection that is closed with something unread (man 7 unix).
        """
        try:
            self.wfile.write(json.dumps(answer).encode() + b"\n")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.recv(1)
        except ConnectionError:
            return False
        except OSError:  # it is there, but in no hurry
            return True
        return True

    def _take_back(self) -> None:
        try:
            self._answers.take_back(self._request)
        except (CniError, OSError) as error:
            log.error("cannot take back what nobody has read: %s", error)  # noqa: TRY400

    def _answer(self, line: bytes) -> Json:
        """Return the answer; every refusal is one."""
        self._request = Section({}, "request")
        try:
            self._check_user()
            self._request = Section(decode(line, "the request"), "request")
            return self._answers.answer(self._request)
        except CniError as error:
            return {"code": int(error.code), "msg": error.msg, "details": error.details}
        except OSError as error:
            msg = f"cannot keep the pool's record: {error}"
            return {"code": int(Code.IO_FAILURE), "msg": msg, "details": ""}
        except Exception as error:
            log.exception("a request failed")
            msg = f"{type(error).__name__}: {error}"
            return {"code": int(Code.INTERNAL), "msg": msg, "details": "the agent's log has more"}

    def _check_user(self) -> None:
        """Refuse all but root (SO_PEERCRED in man 7 unix)."""
        said = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("=iII", said)[1] != 0:
            raise CniError(Code.INTERNAL, "cannot serve this user", "the socket is for root")
