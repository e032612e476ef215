"""A real worker is killed in the middle of healing a real process: whatever the moment, the restart is made once."""

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp import worker
from ops_mcp.alerting.rules import Rule
from ops_mcp.store.alerts import writes
from ops_mcp.store.database import Transaction
from tests.test_worker import Shop, deployed, holder, opened, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ALWAYS = Rule.model_validate(
    {
        "name": "Always",
        "environment": "sandbox",
        "service": "hello",
        "expression": "vector(1)",
        "remediation": {"remedy": "restart", "agent": "healer"},
    }
)

MOMENTS = {
    "the attempt is stored": "SELECT COUNT(*) FROM healing_attempts",
    "its call is admitted": "SELECT COUNT(*) FROM ledger WHERE kind = 'call.admitted' AND caller = 'healer'",
    "its deployment has begun": "SELECT COUNT(*) FROM idempotency WHERE agent = 'healer'",
    "the service is being ended": "SELECT COUNT(*) FROM steps s JOIN operations o ON o.id = s.operation WHERE o.agent = 'healer'",
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_worker_killed_while_it_heals_restarts_the_service_once(tmp_path: Path, moment: str):
    shop = Shop(tmp_path)
    settings = shop.config_dir / "config.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + "[alerts]\nevery_seconds = 1\n", encoding="utf-8")
    rows = reading(shop.config.database_path)
    async with opened(shop) as server:
        await deployed(server.app)
        await server.database.write(_prepare)
        await until(lambda: rows(MOMENTS[moment])[0][0] > 0)
        holder(shop).send_signal(signal.SIGKILL)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: worker.keep_worker(shop.config, every_seconds=1))
            await until(lambda: rows("SELECT COUNT(*) FROM ledger WHERE kind = 'healing.settled'")[0][0] > 0)
            group.cancel_scope.cancel()
        assert rows("SELECT outcome, number FROM healing_attempts") == [("succeeded", 1)]
        assert len(rows("SELECT 1 FROM deployments WHERE agent = 'healer'")) == 1
        assert len(rows("SELECT 1 FROM ledger WHERE kind = 'call.committed' AND caller = 'healer'")) == 1
        assert await shop.status() == 200


def reading(database: Path) -> Callable[[str], list[tuple[Any, ...]]]:
    """Rows as another process sees them."""

    def rows(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(sql).fetchall()

    return rows


def _prepare(tx: Transaction) -> None:
    tx.execute(
        "INSERT INTO agents (name, owner, ceiling, score, reputation, token_hash, created_at)"
        " VALUES ('healer', 'olga', 'sandbox', 100, 1, 'none', '2026-01-01T00:00:00+00:00')"
    )
    tx.execute("UPDATE facts SET value = CAST(value AS INTEGER) + 1 WHERE name = 'governance'")
    writes.set_rule(tx, ALWAYS, by="operator:olga", at=worker.now())
