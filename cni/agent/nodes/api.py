"""Nodes of the Kubernetes API, listed by pages and watched (its documentation, "API Concepts")."""

import http
import os
import random
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import urllib3
from urllib3.response import BaseHTTPResponse

from cni import __version__
from cni.agent.nodes import objects
from cni.agent.nodes.access import Access
from cni.config import Section
from cni.errors import CniError

PAGE = 500  # nodes
PAGE_MAX, LINE_MAX = 1 << 26, 1 << 23  # bytes; an object in etcd has at most 1.5 MB
# After these the server still knows what we have seen, and the watch goes on from there.
PASSING = (401, 403, 429, 500, 502, 503)


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for the API.

    A watch lasts as long as the API is asked for, between `watch` and twice that, and a bit more
    without a word ends it.  A connection whose other end is gone is noticed by TCP much sooner:
    after `idle`, it is probed three times, every `probe`.
    """

    connect: float = 10.0
    read: float = 30.0
    watch: float = 300.0
    idle: int = 15
    probe: int = 5


class ApiError(Exception):
    """The API did not do what it was asked for; `relist`: what was seen of it is of no use now."""

    def __init__(self, text: str, *, relist: bool = False) -> None:
        super().__init__(text)
        self.relist = relist


class Api:
    """One connection to the API; once `stop` is set, it begins nothing more."""

    def __init__(self, access: Access, patience: Patience, stop: threading.Event) -> None:
        self.server, self._patience, self._stop = access.server, patience, stop
        self._response: BaseHTTPResponse | None = None
        with _translated(f"reach the API at {access.server}"):
            self._pool, self._path = _pool(access, patience)

    def pages(self) -> Iterator[Section]:
        """Yield NodeLists that together are all nodes at one resourceVersion."""
        query = {"limit": str(PAGE)}
        while True:
            with _translated(f"list nodes of {self.server}"):
                page = objects.decode(self._read(self._get(query, self._patience.read)))
            yield page
            following = page.section("metadata").string("continue")
            if not following:
                return
            query["continue"] = following

    def watch(self, version: str) -> Iterator[Section | None]:
        """Yield each WatchEvent after `version`, until the API ends it; None when it begins."""
        seconds = self._patience.watch * (1 + random.random())  # noqa: S311  # to spread the load
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        with _translated(f"watch nodes of {self.server}"):
            response = self._get(query, seconds + self._patience.read)
            yield None
            for line in _lines(response):
                event = objects.decode(line)
                if event.string("type") == "ERROR":
                    raise _refusal(event.section("object"))
                yield event

    def interrupt(self) -> None:
        """Let the thread that waits for an answer see the end of it; for another thread."""
        response = self._response
        if response is not None:
            with suppress(OSError, ValueError, RuntimeError):  # it has just ended by itself
                response.shutdown()

    def close(self) -> None:
        """End the connection."""
        if self._response is not None:
            self._response.close()
        self._pool.close()

    def _get(self, query: Mapping[str, str], wait: float) -> BaseHTTPResponse:
        response = self._pool.request(
            "GET",
            self._path,
            fields=query,
            timeout=urllib3.Timeout(connect=self._patience.connect, read=wait),
            preload_content=False,
            retries=False,
        )
        self._response = response
        if self._stop.is_set():
            raise ApiError("it is time to stop")
        if response.status != http.HTTPStatus.OK:
            raise _refusal(_status(response))
        return response

    def _read(self, response: BaseHTTPResponse) -> bytes:
        text = response.read(PAGE_MAX)
        if len(text) == PAGE_MAX:
            message = f"it is longer than {PAGE_MAX} bytes"
            raise ValueError(message)
        response.release_conn()
        return text


def _status(response: BaseHTTPResponse) -> Section:
    """Return the Status that is the body of an answer other than 200."""
    try:
        status = objects.decode(response.read(1 << 16))
    except ValueError:
        status = Section({})
    return Section({**status.values, "code": response.status})


def _refusal(status: Section) -> ApiError:
    code, message = status.integer("code"), str(status.get("message") or "")
    known = {one.value: one.phrase for one in http.HTTPStatus}
    text = " ".join(f"{code} {known.get(code, '')}: {message[:500]}".split())
    return ApiError(f"the API says {text.removesuffix(':')}", relist=code not in PASSING)


def _lines(response: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield each line as soon as it is there."""
    rest = bytearray()
    while piece := response.read1(1 << 16):
        *lines, tail = piece.split(b"\n")
        for line in lines:
            yield bytes(rest + line)
            rest.clear()
        rest += tail
        if len(rest) > LINE_MAX:
            message = f"a line is longer than {LINE_MAX} bytes"
            raise ValueError(message)
    if rest:
        raise ApiError("the answer ends in the middle of an event")


def _pool(access: Access, patience: Patience) -> tuple[urllib3.HTTPSConnectionPool, str]:
    """Return the connections to the API, of which there is one, and the path of its nodes."""
    url = urllib3.util.parse_url(access.server)
    if not url.host or url.scheme not in (None, "https"):  # no token goes over the wire in clear
        raise ApiError("its URL is not like https://192.0.2.1:6443")
    headers = {"User-Agent": f"pycnid/{__version__}", "Accept": "application/json"}
    if access.token:
        headers["Authorization"] = f"Bearer {access.token}"
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, patience.idle),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, patience.probe),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ]
    path = f"{(url.path or '').rstrip('/')}/api/v1/nodes"
    return urllib3.HTTPSConnectionPool(
        url.host,
        url.port or 443,
        headers=headers,
        ssl_context=_tls(access),
        server_hostname=access.server_name or None,
        socket_options=options,
    ), path


def _tls(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.ca or None)
    # Python 3.13 sets it, and cluster authorities made by older tools lack what it asks for
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.identity:
        file = os.memfd_create("identity")  # ssl reads files only, and a key is none of the disk's
        try:
            os.write(file, access.identity)
            context.load_cert_chain(f"/proc/self/fd/{file}", password="")
        finally:
            os.close(file)
    return context


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Make an ApiError of whatever goes wrong between us and the API."""
    try:
        yield
    except ApiError as error:
        raise ApiError(f"cannot {what}: {error}", relist=error.relist) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ApiError(f"cannot {what}: {_cause(error)}") from error
    except (ValueError, RecursionError, CniError) as error:
        raise ApiError(f"cannot {what}: it answers garbage: {error}", relist=True) from error


def _cause(error: BaseException) -> str:
    """Return what the system or TLS said, below what two libraries say of it."""
    cut = isinstance(error, urllib3.exceptions.ProtocolError)
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "the connection is lost" if cut else str(error)
