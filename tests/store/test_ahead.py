"""What is judged before it is durable: its value may be used at once, and nothing of it stays when it does not become durable."""

from pathlib import Path

import pytest

from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Unavailable
from ops_mcp.store.database import Transaction
from tests.store.ledgers import START, Ledger, opened

pytestmark = pytest.mark.anyio

# A deferred foreign key is checked by COMMIT itself: the one way to have a commit fail after everything in it went well.
FRAGILE = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
    "CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
)


def a_record(tx: Transaction) -> int:
    return tx.record(Record(kind="call.admitted", at=START, call="call_1"))


def an_orphan(tx: Transaction) -> int:
    tx.execute("INSERT INTO children (parent) VALUES (1)")
    return a_record(tx)


async def at_work(ledger: Ledger) -> None:
    """The writer has its connection and nothing to do."""
    await ledger.database.write(lambda tx: [tx.execute(statement) for statement in FRAGILE])


async def records(ledger: Ledger) -> int:
    await ledger.database.write(lambda _: None)
    return int((await ledger.database.fetch("SELECT COUNT(*) FROM ledger"))[0][0])


async def test_the_value_comes_before_the_unit_is_durable_and_its_work_tells_when_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        number, work = await ledger.database.write_ahead(a_record)
        assert number == 1
        assert work is not None
        assert work.done is not None
        assert not work.done.done()
        assert await work.done == 1
        assert await records(ledger) == 1


async def test_a_unit_that_cannot_be_committed_raises_for_whoever_waits_and_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        number, work = await ledger.database.write_ahead(an_orphan)
        assert number == 1
        assert work is not None
        assert work.done is not None
        with pytest.raises(Unavailable):
            await work.done
        assert work.error is not None
        assert await records(ledger) == 0
        assert (await ledger.database.write_ahead(a_record))[0] == 1


async def test_a_unit_that_raises_goes_to_its_caller_and_takes_nobody_along(tmp_path: Path) -> None:
    def fails(tx: Transaction) -> int:
        a_record(tx)
        raise ZeroDivisionError

    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        ledger.database.write_later(a_record)
        with pytest.raises(ZeroDivisionError):
            await ledger.database.write_ahead(fails)
        assert await records(ledger) == 1


async def test_while_the_writer_is_at_work_a_unit_waits_its_turn_and_is_durable_on_return(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        _, first = await ledger.database.write_ahead(a_record)
        number, second = await ledger.database.write_ahead(a_record)
        assert (number, second) == (2, None)
        assert first is not None
        assert first.done is not None
        assert first.done.done()


async def test_rows_read_before_the_commit_are_not_told_as_those_of_after_it(tmp_path: Path) -> None:
    query = "SELECT COUNT(*) FROM parents"
    async with opened(tmp_path) as ledger:
        await at_work(ledger)
        _, work = await ledger.database.write_ahead(lambda tx: tx.execute("INSERT INTO parents (id) VALUES (1)"))
        await ledger.database.fetch_recent(query)  # before or after, as it happens
        assert work is not None
        assert work.done is not None
        await work.done
        await ledger.database.write_ahead(a_record)
        assert (await ledger.database.fetch_recent(query))[0][0] == 1
