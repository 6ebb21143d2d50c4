"""What lies between the agent and the API: a relay that can be cut, or held."""

import contextlib
import socket
import threading


class Relay:
    """Carries connections from a port of its own to `port`, both on loopback."""

    def __init__(self, port: int) -> None:
        self._target, self._address = port, "127.0.0.1"
        self._flows = threading.Event()
        self._flows.set()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port, self.connections = 0, 0
        self.mend()

    def mend(self) -> None:
        """Take connections again, and carry what is held."""
        self._flows.set()
        if self._listener is None:
            self._listener = socket.create_server((self._address, self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def listen(self, address: str) -> None:
        """Be at another address of loopback."""
        self.cut()
        self._address = address
        self.mend()

    def cut(self) -> None:
        """End all connections, and take no more."""
        listener, self._listener = self._listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
            listener.close()
        self._flows.set()
        while self._open:
            _end(self._open.pop())

    def hold(self) -> None:
        """Keep connections, and carry nothing."""
        self._flows.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        self._flows.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._open.append(server)
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        client.close()
        server.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._flows.wait()
                target.sendall(data)
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
