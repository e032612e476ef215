"""Logs as a collector would have stored them, in the real store of a house."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from ops_mcp.logs.cleaning import cleaned
from ops_mcp.logs.records import LONGEST_RAW, Source, parse
from ops_mcp.store.logs.appending import Batch, Position, Read
from tests.house import House

SERVED = "dep_11111111"


async def collect(
    home: House,
    lines: Iterable[str],
    *,
    at: datetime | None = None,
    minutes_ago: float = 1.0,
    service: str = "web",
    environment: str = "staging",
    deployment: str = SERVED,
    origin: str = "stdout",
    redacted: bool = True,
) -> None:
    """Store lines that all came at one moment, as far as they say no other."""
    arrived = at or home.now[0] - timedelta(minutes=minutes_ago)
    source = Source(service, environment, deployment, origin)
    redact = home.app.redactor().text if redacted else str
    records = [parse(redact(cleaned(line, LONGEST_RAW)), source, arrived=arrived) for line in lines]
    store = home.opened.logs
    was = (await store.positions()).get((environment, service, deployment), Position())
    await store.append(Batch(arrived, [Read(environment, service, deployment, was, Position("later"), records)]))
