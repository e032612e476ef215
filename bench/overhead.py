"""What governance costs: the same read governed by ops-mcp and ungoverned on the SDK's server, in turns, in one run."""

from bench.house import House
from bench.result import Result, at_least, at_most
from bench.rpc import p50

ROUNDS, CALLS, BURST, WIDTH = 5, 400, 2000, 100


async def measure(home: House) -> list[Result]:
    """A second server process stays attached to the database and is used between the rounds."""
    ours: list[float] = []
    theirs: list[float] = []
    our_rate: list[float] = []
    their_rate: list[float] = []
    async with home.bare() as bare, home.server() as governed, home.server() as second:
        for server in (bare, governed, second):
            await server.one_at_a_time(150)
        for _ in range(ROUNDS):
            theirs += await bare.one_at_a_time(CALLS)
            ours += await governed.one_at_a_time(CALLS)
            their_rate.append(await bare.in_flight(BURST, width=WIDTH))
            our_rate.append(await governed.in_flight(BURST, width=WIDTH))
            await second.one_at_a_time(5)
    return [
        at_most("governed call over stdio, p50", p50(ours), "ms", 1.4, baseline=p50(theirs)),
        at_least("100 calls in flight over stdio", p50(our_rate), "calls/s", 1.6, baseline=p50(their_rate)),
    ]
