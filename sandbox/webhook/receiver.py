"""A receiver of signed notices, told how to fail. Checks signatures by a statement of its own, and imports nothing of ops-mcp."""

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300
LARGEST_BODY = 2 * 2**20


@dataclass
class World:
    """What the receiver has, and the faults that the next requests meet, one each; `always` is met by all others.

    A fault is a word: `429:N` with a Retry-After of N seconds, any other status, `hang:N` seconds without an answer, `reset`
    before the notice is taken, `taken-reset` and `taken-hang:N` after it is, `chatty` an answer of 10 MB, `drip:N` one that
    comes byte by byte for N seconds, `redirect`.
    """

    key: bytes
    received: list[dict[str, object]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    repeats: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    requests: int = 0
    faults: deque[str] = field(default_factory=deque)
    always: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self) -> str:
        with self.lock:
            self.requests += 1
            return self.faults.popleft() if self.faults else self.always

    def take(self, id: str, body: bytes) -> None:
        """Take a notice once, however often it comes."""
        with self.lock:
            if id in self.ids:
                self.repeats.append(id)
                return
            self.ids.add(id)
            self.received.append(json.loads(body))

    def told(self) -> dict[str, object]:
        with self.lock:
            return {
                "received": self.received,
                "repeats": self.repeats,
                "refused": self.refused,
                "requests": self.requests,
            }


def trouble(headers: dict[str, str], body: bytes, key: bytes, now: float) -> str:
    """Why the request is not believed; empty where it is."""
    id, sent, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (id and sent.isdigit() and signatures):
        return "a header is missing"
    if abs(now - int(sent)) > TOLERANCE_SECONDS:
        return "the timestamp is too old or too new"
    if headers.get("idempotency-key") != id:
        return "the idempotency key is not the id"
    wanted = base64.b64encode(hmac.new(key, f"{id}.{sent}.".encode() + body, hashlib.sha256).digest())
    given = [one.removeprefix("v1,").encode() for one in signatures.split(" ") if one.startswith("v1,")]
    return "" if any(hmac.compare_digest(wanted, one) for one in given) else "the signature is wrong"


class Receiver(BaseHTTPRequestHandler):
    """`POST /notices` takes one; `GET /_sandbox` says what was taken; `POST /_sandbox` takes `faults` and `always`."""

    protocol_version = "HTTP/1.1"
    world: World

    def do_GET(self) -> None:
        self._answer(200, self.world.told())

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), LARGEST_BODY))
        if self.path == "/_sandbox":
            plan = json.loads(body)
            with self.world.lock:
                self.world.faults = deque(plan.get("faults", []))
                self.world.always = plan.get("always", "")
            self._answer(200, {})
            return
        self._meet(self.world.fault(), {name.lower(): value for name, value in self.headers.items()}, body)

    def _meet(self, fault: str, headers: dict[str, str], body: bytes) -> None:
        what, _, number = fault.partition(":")
        if what == "reset":
            self._reset()
        elif what == "hang":
            time.sleep(float(number))
            self.close_connection = True
        elif what == "drip":
            self._drip(float(number))
        elif what == "redirect":
            self._answer(307, {}, location="/elsewhere")
        elif what.isdigit():
            self._answer(int(what), {"error": "as planned"}, **({"retry-after": number} if number else {}))
        elif said := trouble(headers, body, self.world.key, time.time()):
            self.world.refused.append(said)
            self._answer(401, {"error": said})
        else:
            self.world.take(headers["webhook-id"], body)
            self._taken(what, number)

    def _taken(self, what: str, number: str) -> None:
        if what == "taken-reset":
            self._reset()
        elif what == "taken-hang":
            time.sleep(float(number))
            self.close_connection = True
        elif what == "chatty":
            self._answer(200, {"secret": "x" * 10 * 2**20})
        else:
            self._answer(200, {})

    def _drip(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while time.monotonic() < until:
                self.wfile.write(b"x-more: y\r\n")
                time.sleep(0.05)

    def _reset(self) -> None:
        """Close with RST and without an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = _Nowhere()  # type: ignore[assignment]

    def _answer(self, status: int, body: dict[str, object], **headers: str) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # the base's name
        """Say nothing."""


class _Nowhere:
    """Where an answer goes that nobody can receive any more."""

    closed = True

    def write(self, _content: bytes) -> int:
        return 0

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


def server(port: int, key: bytes) -> ThreadingHTTPServer:
    """A receiver on loopback, not yet serving; `port` 0 takes a free one."""
    handler = type("Bound", (Receiver,), {"world": World(key)})
    made = ThreadingHTTPServer(("127.0.0.1", port), handler)
    made.daemon_threads = True
    return made
