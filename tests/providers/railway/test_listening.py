"""News over a WebSocket: fewer looks while they are heard, the same end where they are not."""

import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ops_mcp.domain.releases import Presence
from ops_mcp.providers.railway import documents
from tests.providers.railway import spec
from tests.providers.railway.house import V1, Fragile, House, house, provider_of

pytestmark = pytest.mark.anyio

needs_sockets = pytest.mark.skipif(
    importlib.util.find_spec("wsproto") is None, reason="needs wsproto, which httpx2 speaks WebSockets with"
)
LOOKS = 5
ONCE = ["deploy 111111111111 in shop-staging"]


@asynccontextmanager
async def listening(tmp_path: Path) -> AsyncGenerator[House]:
    from httpx2.websockets import ASGIWebSocketTransport  # only where wsproto is

    here = house(tmp_path, step=0.5, subscribe=True)
    async with ASGIWebSocketTransport(here.railway.app) as transport:
        here.way = Fragile(transport)
        here.provider = provider_of(here.config, here.time, here.way)
        yield here
        await here.provider.aclose()


async def deploy(here: House, *, build: float = 120.0) -> int:
    """How often it was looked."""
    here.behaves(V1, build=build)
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == ONCE
    return here.railway.budget.count(documents.DEPLOYMENT.name)


@needs_sockets
async def test_while_news_are_heard_it_is_looked_only_when_something_is_new(tmp_path: Path) -> None:
    async with listening(tmp_path) as here:
        looks = await deploy(here)
        assert looks <= LOOKS, looks
        assert here.railway.sockets == 1
        assert here.railway.news_sent >= 3
        if spec.SCHEMA.is_file():
            assert spec.counts[documents.NEWS.name] >= 3
    alone = house(tmp_path)
    assert await deploy(alone) > looks


@needs_sockets
async def test_a_long_silence_is_not_believed(tmp_path: Path) -> None:
    """A connection that stands and says nothing: it is looked all the same, once a minute."""
    async with listening(tmp_path) as here:
        assert await deploy(here, build=400.0) >= 7


@needs_sockets
async def test_a_connection_that_breaks_is_made_anew_and_nothing_is_lost(tmp_path: Path) -> None:
    async with listening(tmp_path) as here:
        here.railway.drops_sockets_after = 1
        await deploy(here)
        assert here.railway.sockets >= 2


@needs_sockets
async def test_where_connections_are_refused_it_is_looked_instead(tmp_path: Path) -> None:
    async with listening(tmp_path) as here:
        here.railway.refuses_sockets = True
        assert await deploy(here) > 7
        assert here.railway.sockets == 0


@needs_sockets
async def test_news_of_what_the_token_may_not_see_are_not_given_and_the_look_says_why(tmp_path: Path) -> None:
    async with listening(tmp_path) as here:

        def revoke(doing: str) -> None:
            if "initializing" in doing:
                here.railway.world.tokens.clear()

        here.told.breaks = revoke
        with pytest.raises(Exception, match="does not take the token"):
            await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
        assert here.deeds == ONCE


async def test_where_the_parts_for_sockets_are_absent_or_switched_off_nothing_is_missing(tmp_path: Path) -> None:
    """An ordinary transport knows no WebSockets; neither does a process without wsproto."""
    here = house(tmp_path, subscribe=True)
    await deploy(here)
    assert here.railway.sockets == 0
