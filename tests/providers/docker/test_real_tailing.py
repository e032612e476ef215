"""Collecting what real containers write: each line once, of both streams and all replicas, whole lines only, to the last word."""

import anyio
import pytest

from ops_mcp.domain.releases import Placement
from ops_mcp.observing import Tails
from tests.providers.docker.worlds import World

pytestmark = [pytest.mark.docker, pytest.mark.anyio]


async def collected(here: World, placed: Placement, last: str, *, position: str = "", most: int = 2_000) -> tuple[list[str], str]:
    told: list[str] = []
    with anyio.fail_after(60):
        while True:
            tailed = await here.docker.tail(placed, position, most_bytes=most)
            told += [f"{line.origin}: {line.text}" for line in tailed.lines]
            position = tailed.position
            if not tailed.more and any(line.endswith(last) for line in told):
                return told, position
            await anyio.sleep(0.05)


async def test_every_line_of_both_streams_is_told_once_while_it_is_written(here: World) -> None:
    script = (
        "i=0; while [ $i -lt 900 ]; do echo out $i; [ $((i % 3)) = 0 ] && echo err $i >&2;"
        " [ $((i % 300)) = 0 ] && sleep 0.5; i=$((i+1)); done; echo last; sleep 60"
    )
    placed = await here.up("v1", command=["sh", "-c", script], port=None)
    assert isinstance(here.docker, Tails)
    told, position = await collected(here, placed, "last")
    await anyio.sleep(0.5)  # the other stream's last lines
    told += (await collected_more(here, placed, position))[0]
    assert [line for line in told if line.startswith("stdout: out")] == [f"stdout: out {n}" for n in range(900)]
    assert [line for line in told if line.startswith("stderr: err")] == [f"stderr: err {n}" for n in range(0, 900, 3)]


async def test_the_last_words_of_a_container_are_told_and_that_it_has_ended(here: World) -> None:
    placed = await here.up("v1", replicas=2)
    _, position = await collected_more(here, placed, "")
    await here.docker.stop(placed)
    tailed = await here.docker.tail(placed, position, most_bytes=10**6)
    assert [line.origin for line in tailed.lines if line.text == "ending"].count("stdout") <= 1
    assert any(line.text == "ending" for line in tailed.lines)
    assert tailed.ended
    assert (await here.docker.tail(placed, tailed.position, most_bytes=10**6)).lines == ()


async def collected_more(here: World, placed: Placement, position: str) -> tuple[list[str], str]:
    tailed = await here.docker.tail(placed, position, most_bytes=10**6)
    return [f"{line.origin}: {line.text}" for line in tailed.lines], tailed.position
