"""A hundred agents over HTTP, each asking once a second on a connection of its own: how long the slow ones wait."""

import asyncio
import json
import time
from collections.abc import Mapping

from bench.house import House
from bench.result import Result, at_most
from bench.rpc import META, p50, percentile
from sandbox.world import command, curl

CLIENTS, SECONDS = 100, 15


async def measure(home: House, port: int) -> list[Result]:
    server = await asyncio.create_subprocess_exec(
        *command(), "serve", env=home.world.environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.to_thread(curl, port, "/", seconds=20)
        waits = await asyncio.gather(*(_client(port, home.token, number / CLIENTS) for number in range(CLIENTS)))
    finally:
        server.terminate()
        await server.wait()
    took = [wait for waited in waits for wait in waited]
    return [
        at_most(f"{CLIENTS} HTTP clients at one call a second, p95", percentile(took, 0.95), "ms", 100),
        Result(f"{CLIENTS} HTTP clients at one call a second, p50", round(p50(took), 2), "ms"),
    ]


async def _client(port: int, token: str, offset: float) -> list[float]:
    """One client's calls in milliseconds; each second's call starts at the client's own offset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asking = request(port, token)
    began = time.perf_counter() + offset
    took: list[float] = []
    try:
        for second in range(SECONDS):
            await asyncio.sleep(max(0.0, began + second - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(asking)
            body = await answer(reader)
            took.append((time.perf_counter() - sent) * 1000)
            assert b'"result"' in body, body[:500]
            assert b'"isError":true' not in body.replace(b" ", b""), body[:500]
    finally:
        writer.close()
    return took


def request(port: int, token: str, tool: str = "services", arguments: Mapping[str, object] | None = None) -> bytes:
    """One call of a tool as an HTTP request on a connection that stays open."""
    params = {"name": tool, "arguments": dict(arguments or {}), "_meta": META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        "Content-Length": str(len(body)),
    }
    return b"POST /mcp HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()).encode() + b"\r\n" + body


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next response."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), head
    if b"transfer-encoding: chunked" not in head:
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return await reader.readexactly(length)
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body
