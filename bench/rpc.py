"""A raw JSON-RPC client over stdio: so thin that what is measured is the server."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
LINE_LIMIT = 2**22


class RawServer:
    """One server process and its two pipes; one tool, one set of arguments, as fast as it answers."""

    def __init__(self, process: asyncio.subprocess.Process, tool: str, arguments: Mapping[str, object]) -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout
        self._tool, self._arguments = tool, dict(arguments)
        self._next = 0

    async def request(self, method: str, params: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send one request and read its reply."""
        self._send(method, {**(params or {}), "_meta": META})
        return await self._receive()

    async def call(self) -> dict[str, Any]:
        return await self.request("tools/call", {"name": self._tool, "arguments": self._arguments})

    async def one_at_a_time(self, calls: int) -> list[float]:
        """Milliseconds of each call."""
        took: list[float] = []
        for _ in range(calls):
            message = self._message("tools/call", {"name": self._tool, "arguments": self._arguments, "_meta": META})
            began = time.perf_counter()
            self._in.write(message)
            await self._out.readline()
            took.append((time.perf_counter() - began) * 1000)
        return took

    async def in_flight(self, calls: int, *, width: int) -> float:
        """Calls per second with `width` of them always under way."""
        messages = [
            self._message("tools/call", {"name": self._tool, "arguments": self._arguments, "_meta": META}) for _ in range(calls)
        ]
        began = time.perf_counter()
        self._in.write(b"".join(messages[:width]))
        for sent in range(width, calls + width):
            await self._out.readline()
            if sent < calls:
                self._in.write(messages[sent])
        return calls / (time.perf_counter() - began)

    async def saturate(self, seconds: float, *, width: int) -> list[tuple[float, bytes]]:
        """Keep `width` calls under way for `seconds`; milliseconds and raw reply of each."""
        sent: dict[int, float] = {}
        ended: list[tuple[float, bytes]] = []
        until = time.perf_counter() + seconds
        for _ in range(width):
            sent[self._send("tools/call", {"name": self._tool, "arguments": self._arguments, "_meta": META})] = (
                time.perf_counter()
            )
        while sent:
            line = await self._out.readline()
            now = time.perf_counter()
            ended.append(((now - sent.pop(json.loads(line)["id"])) * 1000, line))
            if now < until:
                sent[self._send("tools/call", {"name": self._tool, "arguments": self._arguments, "_meta": META})] = now
        return ended

    def _send(self, method: str, params: Mapping[str, object]) -> int:
        self._in.write(self._message(method, params))
        return self._next

    def _message(self, method: str, params: Mapping[str, object]) -> bytes:
        self._next += 1
        return json.dumps({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}).encode() + b"\n"

    async def _receive(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(await self._out.readline())
        return reply


@asynccontextmanager
async def running(
    argv: Sequence[str], environment: Mapping[str, str], *, tool: str = "services", arguments: Mapping[str, object] | None = None
) -> AsyncIterator[RawServer]:
    """A server process for the length of the block; ends when its input closes, as hosts end it."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_LIMIT,
    )
    try:
        yield RawServer(process, tool, arguments or {})
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), timeout=5)
        except TimeoutError:
            process.kill()
            await process.wait()


def p50(times: Sequence[float]) -> float:
    return statistics.median(times)


def percentile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]
