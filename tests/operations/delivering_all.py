"""A worker that delivers to all its channels at once until nothing waits, quickly: to be killed wherever it is.

Run as `python -m tests.operations.delivering_all DIRECTORY CHANNELS SECRETS`: the channels' tables and the secrets as JSON. It
asks after a second where the product waits five, and keeps to no rate of its own; retries, pauses and order are the product's.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio

from ops_mcp import channels
from ops_mcp.governance.redaction import Redactor
from ops_mcp.operations.deliver import Delivery
from ops_mcp.values import Secret
from tests.operations.delivering import fence_of, parts_of
from tests.operations.fakes import open_database
from tests.operations.killable import Halts


async def main(directory: Path, tables: str, secrets: str) -> None:
    known: dict[str, str] = json.loads(secrets)
    made = channels.load(json.loads(tables), secret=lambda name: Secret(known[name]), clock=lambda: datetime.now(UTC))
    async with open_database(directory) as database:
        parts = parts_of(database, Halts(directory, "-"), await fence_of(database))
        rounds = [
            Delivery(name, way._replace(gap_seconds=0.0), parts, lambda: Redactor({}, b"key"), doubt_seconds=1.0)
            for name, way in made.items()
        ]

        async def deliver(one: Delivery) -> None:
            while await database.fetch("SELECT 1 FROM outbox WHERE final = 0 AND channel = ? LIMIT 1", one.name):
                await one()
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as group:
            for one in rounds:
                group.start_soon(deliver, one)
    (directory / "done").touch()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3])
