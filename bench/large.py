"""Lengthens a house's ledger to a given number of records: real bodies with new ids, chained and signed as the writer does."""

import json
import sqlite3
from collections.abc import Iterator

from bench.house import House
from ops_mcp.store.chain import Head, chained, signed_head
from ops_mcp.store.keys import ledger_key_path, ledger_signer
from ops_mcp.values import canonical

BATCH = 10_000


def lengthen(home: House, records: int) -> None:
    """Append copies of the newest calls until the ledger holds `records`. No server may run meanwhile."""
    connection = sqlite3.connect(home.world.state / "ops.db", isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        signer = ledger_signer(connection, ledger_key_path(home.world.state), new_ledger_id="")
        head = Head(*connection.execute("SELECT id, hash FROM ledger ORDER BY id DESC LIMIT 1").fetchone())
        bodies = _bodies(connection)
        while head.number < records:
            rows: list[tuple[int, str, str]] = []
            for _ in range(min(BATCH, records - head.number)):
                body = next(bodies)
                head = Head(head.number + 1, chained(head.hash, body))
                rows.append((head.number, body.decode(), head.hash))
            signed = signed_head(signer, head)
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO ledger (id, body, hash) VALUES (?, ?, ?)", rows)
            connection.execute(
                "INSERT INTO ledger_heads (id, hash, key, signature) VALUES (?, ?, ?, ?)",
                (signed.number, signed.hash, signed.key, signed.signature),
            )
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _bodies(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Endless bodies of calls as they really are, each pair under a call id of its own."""
    samples = [
        json.loads(body)
        for kind in ("call.admitted", "call.settled")
        for (body,) in connection.execute("SELECT body FROM ledger WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,))
    ]
    serial = 0
    while True:
        serial += 1
        for sample in samples:
            yield canonical({**sample, "call": f"call_{serial:026d}"})
