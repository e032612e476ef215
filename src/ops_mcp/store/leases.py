"""The lease under which one worker advances operations. Its fence only ever grows, and every write of a worker checks it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ops_mcp.domain.addresses import Address
from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Conflict, InProgress, LeaseLost
from ops_mcp.store.database import Database, Row, Transaction
from ops_mcp.store.glance import glance
from ops_mcp.values import Value

WORKER = "worker"


class Ground(Value):
    """What a worker stands on. Two workers of one database must stand on the same ground."""

    config_dir: str
    state_dir: str
    database: str


class Claim(Value):
    """Who wants the lease. `host`, `namespace` (of process ids), `pid` and `pid_started` let others there see that it is gone."""

    holder: str
    version: str
    schema_version: int
    ground: Ground
    host: str = ""
    namespace: str = ""
    pid: int = 0
    pid_started: float = 0.0


class Lease(NamedTuple):
    """The lease as stored. `wanted_by` is the newer version that asked its holder to yield at the next step boundary."""

    claim: Claim
    fence: int
    expires_at: datetime
    wanted_by: str | None = None

    def is_live(self, at: datetime) -> bool:
        return at < self.expires_at


class _Body(Value):
    claim: Claim
    wanted_by: str | None = None


def take(tx: Transaction, claim: Claim, *, at: datetime, seconds: float, dead_fence: int | None = None) -> Lease:
    """Take a lease that is free, expired, or held under `dead_fence` by a process known to be gone.

    Raises `Conflict` when a live worker stands on another ground, `InProgress` while one holds it; one that is older than the
    claim is asked to yield, which is written: so this returns the holder's lease instead of raising then.
    """
    held = read(tx)
    if held is None or not held.is_live(at) or held.fence == dead_fence:
        return _write(tx, Lease(claim, (held.fence if held else 0) + 1, at + timedelta(seconds=seconds)), at=at)
    refuse_other_ground(held.claim, claim)
    if is_newer(claim.version, than=held.claim.version):
        return _store(tx, held._replace(wanted_by=claim.version))
    raise InProgress(
        f"A worker of version {held.claim.version} (process {held.claim.pid}) is at work.",
        hint="One worker serves all clients of a state directory; nothing needs to be done.",
        retry_after_seconds=max(0.0, (held.expires_at - at).total_seconds()),
    )


def renew(tx: Transaction, fence: int, *, at: datetime, seconds: float) -> Lease:
    """Prolong the lease. Raises `LeaseLost` when another worker has taken it."""
    held = require(tx, fence)
    return _store(tx, held._replace(expires_at=at + timedelta(seconds=seconds)))


def release(tx: Transaction, fence: int, *, at: datetime) -> None:
    """Give the lease back: it counts as expired from now. Raises `LeaseLost` when it was taken before."""
    held = require(tx, fence)
    _store(tx, held._replace(expires_at=at, wanted_by=None))


def require(tx: Transaction, fence: int) -> Lease:
    """The lease, if it is still held under `fence`. Raises `LeaseLost`, which undoes the unit of work it is called in."""
    held = read(tx)
    if held is None or held.fence != fence:
        now = held.fence if held else 0
        raise LeaseLost(
            f"The worker's lease has passed on (fence {fence}, now {now}).",
            hint="Nothing was written; the worker that holds the lease goes on.",
        )
    return held


def read(tx: Transaction) -> Lease | None:
    rows = tx.fetch("SELECT fence, expires_at, body FROM leases WHERE name = ?", WORKER)
    return _lease(rows[0]) if rows else None


async def present(db: Database) -> Lease | None:
    """The lease as last committed, live or not."""
    rows = await db.fetch("SELECT fence, expires_at, body FROM leases WHERE name = ?", WORKER)
    return _lease(rows[0]) if rows else None


async def recently(db: Database) -> Lease | None:
    """The same, from memory where it cannot have changed."""
    rows = await db.fetch_recent("SELECT fence, expires_at, body FROM leases WHERE name = ?", WORKER)
    return _lease(rows[0]) if rows else None


async def anything_to_watch(db: Database) -> bool:
    """Whether there are services that serve, or alert rules, which stand unwatched without a worker."""
    serving, rules = "SELECT 1 FROM deployments WHERE serving = 1", "SELECT 1 FROM alert_rules WHERE deleted_at IS NULL"
    rows = await db.fetch_recent(f"SELECT EXISTS ({serving}) OR EXISTS ({rules})")
    return bool(rows[0][0])


def peek(place: Path | Address) -> Lease | None:
    """The lease read without opening the database for work: for processes that only ask whether a worker is alive."""
    rows = glance(place, "SELECT fence, expires_at, body FROM leases WHERE name = ?", WORKER)
    return _lease(rows[0]) if rows else None


def work_waits(place: Path | Address) -> bool:
    """Whether something is committed and not final, serves, is watched, or is granted to be run: a worker should be alive.

    Watched are alert rules, people who are to be told something, alerts that end by themselves, and tasks that go on. A database
    that was not migrated yet has none of them.
    """
    return bool(
        glance(
            place,
            "SELECT 1 FROM operations WHERE final = 0 UNION ALL SELECT 1 FROM deployments WHERE serving = 1"
            " UNION ALL SELECT 1 FROM approvals WHERE state = 'granted' AND body LIKE '%\"run_requested\":true%' LIMIT 1",
        )
        or glance(
            place,
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM alert_rules WHERE deleted_at IS NULL) OR EXISTS (SELECT 1 FROM alert_groups)"
            " OR EXISTS (SELECT 1 FROM outbox WHERE final = 0)"
            " OR EXISTS (SELECT 1 FROM alerts WHERE state = 'firing' AND ends_at IS NOT NULL)",
        )
        or glance(place, "SELECT 1 WHERE EXISTS (SELECT 1 FROM tasks WHERE state = 'running' OR post_due_at IS NOT NULL)")
    )


def refuse_other_ground(held: Claim, claim: Claim) -> None:
    """Raises `Conflict` naming what differs, when a worker serves another installation on the same database."""
    if held.ground == claim.ground and (held.schema_version == claim.schema_version or held.version != claim.version):
        return
    ours, theirs = claim.ground.json_value(), held.ground.json_value()
    differing = sorted(k for k in ours if ours[k] != theirs[k]) or ["schema_version"]
    raise Conflict(
        f"A worker with another {', '.join(differing)} holds this database.",
        hint="Give every client of one database the same configuration and state directory, or stop the other worker with"
        " `ops-mcp worker stop`.",
        details={"held": theirs, "claimed": ours},
    )


def is_newer(version: str, *, than: str) -> bool:
    """Whether `version` is later in its numbers; what is no number counts as none."""
    return _numbers(version) > _numbers(than)


def _write(tx: Transaction, lease: Lease, *, at: datetime) -> Lease:
    _store(tx, lease)
    data = lease.claim.json_value() | {"fence": lease.fence}
    tx.record(Record(kind="worker.started", at=at, caller=f"system:{lease.claim.holder}", data=data))
    return lease


def _store(tx: Transaction, lease: Lease) -> Lease:
    body = _Body(claim=lease.claim, wanted_by=lease.wanted_by).model_dump_json()
    tx.execute(
        "INSERT INTO leases (name, holder, fence, expires_at, version, body) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = excluded.fence,"
        " expires_at = excluded.expires_at, version = excluded.version, body = excluded.body",
        WORKER,
        lease.claim.holder,
        lease.fence,
        lease.expires_at.isoformat(),
        lease.claim.version,
        body,
    )
    return lease


def _lease(row: Row) -> Lease:
    fence, expires_at, body = row
    parsed = _Body.model_validate_json(body)
    return Lease(parsed.claim, fence, datetime.fromisoformat(expires_at), parsed.wanted_by)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("+", maxsplit=1)[0].split("."))
