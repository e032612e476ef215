"""What a writer and its readers remember between commits: true until they, or another process, change the file."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_mcp.domain.calls import Cost
from ops_mcp.domain.outcomes import Record
from ops_mcp.store import counters
from ops_mcp.store.counters import Charge
from ops_mcp.store.database import Database, Transaction
from tests.store.ledgers import opened

pytestmark = pytest.mark.anyio

MINE = Charge("ada:sandbox:read", "2026-11-20")
SPENT = "SELECT calls FROM spend WHERE scope = ?"
NOTED = "SELECT value FROM facts WHERE name = 'noted'"


@asynccontextmanager
async def two_writers(directory: Path) -> AsyncGenerator[tuple[Database, Database]]:
    """As two processes have them: one file, two connections that know nothing of each other."""
    async with opened(directory) as one, opened(directory) as other:
        yield one.database, other.database


def spend(tx: Transaction) -> None:
    counters.charge(tx, [MINE], Cost())


def record(tx: Transaction) -> int:
    return tx.record(Record(kind="call.admitted", at=datetime(2026, 11, 20, 12, tzinfo=UTC)))


class Note:
    """A unit that changes a row which readers ask for."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, tx: Transaction) -> None:
        tx.execute("DELETE FROM facts WHERE name = 'noted'")
        tx.execute("INSERT INTO facts (name, value) VALUES ('noted', ?)", self._value)


async def test_counters_and_the_chain_go_on_from_what_another_process_wrote(tmp_path: Path) -> None:
    async with two_writers(tmp_path) as (one, other):
        numbers: list[int] = []
        for writer in (one, one, other, one, other, other, one):
            await writer.write(spend)
            numbers.append(await writer.write(record))
        assert await one.fetch(SPENT, MINE.scope) == [(7,)]
        assert numbers == list(range(1, 8))


async def test_a_unit_that_fails_leaves_nothing_in_the_memory_of_the_next(tmp_path: Path) -> None:
    def fails(tx: Transaction) -> None:
        spend(tx)
        record(tx)
        raise ZeroDivisionError

    async with two_writers(tmp_path) as (one, _):
        await one.write(spend)
        with pytest.raises(ZeroDivisionError):
            await one.write(fails)
        await one.write(spend)
        assert await one.write(record) == 1
        assert await one.fetch(SPENT, MINE.scope) == [(2,)]


async def test_a_recent_read_sees_what_its_own_process_and_any_other_wrote_before_its_admission(tmp_path: Path) -> None:
    async with two_writers(tmp_path) as (one, other):
        for writer, value in ((one, "a"), (other, "b"), (one, "c"), (other, "d")):
            await one.write(record)
            await one.fetch_recent(NOTED)
            await writer.write(Note(value))
            await one.write(record)
            assert await one.fetch_recent(NOTED) == [(value,)]
