"""Collecting what a deployment logs at Vercel: each row once, though the stream tells it again each time."""

import pytest

from ops_mcp.observing import Tails
from sandbox.vercel import sites
from tests.providers.vercel.scene import Scene

pytestmark = pytest.mark.anyio


async def test_every_row_is_told_once(vercel: Scene) -> None:
    provider = vercel.vercel
    assert isinstance(provider, Tails)
    placement = await vercel.deploy()
    told: list[str] = []
    position = ""
    for number in range(3):
        for each in range(3):
            sites.log(vercel.world, vercel.at(placement.handle), f"row {number * 3 + each}", level="info", path="/", status=200)
        tailed = await provider.tail(placement, position, most_bytes=10**6)
        told += [line.text for line in tailed.lines]
        position = tailed.position
    assert told == [f"GET / 200 row {number}" for number in range(9)]
