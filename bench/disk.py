"""What the disk itself takes to make a small write durable: the floor under every durable call."""

import os
import time

from bench.house import House
from bench.result import Result
from bench.rpc import p50


async def measure(home: House) -> list[Result]:
    took: list[float] = []
    descriptor = os.open(home.world.home / "fdatasync", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(300):
            os.write(descriptor, b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - began) * 1_000_000)
    finally:
        os.close(descriptor)
    return [Result("the disk's own fdatasync, p50", round(p50(took), 1), "us")]
