"""The outgoing half of the stdio transport: lines to one pipe, batched per loop turn, with back-pressure. Knows no protocol."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCResponse

from ops_mcp.framing import RequestId, encoded

_BUFFER_HIGH, _BUFFER_LOW = 2**20, 2**18
_GATHERED_BYTES, _GATHERED_TURNS = 2**14, 32
"""While more requests wait to be read, replies gather up to this much, or for this many turns of the loop."""


class Replies:
    """What goes to the client, as the SDK's write stream. The first message of a turn is written at once, later ones together."""

    def __init__(self, fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._buffer = bytearray()
        self._gathering = False
        self._turns = 0
        self._waiting_to_write = False
        self._broken = False
        self._hurried = False
        self._closed = False
        self._open: set[RequestId] = set()
        self._all_answered: Callable[[], None] | None = None
        self._room = anyio.Event()
        self.more_to_come: Callable[[], bool] = lambda: False
        self.due: Callable[[JSONRPCResponse], Awaitable[JSONRPCResponse] | None] = lambda _: None
        """What a reply must wait for before it may leave, and what leaves then; None for one that may leave at once."""
        os.set_blocking(fd, False)

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        if isinstance(message, JSONRPCResponse) and (due := self.due(message)) is not None:
            message = await due
        answers = message.id if isinstance(message, JSONRPCResponse | JSONRPCError) else None
        await self.send_line(encoded(message), answers=answers)

    async def send_line(self, line: bytes, *, answers: RequestId | None) -> None:
        """Send one encoded message, which ends the request `answers`; waits for room if the client reads too slowly."""
        if self._broken:
            raise anyio.BrokenResourceError
        self.write(line)
        self.answered(answers)
        if len(self._buffer) > _BUFFER_HIGH and not self._hurried:
            await self._room_to_write()

    async def aclose(self) -> None:
        self._flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def open(self, request: RequestId) -> None:
        self._open.add(request)

    def answered(self, request: object) -> None:
        if isinstance(request, int | str):
            self._open.discard(request)
        if self._all_answered is not None and not self._open:
            self._all_answered()

    def when_all_answered(self, then: Callable[[], None]) -> None:
        self._all_answered = then
        if not self._open:
            then()

    def hurry(self) -> None:
        """The client is gone or we are told to leave: nobody waits for room in the buffer any more."""
        self._hurried = True
        self._room.set()

    def write(self, line: bytes) -> None:
        """Queue one line. Never waits and never raises; a broken pipe is noticed by the next `send`."""
        if self._broken or self._closed:
            return
        self._buffer += line
        self._buffer += b"\n"
        if self._gathering or self._waiting_to_write:
            return
        if not self.more_to_come():
            self._flush()
        self._gathering = True
        self._loop.call_soon(self._end_of_turn)

    async def drained(self) -> None:
        """Wait until everything queued is written or the pipe is broken."""
        self._gathering = False
        self._flush()
        while self._buffer and not self._broken:
            await self._room_to_write()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_waiting()
        os.set_blocking(self._fd, True)
        os.close(self._fd)

    def _end_of_turn(self) -> None:
        self._turns += 1
        if self._turns < _GATHERED_TURNS and len(self._buffer) < _GATHERED_BYTES and self.more_to_come():
            self._loop.call_soon(self._end_of_turn)
            return
        self._gathering = False
        self._turns = 0
        if self._buffer and not self._waiting_to_write:
            self._flush()

    def _flush(self) -> None:
        if self._closed or self._broken:
            return
        try:
            while self._buffer:
                written = os.write(self._fd, self._buffer)
                del self._buffer[:written]
        except BlockingIOError:
            self._wait_to_write()
            return
        except OSError:
            self._broken = True
            self._buffer.clear()
        self._stop_waiting()

    def _wait_to_write(self) -> None:
        if not self._waiting_to_write:
            self._waiting_to_write = True
            self._loop.add_writer(self._fd, self._writable)

    def _stop_waiting(self) -> None:
        if self._waiting_to_write:
            self._waiting_to_write = False
            self._loop.remove_writer(self._fd)
        self._room.set()

    def _writable(self) -> None:
        self._flush()
        if len(self._buffer) < _BUFFER_LOW:
            self._room.set()

    async def _room_to_write(self) -> None:
        self._room = anyio.Event()
        await self._room.wait()
