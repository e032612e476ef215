"""The board of who is to be told what, in rows: only what changed is written."""

import json
from collections.abc import Iterable
from datetime import datetime

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.routing import Board, Group, GroupKey, Told
from ops_mcp.store.database import Database, Transaction


def board_in(tx: Transaction) -> Board:
    """The whole board."""
    alerts = {row[0]: Alert.model_validate_json(row[1]) for row in tx.fetch("SELECT fingerprint, body FROM alert_board")}
    groups = {
        GroupKey(channel, tuple((name, value) for name, value in json.loads(labels))): _group(body)
        for channel, labels, body in tx.fetch("SELECT channel, labels, body FROM alert_groups")
    }
    return Board(alerts, groups)


def save_board(tx: Transaction, before: Board, after: Board) -> None:
    """Write what is different in `after`."""
    for fingerprint in before.alerts.keys() - after.alerts.keys():
        tx.execute("DELETE FROM alert_board WHERE fingerprint = ?", fingerprint)
    for fingerprint, alert in after.alerts.items():
        if (known := before.alerts.get(fingerprint)) is not alert and known != alert:
            tx.execute(
                "INSERT INTO alert_board (fingerprint, body) VALUES (?, ?)"
                " ON CONFLICT (fingerprint) DO UPDATE SET body = excluded.body",
                fingerprint, alert.model_dump_json(exclude_none=True),
            )  # fmt: skip
    for key in before.groups.keys() - after.groups.keys():
        tx.execute("DELETE FROM alert_groups WHERE channel = ? AND labels = ?", *_key(key))
    for key, group in after.groups.items():
        if before.groups.get(key) != group:
            tx.execute(
                "INSERT INTO alert_groups (channel, labels, next_at, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (channel, labels) DO UPDATE SET next_at = excluded.next_at, body = excluded.body",
                *_key(key), group.next_at.isoformat(), _body(group),
            )  # fmt: skip


def anything_to_tell(tx: Transaction) -> bool:
    """Whether a group will have to be looked at some time."""
    return bool(tx.fetch("SELECT 1 FROM alert_groups LIMIT 1"))


async def is_due(database: Database, at: datetime) -> bool:
    """Whether a group has to be looked at now, or an alert of a source has ended by itself."""
    rows = await database.fetch(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM alert_groups WHERE next_at <= ?)"
        " OR EXISTS (SELECT 1 FROM alerts WHERE state = 'firing' AND ends_at <= ?)",
        at.isoformat(), at.isoformat(),
    )  # fmt: skip
    return bool(rows)


def _key(key: GroupKey) -> tuple[str, str]:
    return key.channel, json.dumps([list(pair) for pair in key.labels], separators=(",", ":"))


def _body(group: Group) -> str:
    told = group.told
    return json.dumps(
        {
            "members": sorted(group.members),
            "next_at": group.next_at.isoformat(),
            "told": [told.at.isoformat(), sorted(told.firing)] if told is not None else None,
        },
        separators=(",", ":"),
    )


def _group(body: str) -> Group:
    found = json.loads(body)
    told = found["told"]
    return Group(
        _names(found["members"]),
        datetime.fromisoformat(found["next_at"]),
        Told(datetime.fromisoformat(told[0]), _names(told[1])) if told else None,
    )


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)
