"""Who is told when the load guard changes its level: the operator's routes, each from its floor on, once per change."""

from pathlib import Path
from typing import Any

import pytest

from ops_mcp.domain.outcomes import Record
from ops_mcp.rounds import reports
from tests.operations.test_heal import Ward, ward

pytestmark = pytest.mark.anyio

FILE = {"kind": "file", "path": "/nowhere/told.jsonl"}
TOLD: dict[str, Any] = {
    "alerts": {"operators": ["nucleus", "chief-of-staff", "owner"]},
    "channels": {"router": FILE, "console": FILE, "mail": FILE},
    "routes": {
        "nucleus": {"channels": ["router"], "floor": "critical"},
        "chief-of-staff": {"channels": ["mail"], "floor": "high"},
        "owner": {"channels": ["console", "mail"]},
    },
}


async def level(at: Ward, before: str, after: str) -> list[tuple[str, str]]:
    """The guard's level changes, and two rounds pass; who was told what since."""
    known = await at.home.count("outbox")
    data: Any = {"from": before, "to": after, "host": "box"}
    await at.home.database.write(lambda tx: tx.record(Record(kind="guard.level", at=at.home.now[0], data=data)))
    (report,) = reports(at.home.opened, at.parts)
    for _ in range(2):
        at.home.advance(seconds=10)
        await report()
    rows = await at.home.database.fetch("SELECT channel, json_extract(body, '$.severity') FROM outbox ORDER BY position")
    return [(channel, severity) for channel, severity in rows[known:]]


async def test_an_emergency_reaches_every_route_once_and_less_only_those_that_take_it(tmp_path: Path) -> None:
    async with ward(tmp_path, **TOLD) as at:
        await level(at, "ok", "ok")  # what was before the first round is no news
        assert await level(at, "ok", "critical") == [("mail", "high"), ("console", "high")]
        assert await level(at, "critical", "emergency") == [
            ("router", "critical"),
            ("mail", "critical"),
            ("console", "critical"),
        ]
