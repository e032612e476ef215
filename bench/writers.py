"""Eight saturated server processes on one SQLite ledger: does a call fail for the lock, and how long does the worst one wait."""

import asyncio
from contextlib import AsyncExitStack

from bench.house import House
from bench.result import Result, at_most
from bench.rpc import p50

PROCESSES, WIDTH, SECONDS = 8, 4, 8.0


async def measure(home: House) -> list[Result]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(home.server()) for _ in range(PROCESSES)]
        for server in servers:
            await server.one_at_a_time(20)
        ended = [call for calls in await asyncio.gather(*(s.saturate(SECONDS, width=WIDTH) for s in servers)) for call in calls]
    errors = sum(b'"isError":true' in line.replace(b" ", b"") or b'"error"' in line for _took, line in ended)
    waits = [took for took, _line in ended]
    return [
        at_most(f"{PROCESSES} writer processes, {WIDTH} calls in flight each: failed calls", errors, "calls", 0),
        at_most("the same: worst call, from request to reply", max(waits), "ms", 250),
        Result("the same: all processes together", round(len(ended) / SECONDS), "calls/s"),
        Result("the same: p50", round(p50(waits), 1), "ms"),
    ]
