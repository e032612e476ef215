"""A COMMIT without an answer: done, not done, or said to be unknown; never twice."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.addresses import Address
from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Unavailable
from ops_mcp.store import keys
from ops_mcp.store.database import Database, Terms, Transaction
from ops_mcp.store.outages import MaybeWritten
from tests import databases
from tests.postgres.cutting import Cut, Way, way_to

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@asynccontextmanager
async def opened(tmp_path: Path, *, lock_seconds: float = 5.0) -> AsyncGenerator[tuple[Database, Way]]:
    """A database whose every connection goes through a way that can be cut."""
    key = tmp_path / "ledger.key"
    straight = databases.place(tmp_path, key)
    assert isinstance(straight, Address)
    with way_to(straight) as way:
        signer = keys.signer_at(way.address, key, new_ledger_id=str)
        async with Database.open(way.address, signer=signer, terms=Terms(lock_seconds=lock_seconds)) as database:
            await database.write(note("first"))
            yield database, way


def note(what: str) -> Callable[[Transaction], int]:
    def unit(tx: Transaction) -> int:
        tx.execute("INSERT INTO alert_marks (name, value) VALUES (?, ?)", what, "there")
        return tx.record(Record(kind="test.noted", at=AT, reason=what))

    return unit


def unrecorded(tx: Transaction) -> None:
    """A batch that leaves nothing in the ledger by which it could be recognized."""
    tx.execute("UPDATE alert_marks SET value = value || '!' WHERE name = 'first'")


async def noted(database: Database) -> list[str]:
    return [row[0] for row in await database.fetch("SELECT json_extract(body, '$.reason') FROM ledger ORDER BY id")]


async def test_a_commit_that_was_carried_out_is_found_and_not_repeated(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, way):
        way.cut = Cut.after
        assert await database.write(note("second")) == 2
        assert await noted(database) == ["first", "second"]
        assert await database.write(note("third")) == 3
        assert database.trouble == ""


async def test_a_commit_that_never_arrived_is_known_not_to_be_done(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, way):
        way.cut = Cut.before
        with pytest.raises(Unavailable, match="is not there"):
            await database.write(note("second"))
        assert await noted(database) == ["first"]
        assert await database.write(note("second")) == 2


@pytest.mark.parametrize(("cut", "value"), [(Cut.after, "there!"), (Cut.before, "there")])
async def test_a_batch_without_a_record_is_recognized_by_its_transaction(tmp_path: Path, cut: Cut, value: str) -> None:
    async with opened(tmp_path) as (database, way):
        way.cut = cut
        if cut is Cut.before:
            with pytest.raises(Unavailable, match="is not there"):
                await database.write(unrecorded)
        else:
            await database.write(unrecorded)
        assert await database.fetch("SELECT value FROM alert_marks WHERE name = 'first'") == [(value,)]


async def test_what_cannot_be_learnt_is_said_to_be_unknown_and_nothing_is_written_again(tmp_path: Path) -> None:
    async with opened(tmp_path, lock_seconds=0.3) as (database, way):
        way.cut = Cut.after_and_for_good
        with pytest.raises(MaybeWritten, match="not known"):
            await database.write(note("second"))
        assert "not known" in database.trouble
        way.mend()
        assert await database.write(note("third")) == 3
        assert await noted(database) == ["first", "second", "third"]


async def test_a_lazy_write_in_doubt_is_not_written_twice(tmp_path: Path) -> None:
    async with opened(tmp_path, lock_seconds=0.3) as (database, way):
        way.cut = Cut.after_and_for_good
        database.write_later(unrecorded)
        with anyio.fail_after(20):
            while "not known" not in database.trouble:
                await anyio.lowlevel.checkpoint()
        way.mend()
        for name in ("second", "third"):  # what is to be tried again goes along with the first write that finds it
            await database.write(note(name))
        assert await database.fetch("SELECT value FROM alert_marks WHERE name = 'first'") == [("there!",)]


async def test_a_connection_that_was_lost_between_two_batches_costs_nobody_an_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, way):
        assert await database.fetch("SELECT 1") == [(1,)]
        way.sever()
        assert await database.write(note("second")) == 2
        assert await noted(database) == ["first", "second"]


async def test_a_unit_that_swallows_the_databases_refusal_does_not_pass_for_written(tmp_path: Path) -> None:
    def careless(tx: Transaction) -> None:
        try:
            tx.execute("INSERT INTO alert_marks (name, value) VALUES ('first', 'again')")
        except Exception:
            return

    async with opened(tmp_path) as (database, _):
        with pytest.raises(Exception, match="25P02"):
            await database.write(careless)
        assert await database.write(note("second")) == 2


async def test_another_process_that_stands_still_with_the_turn_keeps_nobody_waiting_for_good(tmp_path: Path) -> None:
    async with opened(tmp_path, lock_seconds=0.5) as (database, way):
        with connected_in_thread(way.address) as server:
            server("BEGIN")
            server(None)
            with anyio.fail_after(20):
                with pytest.raises(Unavailable, match="another process holds the database"):
                    await database.write(note("second"))
                assert await until_written(database, note("third")) == 2
                with pytest.raises(Exception, match="idle-in-transaction"):
                    server("COMMIT")
        assert await noted(database) == ["first", "third"]


async def until_written(database: Database, unit: Callable[[Transaction], int]) -> int:
    while True:
        with suppress(Unavailable):
            return await database.write(unit)


class connected_in_thread:  # noqa: N801  # reads as the function that it stands for
    """A connection of somebody else's, in a thread of its own; None takes the turn."""

    def __init__(self, address: Address) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1)
        self._address = address

    def __enter__(self):
        from ops_mcp.store.postgres import ServerConnection

        self._server = self._pool.submit(ServerConnection, self._address, lock_seconds=1).result(10)

        def say(sql: str | None) -> None:
            self._pool.submit(self._server.execute, sql or self._server.turn).result(10)

        return say

    def __exit__(self, *_: object) -> None:
        self._pool.submit(self._server.close).result(10)
        self._pool.shutdown()
