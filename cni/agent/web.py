"""GET /healthz, /readyz and /metrics, on loopback: HTTP/1.0, for probes and Prometheus.

By hand, since http.server loads TLS, mail and more: 10 MB.
"""

import logging
import signal
import socket
import socketserver
from collections.abc import Callable, Mapping
from typing import cast

from cni.threads import Threads

log = logging.getLogger(__name__)
WAIT = 5.0  # seconds that a client has to say what it wants, and to take the answer
LINE_MAX = 4096  # bytes
REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
Answer = tuple[int, str]  # status, text
Pages = Mapping[str, Callable[[], Answer]]


class Web(Threads, socketserver.TCPServer):
    """Serves `pages`, by path, at `address` in threads of its own.  Raises OSError."""

    allow_reuse_address = True
    turns_away = True

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pages = pages
        super().__init__(address, _Handler)


class Service:
    """Pages that are served as soon as they can be: what the agent does else matters more."""

    def __init__(self, address: tuple[str, int] | None, pages: Pages) -> None:
        self._address, self._pages = address, pages
        self._web: Web | None = None
        self._told = ""

    def ensure(self) -> None:
        """Serve, if there is an address; when that cannot be, say so once.  To be called again."""
        if self._address is None or self._web:
            return
        try:
            self._web = Web(self._address, self._pages)
        except OSError as error:
            if self._told != str(error):
                log.error("cannot listen at %s:%d: %s", *self._address, error)  # noqa: TRY400
            self._told = str(error)
            return
        # a signal that another thread takes does not end our sleep
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._web.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Handler(socketserver.StreamRequestHandler):
    timeout = WAIT

    def handle(self) -> None:
        method, _, rest = self.rfile.readline(LINE_MAX).decode("latin-1").partition(" ")
        while self.rfile.readline(LINE_MAX).strip():
            pass
        page = cast("Web", self.server).pages.get(rest.partition(" ")[0].partition("?")[0])
        status, text = 404, "not found\n"
        if method not in ("GET", "HEAD"):
            status, text = 405, "only GET\n"
        elif page:
            status, text = page()
        body = text.encode()
        head = (
            f"HTTP/1.0 {status} {REASONS[status]}\r\nContent-Type: text/plain; version=0.0.4; "
            f"charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.wfile.write(head.encode() + (b"" if method == "HEAD" else body))
