"""Whether a long history makes a call slower: the same call on a ledger of 1,000 records and on one of 1,000,000."""

from bench.house import House, house
from bench.large import lengthen
from bench.result import Result, at_most
from bench.rpc import p50

SHORT, LONG = 1_000, 1_000_000
ROUNDS, CALLS = 5, 400


async def measure(home: House) -> list[Result]:
    """`home` becomes the long one; other measurements use it after this."""
    with house() as small:
        for which, records in ((small, SHORT), (home, LONG)):
            async with which.server() as server:
                await server.one_at_a_time(5)
            lengthen(which, records)
        short: list[float] = []
        long: list[float] = []
        async with small.server() as little, home.server() as large:
            for server in (little, large):
                await server.one_at_a_time(150)
            for _ in range(ROUNDS):
                short += await little.one_at_a_time(CALLS)
                long += await large.one_at_a_time(CALLS)
    return [at_most("a call with 1,000,000 ledger records against 1,000, p50", p50(long), "ms", 1.2, baseline=p50(short))]
