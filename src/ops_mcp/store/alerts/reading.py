"""What is stored of rules, alerts and silences, put together for whoever looks."""

from collections.abc import Sequence
from datetime import datetime

from ops_mcp.alerting.lives import Life, LifeEvent, Standing
from ops_mcp.alerting.muting import Silence
from ops_mcp.alerting.rules import Rule
from ops_mcp.observing import AlertsFound, AlertsWanted, RulesFound, RulesWanted
from ops_mcp.store.alerts import lives, progress, silences
from ops_mcp.store.database import Database, Row, SqlValue


class Reading:
    """Reads one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rules(self, wanted: RulesWanted) -> RulesFound:
        """Rules with where they stand: those that fire first, then those that wait, then those that fail, the worst first."""
        where, params = _conditions(wanted)
        counted = await self._database.fetch(f"SELECT COUNT(*) FROM alert_rules r WHERE {where}", *params)
        rows = await self._database.fetch(
            f"SELECT * FROM ({_STANDING} WHERE {where}) AS found ORDER BY CASE WHEN firing > 0 THEN 0 WHEN pending > 0 THEN 1"
            " WHEN error <> '' THEN 2 ELSE 3 END, severity, environment, name LIMIT ?",
            *params,
            wanted.limit,
        )
        round_at = await progress.last_round_of(self._database)
        return RulesFound([_standing(row, round_at) for row in rows], int(counted[0][0]))

    async def alerts(self, wanted: AlertsWanted) -> AlertsFound:
        return await lives.lives(self._database, wanted)

    async def alert(self, id: str) -> Life | None:
        return await lives.life(self._database, id)

    async def history(self, id: str, limit: int) -> Sequence[LifeEvent]:
        return await lives.history(self._database, id, limit)

    async def silences(self, environments: Sequence[str], at: datetime) -> Sequence[Silence]:
        return await silences.silences_of(self._database, environments, at)

    async def silence(self, id: str) -> Silence | None:
        return await silences.silence_of(self._database, id)


_STANDING = (
    "SELECT r.environment AS environment, r.name AS name, r.severity AS severity, r.body AS body, r.digest AS digest,"
    " r.set_by AS set_by, r.set_at AS set_at, COALESCE(p.error, '') AS error, p.evaluated_at AS evaluated_at,"
    " (SELECT COUNT(*) FROM alerts a WHERE a.environment = r.environment AND a.rule = r.name AND a.state = 'pending') AS pending,"
    " (SELECT COUNT(*) FROM alerts a WHERE a.environment = r.environment AND a.rule = r.name AND a.state = 'firing') AS firing"
    " FROM alert_rules r LEFT JOIN alert_progress p ON p.environment = r.environment AND p.name = r.name"
)


def _conditions(wanted: RulesWanted) -> tuple[str, tuple[SqlValue, ...]]:
    marks = ", ".join("?" * len(wanted.environments)) or "NULL"
    parts, params = ["r.deleted_at IS NULL", f"r.environment IN ({marks})"], list[SqlValue](wanted.environments)
    for column, value in (("service", wanted.service), ("name", wanted.name)):
        if value is not None:
            parts.append(f"r.{column} = ?")
            params.append(value)
    return " AND ".join(parts), tuple(params)


def _standing(row: Row, round_at: datetime | None) -> Standing:
    """A rule that was set after the last evaluation has not been evaluated."""
    _, _, _, body, digest, set_by, set_at, error, evaluated_at, pending, firing = row
    rule, begun = Rule.model_validate_json(body), datetime.fromisoformat(set_at)
    seen = round_at if round_at is not None and rule.expression and round_at >= begun else None
    if error:
        seen = datetime.fromisoformat(evaluated_at) if evaluated_at else None
    return Standing(rule, digest, set_by, begun, seen, pending, firing, error)
