"""A ledger behind the real database, filled through its writer."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops_mcp.domain.outcomes import Record
from ops_mcp.store import keys
from ops_mcp.store.ahead import Sync
from ops_mcp.store.chain import Signer
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.kernel_sync import kernel_sync
from ops_mcp.store.seam import Connection
from tests import databases

START = datetime(2026, 11, 20, 17, tzinfo=UTC)


@dataclass
class Ledger:
    """The database with the signer it came to have; `signer` may be used after the first write."""

    database: Database
    file: Path
    signers: list[Signer]

    @property
    def signer(self) -> Signer:
        return self.signers[0]

    async def fill(self, count: int, *, start: datetime = START, every: timedelta = timedelta(minutes=1)) -> None:
        """`count` records from `start` on, committed three at a time, so that every third is a signed head."""
        for first in range(0, count, 3):

            def unit(tx: Transaction, first: int = first) -> None:
                for n in range(first, min(first + 3, count)):
                    tx.record(
                        Record(kind="call.admitted", at=start + n * every, call=f"call_{n}", caller="deployer", tool="deploy")
                    )

            await self.database.write(unit)


@asynccontextmanager
async def opened(directory: Path, *, sync: Callable[[], Sync | None] = kernel_sync) -> AsyncGenerator[Ledger]:
    signers: list[Signer] = []

    key = keys.ledger_key_path(directory)
    place = databases.place(directory, key)
    find = keys.signer_at(place, key, new_ledger_id=lambda: "led_test")

    def signer(connection: Connection) -> Signer:
        signers.append(find(connection))
        return signers[-1]

    async with Database.open(place, signer=signer, sync=sync) as database:
        yield Ledger(database, directory / "ops.db", signers)
