"""Servers with a thread for each caller, and a limit on how many are served at once."""

import logging
import socketserver
import threading

log = logging.getLogger(__name__)


class Threads(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """To be mixed into a server of socketserver.

    `at_once`: callers; `turns_away`: more are hung up on, else they wait in the socket's queue.
    """

    daemon_threads = True
    at_once = 16
    turns_away = False

    def start(self) -> None:
        """Begin to serve, in a thread."""
        self._free = threading.BoundedSemaphore(self.at_once)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def verify_request(self, *_: object) -> bool:
        """Wait for a thread to spare; tell whether there is one."""
        return self._free.acquire(blocking=not self.turns_away)

    def process_request(self, *args: object) -> None:
        """Serve a caller, in a thread of its own."""
        try:
            super().process_request(*args)  # type: ignore[arg-type]  # passed on
        except BaseException:  # there is no thread to be had
            self._free.release()
            raise

    def process_request_thread(self, *args: object) -> None:
        """Serve a caller."""
        try:
            super().process_request_thread(*args)  # type: ignore[arg-type]  # passed on
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """Say nothing of callers that go away."""
        log.debug("a caller was lost")
