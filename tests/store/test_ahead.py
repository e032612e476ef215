"""What is judged before it is durable: its value may be used at once, and nothing of it stays when it does not become durable."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Unavailable
from ops_mcp.store.ahead import MOST_IN_A_ROW, Sync
from ops_mcp.store.database import Transaction
from ops_mcp.store.kernel_sync import KernelSync, kernel_sync
from tests.store import ledgers
from tests.store.ledgers import START, Ledger

pytestmark = pytest.mark.anyio

BY_THE_KERNEL = pytest.mark.skipif(kernel_sync() is None, reason="this kernel offers no asynchronous fdatasync")
SYNCS = [pytest.param(kernel_sync, id="kernel", marks=BY_THE_KERNEL), pytest.param(lambda: None, id="thread")]


Syncing = Callable[[], Sync | None]


@pytest.fixture(params=SYNCS)
def sync(request: pytest.FixtureRequest) -> Syncing:
    """What makes durable what was judged in the event loop's thread."""
    return request.param


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


async def test_the_value_comes_before_the_unit_is_durable_and_its_work_tells_when_it_is(tmp_path: Path, sync: Syncing) -> None:
    async with ledgers.opened(tmp_path, sync=sync) as ledger:
        await at_work(ledger)
        number, work = await ledger.database.write_ahead(a_record)
        assert number == 1
        assert work is not None
        assert work.done is not None
        assert not work.done.done()
        assert await work.done == 1
        assert await records(ledger) == 1


async def test_a_unit_that_cannot_be_committed_raises_for_whoever_waits_and_leaves_nothing(tmp_path: Path, sync: Syncing) -> None:
    async with ledgers.opened(tmp_path, sync=sync) as ledger:
        await at_work(ledger)
        with pytest.raises(Unavailable):
            await durable(ledger, an_orphan)
        assert await records(ledger) == 0
        assert (await ledger.database.write_ahead(a_record))[0] == 1


async def durable(ledger: Ledger, unit: Callable[[Transaction], int]) -> int:
    """The value once it is durable. The kernel's way learns of a failed commit at once, the thread's later."""
    value, work = await ledger.database.write_ahead(unit)
    return value if work is None or work.done is None else await work.done


class FailingDisk:
    """An fdatasync that ends when the test says so, and with the error that it says. The file's own work is the real one's."""

    def __init__(self, error: OSError | None, *, refuses: bool = False) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK)
        self.error = error
        self.refuses = refuses
        self.begun = 0

    def begin(self, descriptor: int) -> None:
        if self.refuses:
            raise OSError(errno.EAGAIN, "no room")
        assert Path(f"/proc/self/fd/{descriptor}").readlink().name == "ops.db-wal"
        self.begun += 1

    def end(self) -> None:
        os.eventfd_write(self.descriptor, 1)

    def ended(self) -> OSError | None:
        os.eventfd_read(self.descriptor)
        return self.error

    def close(self) -> None:
        os.close(self.descriptor)


async def test_what_the_disk_does_not_take_is_told_nobody_as_durable_and_the_next_write_folds_the_log_first(
    tmp_path: Path,
) -> None:
    disk = FailingDisk(OSError(errno.EIO, "broken"))
    async with ledgers.opened(tmp_path, sync=lambda: disk) as ledger:
        await at_work(ledger)
        _, work = await ledger.database.write_ahead(a_record)
        assert work is not None
        assert work.done is not None
        assert disk.begun == 1
        disk.end()
        with pytest.raises(Unavailable, match="cannot be written"):
            await work.done
        assert work.error is not None
        assert ledger.database.trouble
        await ledger.database.write(a_record)
        assert (tmp_path / "ops.db-wal").stat().st_size < 2**16, "what was before is in the file, and the log begins anew"
        assert not ledger.database.trouble


async def test_a_write_waits_until_what_was_committed_before_it_is_durable(tmp_path: Path) -> None:
    disk = FailingDisk(None)
    async with ledgers.opened(tmp_path, sync=lambda: disk) as ledger:
        await at_work(ledger)
        _, work = await ledger.database.write_ahead(a_record)
        assert work is not None
        assert work.done is not None
        second: list[int] = []

        async def write() -> None:
            second.append(await ledger.database.write(a_record))

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            assert not second
            assert not work.done.done()
            disk.end()
        assert work.done.result() == 1
        assert second == [2]


async def test_a_kernel_that_refuses_leaves_the_work_to_the_thread_and_loses_nothing(tmp_path: Path) -> None:
    disk = FailingDisk(None, refuses=True)
    async with ledgers.opened(tmp_path, sync=lambda: disk) as ledger:
        await at_work(ledger)
        assert [await durable(ledger, a_record) for _ in range(3)] == [1, 2, 3]
        assert disk.begun == 0
        assert await records(ledger) == 3


async def test_many_in_a_row_are_all_kept_and_the_log_does_not_grow_without_end(tmp_path: Path, sync: Syncing) -> None:
    count = MOST_IN_A_ROW * 8
    async with ledgers.opened(tmp_path, sync=sync) as ledger:
        await at_work(ledger)
        assert [await durable(ledger, a_record) for _ in range(count)] == list(range(1, count + 1))
        assert (tmp_path / "ops.db-wal").stat().st_size < 2**23
    async with ledgers.opened(tmp_path, sync=sync) as again:
        assert await records(again) == count


@BY_THE_KERNEL
def test_the_kernel_tells_the_end_of_each_and_of_a_descriptor_that_is_none(tmp_path: Path) -> None:
    kernel = KernelSync()
    with (tmp_path / "file").open("wb") as file:
        for _ in range(20):
            file.write(b"x" * 5000)
            file.flush()
            kernel.begin(file.fileno())
            assert kernel.ended() is None
        number = file.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.begin(number)
    kernel.close()


async def test_a_unit_that_raises_goes_to_its_caller_and_takes_nobody_along(tmp_path: Path, sync: Syncing) -> None:
    def fails(tx: Transaction) -> int:
        a_record(tx)
        raise ZeroDivisionError

    async with ledgers.opened(tmp_path, sync=sync) as ledger:
        await at_work(ledger)
        ledger.database.write_later(a_record)
        with pytest.raises(ZeroDivisionError):
            await ledger.database.write_ahead(fails)
        assert await records(ledger) == 1


async def test_while_the_writer_is_at_work_a_unit_waits_its_turn_and_is_durable_on_return(tmp_path: Path, sync: Syncing) -> None:
    async with ledgers.opened(tmp_path, sync=sync) as ledger:
        await at_work(ledger)
        _, first = await ledger.database.write_ahead(a_record)
        number, second = await ledger.database.write_ahead(a_record)
        assert (number, second) == (2, None)
        assert first is not None
        assert first.done is not None
        assert first.done.done()


async def test_rows_read_before_the_commit_are_not_told_as_those_of_after_it(tmp_path: Path, sync: Syncing) -> None:
    query = "SELECT COUNT(*) FROM parents"
    async with ledgers.opened(tmp_path, sync=sync) as ledger:
        await at_work(ledger)
        _, work = await ledger.database.write_ahead(lambda tx: tx.execute("INSERT INTO parents (id) VALUES (1)"))
        await ledger.database.fetch_recent(query)  # before or after, as it happens
        assert work is not None
        assert work.done is not None
        await work.done
        await ledger.database.write_ahead(a_record)
        assert (await ledger.database.fetch_recent(query))[0][0] == 1
