"""The bar for anomalies, held end to end: lines go into the real store, and `logs_anomalies` is asked as agents ask it."""

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.domain.identity import Credential
from ops_mcp.logs.anomalies import Kind
from ops_mcp.logs.records import LogRecord
from ops_mcp.store.logs.appending import Batch, Position, Read
from tests.house import House, house
from tests.logs import test_anomalies as pure
from tests.logs.made_logs import SYSTEMS
from tests.logs.replaying import START, Line, Replay, minutes_of
from tests.tools.observe.test_logs_search import OBSERVE, done

pytestmark = pytest.mark.anyio
HALVES = (timedelta(seconds=20), timedelta(seconds=50))
"""When in each minute the collector looks."""

ROOMY: dict[str, Any] = {"budgets": {"read": {}}, "toolsets": OBSERVE}


class Watched:
    """A service whose lines come in, minute by minute, while the house's clock goes on."""

    def __init__(self, home: House, agent: Credential, service: str) -> None:
        self.home, self.agent, self.service = home, agent, service
        self.position = Position()
        self.replay = Replay()

    async def minute(self, lines: Sequence[Line]) -> None:
        self.replay.add(lines)
        middle = len(lines) // 2
        for part, after in zip((lines[:middle], lines[middle:]), HALVES, strict=True):
            at = self.home.now[0] + after
            records = [self._record(line, at) for line in part]
            read = Read("staging", self.service, "dep_11111111", self.position, Position("later"), records)
            [self.position] = await self.home.opened.logs.append(Batch(at, [read]))
        self.home.advance(minutes=1)

    async def found(self, minutes: int = 1) -> dict[str, Any]:
        where = {"service": self.service, "environment": "staging"}
        return done(await self.home.call(self.agent, "logs_anomalies", **where, minutes=minutes))

    def _record(self, line: Line, at: Any) -> LogRecord:
        message = line.message
        return LogRecord(at, True, self.service, "staging", "dep_11111111", line.severity, message, {}, "stdout", message)


async def collected(watched: Watched, minutes: Iterable[Sequence[Line]]) -> None:
    for minute in minutes:
        await watched.minute(minute)


@pytest.mark.slow
async def test_200_000_steady_lines_raise_at_most_20_false_alarms(tmp_path: Path) -> None:
    systems = sorted(SYSTEMS)[:4]
    alarms: list[str] = []
    lines = 0
    async with house(tmp_path, **ROOMY) as home:
        agent = await home.agent()
        home.now[0] = START
        for number, system in enumerate(systems):
            watched = Watched(home, agent, f"s{number}")
            for count, minute in enumerate(minutes_of(system, lines=50_500, each=250, seed=5), start=1):
                await watched.minute(minute)
                lines += len(minute)
                asked = [1] if count % 5 else [1, 5]
                for minutes in asked:
                    alarms += [f"{system} {each['why']}" for each in (await watched.found(minutes))["anomalies"]]
    assert lines >= 200_000
    assert len(alarms) <= 20, alarms


async def is_found(home: House, agent: Credential, fault: str, system: str, number: int) -> bool:
    chance = random.Random(f"{fault}/{system}/11")
    each = chance.choice((40, 80, 160))
    minutes = minutes_of(system, lines=round(each * (pure.QUIET + pure.FAULTY + 4)), each=each, seed=11)
    watched = Watched(home, agent, f"s{number}")
    await collected(watched, minutes[: pure.QUIET])
    assert (await watched.found())["verdict"] == "usual"
    kind, examples, faulty = pure._with_fault(fault, minutes, chance)  # pyright: ignore[reportPrivateUsage]
    found: list[dict[str, Any]] = []
    for minute in faulty:
        await watched.minute(minute)
        found += (await watched.found())["anomalies"]
    wanted = {watched.replay.template_of(line.message) for line in examples} or {None}
    return any(Kind(each["kind"]) is kind and each.get("pattern") in wanted for each in found)


@pytest.mark.parametrize(("fault", "system"), pure.FAULTS[::24])
async def test_a_fault_is_found_and_the_right_template_is_named(tmp_path: Path, fault: str, system: str) -> None:
    async with house(tmp_path, **ROOMY) as home:
        home.now[0] = START
        assert await is_found(home, await home.agent(), fault, system, 0)


@pytest.mark.slow
async def test_95_of_100_faults_are_found_and_the_right_template_is_named(tmp_path: Path) -> None:
    async with house(tmp_path, **ROOMY) as home:
        home.now[0] = START
        agent = await home.agent()
        missed = [case for number, case in enumerate(pure.FAULTS) if not await is_found(home, agent, *case, number)]
    assert len(pure.FAULTS) >= 40
    assert len(missed) <= len(pure.FAULTS) * 0.05, missed
