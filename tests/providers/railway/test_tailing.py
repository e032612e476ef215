"""Collecting a deployment's lines at Railway: each once, in order, also where many are of one moment."""

from datetime import timedelta
from pathlib import Path

import pytest

from ops_mcp.observing import Tails
from sandbox.railway.world import Printed
from tests.providers.railway.house import START, V1, house

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("step", [0, 1, 250_000])
@pytest.mark.parametrize("most_bytes", [30, 10**6])
async def test_every_line_is_told_once(tmp_path: Path, step: int, most_bytes: int) -> None:
    here = house(tmp_path)
    placement = await here.deployed(1, V1)
    provider = here.provider
    assert isinstance(provider, Tails)
    lines = here.there(placement.handle).lines
    lines[:] = []
    here.time.pass_by(3600)
    told: list[str] = []
    position = ""
    for number in range(30):
        lines.append(Printed(START + timedelta(microseconds=step * number), f"line {number}", "info", "instance-abcdefgh-1"))
        if number % 10 == 9:
            more = True
            while more:
                tailed = await provider.tail(placement, position, most_bytes=most_bytes)
                told += [line.text for line in tailed.lines]
                position, more = tailed.position, tailed.more
    assert told == [f"line {number}" for number in range(30)]
    assert (await provider.tail(placement, position, most_bytes=100)).lines == ()
