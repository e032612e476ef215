"""Rows of alert rules: what is watched, who set it and when, and which content exactly is there now."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ops_mcp.alerting.rules import Rule
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import Conflict
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.values import digest

MOST_RULES = 20_000
NOTHING = "nothing"
"""What `expected_current` names where there is no rule."""

_STORED = "SELECT body, digest, set_by, set_at, version, deleted_at FROM alert_rules"


class StoredRule(NamedTuple):
    """A rule as it is stored. A `version` is used once, whatever rule it belongs to."""

    rule: Rule
    digest: str
    set_by: str
    set_at: datetime
    version: int
    deleted: bool = False


def rule_digest(rule: Rule) -> str:
    """Names exactly this content."""
    return digest(rule.json_value())


def put(tx: Transaction, rule: Rule, *, by: str, at: datetime) -> str:
    """Store the rule, in place of one of its name in its environment; its digest. What is there already stays as it was set."""
    named = rule_digest(rule)
    if current(tx, rule.environment, rule.name) == named:
        return named
    if not _is_there(tx, rule) and count(tx) >= MOST_RULES:
        raise Conflict(
            f"There are {MOST_RULES:,} alert rules already.", hint="Delete some first, or let one rule watch more series."
        )
    tx.execute(
        "INSERT INTO alert_rules (environment, name, service, severity, digest, body, version, set_by, set_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (environment, name) DO UPDATE SET service = excluded.service,"
        " severity = excluded.severity, digest = excluded.digest, body = excluded.body, version = excluded.version,"
        " set_by = excluded.set_by,"
        " set_at = excluded.set_at, deleted_by = NULL, deleted_at = NULL",
        rule.environment, rule.name, rule.service, rule.severity.rank, named, rule.model_dump_json(exclude_none=True),
        newest(tx) + 1, by, at.isoformat(),
    )  # fmt: skip
    return named


def mark_deleted(tx: Transaction, environment: str, name: str, *, by: str, at: datetime) -> None:
    """The rule is evaluated no more; its row stays."""
    tx.execute(
        "UPDATE alert_rules SET deleted_by = ?, deleted_at = ?, version = ? WHERE environment = ? AND name = ?",
        by, at.isoformat(), newest(tx) + 1, environment, name,
    )  # fmt: skip


def current(tx: Transaction, environment: str, name: str) -> str:
    """The digest of the rule that is there now, or `NOTHING`."""
    rows = tx.fetch("SELECT digest FROM alert_rules WHERE environment = ? AND name = ? AND deleted_at IS NULL", environment, name)
    return str(rows[0][0]) if rows else NOTHING


def rule_in(tx: Transaction, environment: str, name: str) -> StoredRule | None:
    """The rule of that name, unless it is deleted."""
    rows = tx.fetch(f"{_STORED} WHERE environment = ? AND name = ? AND deleted_at IS NULL", environment, name)
    return _stored(rows[0]) if rows else None


def rules_in(tx: Transaction, environment: str) -> Sequence[Rule]:
    """Every rule of an environment that is not deleted."""
    rows = tx.fetch(f"{_STORED} WHERE environment = ? AND deleted_at IS NULL ORDER BY name", environment)
    return [_stored(row).rule for row in rows]


def with_sources_in(tx: Transaction, environment: str) -> Sequence[Rule]:
    """The rules of an environment that name sources."""
    rows = tx.fetch(
        f'{_STORED} WHERE environment = ? AND deleted_at IS NULL AND body LIKE \'%"sources":["%\' ORDER BY name', environment
    )
    return [_stored(row).rule for row in rows]


async def rules_of(database: Database, environment: EnvironmentName | None = None) -> Sequence[StoredRule]:
    """Every rule that is not deleted, of one environment or of all, by environment and name."""
    where, params = ("AND environment = ?", (environment,)) if environment is not None else ("", ())
    rows = await database.fetch(f"{_STORED} WHERE deleted_at IS NULL {where} ORDER BY environment, name", *params)
    return [_stored(row) for row in rows]


async def rule_of(database: Database, environment: str, name: str) -> StoredRule | None:
    rows = await database.fetch(f"{_STORED} WHERE environment = ? AND name = ? AND deleted_at IS NULL", environment, name)
    return _stored(rows[0]) if rows else None


async def newer_than(database: Database, version: int) -> Sequence[StoredRule]:
    """What was written after `version`, deleted ones among them, the oldest first."""
    return [_stored(row) for row in await database.fetch(f"{_STORED} WHERE version > ? ORDER BY version", version)]


def changed_since(tx: Transaction, version: int) -> set[tuple[str, str]]:
    """The environments and names of what was written after `version`."""
    return {(row[0], row[1]) for row in tx.fetch("SELECT environment, name FROM alert_rules WHERE version > ?", version)}


def newest(tx: Transaction) -> int:
    return int(tx.fetch("SELECT COALESCE(MAX(version), 0) FROM alert_rules")[0][0])


def count(tx: Transaction) -> int:
    return int(tx.fetch("SELECT COUNT(*) FROM alert_rules WHERE deleted_at IS NULL")[0][0])


def any_rule(tx: Transaction) -> bool:
    return bool(tx.fetch("SELECT 1 FROM alert_rules WHERE deleted_at IS NULL LIMIT 1"))


def _is_there(tx: Transaction, rule: Rule) -> bool:
    return current(tx, rule.environment, rule.name) != NOTHING


def _stored(row: Row) -> StoredRule:
    body, named, set_by, set_at, version, deleted_at = row
    return StoredRule(
        Rule.model_validate_json(body), named, set_by, datetime.fromisoformat(set_at), version, deleted_at is not None
    )
