"""A process that delivers until nothing waits, to be killed: it halts on a fifo at the point that its command line names.

Run as `python -m tests.operations.delivering DIRECTORY POINT CHANNELS [told|untold]`; POINT is `-` for no halt, and CHANNELS the
channels' tables as JSON. `N-claimed`, `N-sent` and `N-settled` are after the claim, the sending and the settlement of the N-th
notice. With `untold` the channels are taken to tell no repeats.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio

from ops_mcp import channels
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Channel, Notice
from ops_mcp.operations.deliver import deliveries
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.store import keys, leases, outbox, settlement
from ops_mcp.store.database import Database, Transaction
from ops_mcp.values import Secret
from tests.channels.receiving import KEY
from tests.operations.killable import FilePlace, Halts, claim, is_gone

T = TypeVar("T")


class HaltingDatabase(Database):
    """Halts after the write that claimed or settled the N-th notice."""

    halts: Halts

    async def write(self, unit: Callable[[Transaction], T], *, vital: bool = False) -> T:
        value = await super().write(unit, vital=vital)
        for id, state in await self.fetch("SELECT id, state FROM outbox"):
            number = id.removeprefix("ntc_")
            if state == "claimed":
                self.halts.at(f"{number}-claimed")
            elif state == "delivered":
                self.halts.at(f"{number}-settled")
        return value


@dataclass
class Halting:
    """A channel that halts once the notice is sent."""

    inner: Channel
    halts: Halts
    kind: str = "halting"

    async def send(self, notice: Notice) -> str:
        outside = await self.inner.send(notice)
        self.halts.at(f"{notice.id.removeprefix('ntc_')}-sent")
        return outside


async def main(directory: Path, point: str, tables: str, repeats: str) -> None:
    halts = Halts(directory, point)
    HaltingDatabase.halts = halts
    made = channels.load(json.loads(tables), secret=lambda _: Secret(KEY), clock=lambda: datetime.now(UTC))
    ways = {
        name: way._replace(channel=Halting(way.channel, halts), knows_repeats=repeats == "told") for name, way in made.items()
    }
    async with HaltingDatabase.open(
        directory / "ops.db", signer=lambda c: keys.ledger_signer(c, directory / "ledger.key", new_ledger_id="led_test")
    ) as database:
        parts = parts_of(database, halts, await fence_of(database))
        rounds = deliveries(parts, ways, lambda: Redactor({}, b"key"))
        while await database.fetch("SELECT 1 FROM outbox WHERE final = 0"):
            for one in rounds:
                await one()
            await anyio.sleep(0.05)
    (directory / "done").touch()


def parts_of(database: Database, halts: Halts, fence: int) -> Parts:
    place = FilePlace(halts.directory, halts)
    return Parts(
        database=database,
        providers={},
        probe=place.probe,
        settle=settlement.settle_operation,
        clock=lambda: datetime.now(UTC),
        sleep=anyio.sleep,
        fence=fence,
        reins=Reins(),
    )


async def fence_of(database: Database) -> int:
    held = await leases.present(database)
    dead = held.fence if held is not None and is_gone(held.claim) else None
    at = datetime.now(UTC)
    return (await database.write(lambda tx: leases.take(tx, claim(), at=at, seconds=60, dead_fence=dead))).fence


def put(tx: Transaction, notices: list[Notice]) -> None:
    """Fill the outbox."""
    for one in notices:
        outbox.enqueue(tx, one, at=datetime.now(UTC))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
