"""The stdio transport: JSON-RPC lines over two pipes, for `Server.run`. Knows framing and flow, nothing of what a message means.

Written against asyncio's file descriptor callbacks, where the rest of ops-mcp uses anyio only: a message costs no thread hop, no
reader task and no writer task, which is most of what the SDK's own stdio transport costs.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import anyio
from mcp.server import Server
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse
from mcp_types import PARSE_ERROR

from ops_mcp.framing import error_line, parse
from ops_mcp.replies import Replies
from ops_mcp.wire import Wire

LINE_LIMIT = 4 * 2**20
"""Most bytes of one message; a longer line is answered with a parse error and skipped."""

EOF_GRACE_SECONDS = 0.5
"""How long requests that are open when the input ends may still be answered; then they are cancelled."""

_READ_SIZE = 2**18
_QUEUE_HIGH, _QUEUE_LOW = 256, 64


async def serve(
    server: Server[Any],
    wire: Wire,
    *,
    line_limit: int = LINE_LIMIT,
    ending: Callable[[], None] = lambda: None,
    due: Callable[[JSONRPCResponse], Awaitable[JSONRPCResponse] | None] = lambda _: None,
) -> None:
    """Serve one client until its input ends or SIGTERM or SIGINT arrives. Open requests are settled before this returns.

    `ending` is called once, when the end begins; `due` as `Replies` has it.
    """
    replies = Replies(wire.write_fd)
    replies.due = due
    lines = Lines(wire.read_fd, replies, line_limit=line_limit, ending=ending)
    try:
        with signals_end(lines):
            await server.run(lines, replies, server.create_initialization_options())
    finally:
        lines.close()
        with anyio.move_on_after(EOF_GRACE_SECONDS, shield=True):
            await replies.drained()
        replies.close()


class Lines:
    """What the client sends, as the SDK's read stream. Lines that are no message are answered here and not passed on."""

    def __init__(self, fd: int, replies: Replies, *, line_limit: int, ending: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._replies = replies
        self._line_limit = line_limit
        self._ending = ending
        self._items: deque[SessionMessage] = deque()
        self._partial = bytearray()
        self._skipping = False
        self._reading = False
        self._ended = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        replies.more_to_come = lambda: bool(self._items)
        os.set_blocking(fd, False)
        self._resume()

    async def receive(self) -> SessionMessage:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter
        item = self._items.popleft()
        if not self._reading and len(self._items) < _QUEUE_LOW:
            self._resume()
        return item

    async def aclose(self) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading. The descriptor goes back to blocking: whoever started us may share its description."""
        if self._closed:
            return
        self.end()
        self._closed = True
        os.set_blocking(self._fd, True)
        os.close(self._fd)

    def end(self) -> None:
        """Take no more input; what is still running is cancelled by the SDK once it sees the end."""
        if self._ended:
            return
        self._pause()
        self._ended = True
        self._ending()
        self._replies.hurry()
        self._wake()

    def _end_of_input(self) -> None:
        """The client closed its side: answer what is open, within the grace, then end."""
        self._pause()
        if self._partial and not self._skipping:
            self._take(bytes(self._partial))
        self._partial.clear()
        self._replies.when_all_answered(self.end)
        self._loop.call_later(EOF_GRACE_SECONDS, self.end)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end_of_input()
            return
        self._split(data)
        if len(self._items) >= _QUEUE_HIGH:
            self._pause()
        self._wake()

    def _split(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            line = bytes(self._partial) + piece
            self._partial.clear()
            if self._skipping:
                self._skipping = False
            elif len(line) > self._line_limit:
                self._refuse_length()
            else:
                self._take(line)
        if self._skipping:
            return
        self._partial += rest
        if len(self._partial) > self._line_limit:
            self._partial.clear()
            self._skipping = True
            self._refuse_length()

    def _take(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        message = parse(line)
        if isinstance(message, bytes):
            self._replies.write(message)
            return
        if isinstance(message, JSONRPCRequest):
            self._replies.open(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            # The SDK never answers a cancelled request, so nobody needs to wait for its reply.
            self._replies.answered((message.params or {}).get("requestId"))
        self._items.append(SessionMessage(message))

    def _refuse_length(self) -> None:
        self._replies.write(error_line(None, PARSE_ERROR, f"Message longer than {self._line_limit} bytes"))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _resume(self) -> None:
        if not (self._reading or self._ended or self._closed):
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)


@contextmanager
def signals_end(lines: Lines) -> Generator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, lines.end)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
