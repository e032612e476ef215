"""A way to a PostgreSQL that is cut at the moment that a test wants: at a COMMIT, before or after the server has seen it."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import Enum
from urllib.parse import urlsplit

from ops_mcp.domain.addresses import Address

_COMMIT = b"COMMIT\0"


class Cut(Enum):
    """What becomes of the next COMMIT. A cut way stays cut for all that comes later where it is not to be mended."""

    never = "never"
    before = "before"
    after = "after"
    after_and_for_good = "after and for good"


class Way:
    """A relay. `address` leads through it; `cut` is what happens at the next COMMIT."""

    def __init__(self, address: Address) -> None:
        parts = urlsplit(address.url.get_secret_value())
        self._to = (parts.hostname or "", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        url = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?schema={address.room}"
        self.address = Address.parse(url)
        self.cut = Cut.never
        self._closed = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def mend(self) -> None:
        self._closed = False

    def sever(self) -> None:
        """End every connection that leads through here now."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()
        self.sever()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._closed:
                    client.close()
                    continue
                server = socket.create_connection(self._to)
                self._ends += [client, server]
                for source, target, watched in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._relay, args=(source, target, watched), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if watched and _COMMIT in data and self.cut is not Cut.never:
                    self._cut(data, source, target)
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        source.close()

    def _cut(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        how, self.cut = self.cut, Cut.never
        self._closed = how is Cut.after_and_for_good
        client.shutdown(socket.SHUT_RDWR)  # before the server's answer can reach it
        if how is not Cut.before:
            server.sendall(data)


@contextmanager
def way_to(address: Address) -> Generator[Way]:
    way = Way(address)
    try:
        yield way
    finally:
        way.close()
