"""How fast an auditor checks an exported ledger offline: hash, chain and signed heads, the program's own start included."""

import asyncio
import time

from bench.house import House
from bench.result import Result, at_least


async def measure(home: House) -> list[Result]:
    """Run after `ledger_size`, on its million records."""
    exported, anchor = home.world.home / "ledger.jsonl", home.world.home / "anchor.jsonl"
    home.world.must("audit", "anchor", str(anchor))
    told = await asyncio.to_thread(home.world.terminal, "audit", "export", str(exported), "--json", timeout=600)
    key = str(told.data["public_key"])
    with exported.open("rb") as lines:
        records = sum(1 for _ in lines)
    rates: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        ran = home.world.terminal("audit", "verify", str(exported), "--public-key", key, "--anchor", str(anchor), timeout=300)
        rates.append(records / (time.perf_counter() - began))
        assert ran.code == 0, ran.out + ran.err
    return [at_least(f"offline verification of {records:,} lines", max(rates), "records/s", 300_000)]
