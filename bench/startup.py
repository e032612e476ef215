"""How long a client waits from starting the process to its first answer, against a bare SDK server."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from bench.house import House
from bench.result import Result, at_most
from bench.rpc import RawServer, p50

ROUNDS = 15


async def measure(home: House) -> list[Result]:
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(ROUNDS + 2):
        pair = (await _first_answer(home.bare), await _first_answer(home.server))
        if turn >= 2:  # the first two warm the page cache
            theirs.append(pair[0])
            ours.append(pair[1])
    return [at_most("start to first answer over stdio", p50(ours), "ms", 1.2, baseline=p50(theirs))]


async def _first_answer(start: Callable[[], AbstractAsyncContextManager[RawServer]]) -> float:
    began = time.perf_counter()
    async with start() as server:
        reply = await server.request("tools/list")
        took = (time.perf_counter() - began) * 1000
    assert "result" in reply, reply
    return took
