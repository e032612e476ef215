"""The load guard in rows: what is known of each host, which host a change concerns, and the changes that are in flight there.

A caller's process reads its own host when nobody has lately; the worker reads the host that it works on all the time.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import anyio

from ops_mcp.domain.calls import Call
from ops_mcp.domain.outcomes import Record
from ops_mcp.governance import load as loads
from ops_mcp.governance.history import UNGUARDED, GuardLevel, Loaded
from ops_mcp.governance.load import Gauge, Guard, Held, Load, Measure, Reading
from ops_mcp.store import leases
from ops_mcp.store.database import Database, Transaction

ReadHost: TypeAlias = Callable[[], Awaitable[Reading]]

OFF = "off"
"""The level that is recorded where the operator has switched the guard off."""

EVERY = timedelta(seconds=15)
"""How often the worker reads its host. A host that holds a level is read as often by whoever wants to change something there:
readings that are a minute apart show no calm."""

_BLOCKING = (GuardLevel.critical.value, GuardLevel.emergency.value)
_INCIDENT = "incident"
_NO = ("", "no", "false")
_KNOWN = "SELECT level, gauges FROM guard_hosts WHERE host = ?"


class Known(NamedTuple):
    """What is known of a host. `level` is the last one that the ledger was told."""

    guard: Guard = Guard()
    level: str = GuardLevel.info.value


class HostGuard:
    """The guard as one process sees it. With `elsewhere` somebody else starts the worker, and may do so on another host."""

    def __init__(self, database: Database, host: str, read: ReadHost, *, enabled: bool = True, elsewhere: bool = False) -> None:
        self.host = host
        self._database = database
        self._read = read
        self._enabled = enabled
        self._elsewhere = elsewhere
        self._looking = anyio.Lock()

    async def look(self, call: Call, at: datetime) -> None:
        """Read this host before a change to what runs on it is judged, unless that was done lately or is another's to do."""
        if not (self._enabled and call.on_host) or call.recovery:
            return
        async with self._looking:
            if concerned(await leases.recently(self._database), self.host, at, elsewhere=self._elsewhere) != self.host:
                return
            if is_due((await known_of(self._database, self.host)).guard, at):
                reading = await self._read()
                await self._database.write(lambda tx: observe(tx, self.host, reading))

    def loaded(self, tx: Transaction, call: Call, at: datetime) -> Loaded:
        """How the host of a change stands."""
        if not call.on_host:
            return UNGUARDED
        if not self._enabled:
            self._say_off(tx, at)
            return UNGUARDED
        host = concerned(leases.read(tx), self.host, at, elsewhere=self._elsewhere)
        load = loads.load(known(tx, host).guard, at)
        incident = call.environment is not None and in_incident(tx, call.environment.name, call.service)
        return Loaded(
            level=load.level,
            since=load.since,
            measure=load.measure.value if load.measure else "",
            percent=load.percent,
            in_flight=in_flight(tx, host),
            incident=incident,
        )

    def began(self, tx: Transaction, call: Call, deployment: str, at: datetime) -> None:
        """Count a committed change among those in flight."""
        if call.on_host and not call.recovery and self._enabled:
            host = concerned(leases.read(tx), self.host, at, elsewhere=self._elsewhere)
            incident = call.environment is not None and in_incident(tx, call.environment.name, call.service)
            tx.execute("DELETE FROM guard_flights WHERE deployment NOT IN (SELECT deployment FROM locks)")
            tx.execute("INSERT INTO guard_flights (deployment, host, incident) VALUES (?, ?, ?)", deployment, host, int(incident))

    async def watch(self, at: datetime, *, fence: int) -> None:
        """Read this host as the worker on it, when it was not read for a while. Raises `LeaseLost` when it is no more."""
        known = await known_of(self._database, self.host)
        if not self._enabled:
            if known.level in _BLOCKING:  # which would keep a worker for good
                await self._database.write(lambda tx: self._say_off(tx, at))
            return
        if not is_due(known.guard, at, every=EVERY):
            return
        reading = await self._read()

        def unit(tx: Transaction) -> None:
            leases.require(tx, fence)
            observe(tx, self.host, reading)

        await self._database.write(unit)

    async def dispatch_delay(self, deployment: str, at: datetime) -> float:
        """Seconds to leave between taking up this change and the one before; none for recoveries and work on an incident."""
        rows = await self._database.fetch("SELECT host FROM guard_flights WHERE deployment = ? AND incident = 0", deployment)
        if not rows or not self._enabled:
            return 0.0
        known = await known_of(self._database, rows[0][0])
        return loads.DISPATCH_DELAY_SECONDS[loads.load(known.guard, at).level]

    def _say_off(self, tx: Transaction, at: datetime) -> None:
        before = known(tx, self.host)
        if before.level != OFF:
            _keep(tx, self.host, Known(before.guard, OFF), at)
            tx.record(Record(kind="guard.level", at=at, reason="switched off", data={"host": self.host, "to": OFF}))


def concerned(lease: leases.Lease | None, here: str, at: datetime, *, elsewhere: bool) -> str:
    """The host on which services run: the worker's. Where none is alive, one is started here, unless somebody else starts it."""
    if lease is None or not (lease.is_live(at) or elsewhere):
        return here
    return lease.claim.host or here


def is_due(guard: Guard, at: datetime, *, every: timedelta = loads.STALE_AFTER) -> bool:
    """Whether the host must be read again before anything is decided by what is known of it."""
    gauges = guard.gauges.values()
    if len(gauges) < len(Measure):
        return True
    oldest = min(gauge.at for gauge in gauges)
    # A reading of the future was made before the clock was set back.
    return not timedelta() <= at - oldest < (EVERY if any(gauge.held for gauge in gauges) else every)


def holds_changes_up(tx: Transaction) -> bool:
    """Whether the worker's host holds a level that blocks: then somebody must see when it has settled."""
    lease = leases.read(tx)
    return lease is not None and known(tx, lease.claim.host).level in _BLOCKING


def observe(tx: Transaction, host: str, reading: Reading) -> Load:
    """Take in a reading of a host. The ledger is told where that changes its level."""
    before = known(tx, host)
    guard = loads.observed(before.guard, reading)
    after = loads.load(guard, reading.at)
    _keep(tx, host, Known(guard, after.level.value), reading.at)
    if after.level.value != before.level:
        tx.record(_changed(host, before.level, after, reading.at))
    return after


def known(tx: Transaction, host: str) -> Known:
    """What is known of a host, remembered for as long as nobody writes it."""
    remembered: dict[str, Known] = tx.memory.setdefault("guard_hosts", {})
    if host not in remembered:
        rows = tx.fetch(_KNOWN, host)
        remembered[host] = _parsed(*rows[0]) if rows else Known()
    return remembered[host]


async def known_of(database: Database, host: str) -> Known:
    """The same, for who only looks."""
    rows = await database.fetch_recent(_KNOWN, host)
    return _parsed(*rows[0]) if rows else Known()


def in_flight(tx: Transaction, host: str) -> int:
    """How many changes hold a place on this host that belong to no incident: from their commit to their verdict."""
    rows = tx.fetch(
        "SELECT COUNT(*) FROM guard_flights f JOIN locks l ON l.deployment = f.deployment WHERE f.host = ? AND f.incident = 0",
        host,
    )
    return int(rows[0][0])


def in_incident(tx: Transaction, environment: str, service: str | None) -> bool:
    """Whether an operator's rule that fires about this service calls it an incident, by its label of that name.

    The rule's own label counts, and no label of a series: those come from whoever writes metrics.
    """
    rows = tx.fetch(
        "SELECT r.body FROM alerts a JOIN alert_rules r ON r.environment = a.environment AND r.name = a.rule"
        " WHERE a.environment = ? AND a.service = ? AND a.state = 'firing' AND r.deleted_at IS NULL"
        " AND r.set_by LIKE 'operator:%'",
        environment, service or "",
    )  # fmt: skip
    said = (json.loads(body).get("labels", {}).get(_INCIDENT, "") for (body,) in rows)
    return any(str(word).lower() not in _NO for word in said)


def _changed(host: str, before: str, after: Load, at: datetime) -> Record:
    return Record(
        kind="guard.level",
        at=at,
        reason=f"{before} to {after.level.value}",
        data={
            "host": host,
            "from": before,
            "to": after.level.value,
            "measure": after.measure.value if after.measure else None,
            "percent": round(after.percent, 1) if after.percent is not None else None,
        },
    )


def _keep(tx: Transaction, host: str, after: Known, at: datetime) -> None:
    tx.execute(
        "INSERT INTO guard_hosts (host, level, read_at, gauges) VALUES (?, ?, ?, ?) ON CONFLICT (host) DO UPDATE SET"
        " level = excluded.level, read_at = excluded.read_at, gauges = excluded.gauges",
        host, after.level, at.isoformat(), json.dumps(_written(after.guard), separators=(",", ":")),
    )  # fmt: skip


def _written(guard: Guard) -> dict[str, Any]:
    return {
        measure.value: {
            "percent": gauge.percent,
            "at": gauge.at.isoformat(),
            "held": [[h.level.value, h.since.isoformat(), h.below_since and h.below_since.isoformat()] for h in gauge.held],
        }
        for measure, gauge in guard.gauges.items()
    }


def _parsed(level: str, gauges: str) -> Known:
    found: dict[str, Any] = json.loads(gauges)
    return Known(Guard({Measure(name): _gauge(gauge) for name, gauge in found.items()}), level)


def _gauge(said: dict[str, Any]) -> Gauge:
    held = tuple(
        Held(GuardLevel(level), datetime.fromisoformat(since), datetime.fromisoformat(below) if below else None)
        for level, since, below in said["held"]
    )
    return Gauge(said["percent"], datetime.fromisoformat(said["at"]), held)
