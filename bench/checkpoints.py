"""A hundred agents over HTTP, each reporting on a task of its own once a second: how long they wait for the stored reply."""

import asyncio
import re
import time

from bench.house import House
from bench.paced import CLIENTS, SECONDS, answer, request
from bench.result import Result, at_most
from bench.rpc import p50, percentile
from sandbox.world import command, curl


async def measure(home: House, port: int) -> list[Result]:
    server = await asyncio.create_subprocess_exec(
        *command(), "serve", env=home.world.environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.to_thread(curl, port, "/", seconds=20)
        waits = await asyncio.gather(*(_agent(port, home.token, number) for number in range(CLIENTS)))
    finally:
        server.terminate()
        await server.wait()
    took = [wait for waited in waits for wait in waited]
    return [
        at_most(f"{CLIENTS} agents at one checkpoint a second, p95", percentile(took, 0.95), "ms", 100),
        Result(f"{CLIENTS} agents at one checkpoint a second, p50", round(p50(took), 2), "ms"),
    ]


async def _agent(port: int, token: str, number: int) -> list[float]:
    """One agent's waits in milliseconds. Its task is open before the first second begins."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter() + 2 + number / CLIENTS
    took: list[float] = []
    try:
        opening = {"environment": "sandbox", "name": f"task {number}", "action": "began"}
        writer.write(request(port, token, "checkpoint", opening))
        opened = re.search(rb"task_[0-9a-z]+", await answer(reader))
        assert opened is not None
        task = opened[0].decode()
        for second in range(SECONDS):
            await asyncio.sleep(max(0.0, began + second - time.perf_counter()))
            asking = request(port, token, "checkpoint", {"task": task, "action": f"step {second}", "progress": second * 5})
            sent = time.perf_counter()
            writer.write(asking)
            body = await answer(reader)
            took.append((time.perf_counter() - sent) * 1000)
            assert b'"result"' in body, body[:500]
            assert b'"isError":true' not in body.replace(b" ", b""), body[:500]
    finally:
        writer.close()
    return took
