"""The inventory with its state: what is configured, put together with what the worker stored of its probes and deployments."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Self

from ops_mcp.config import Config
from ops_mcp.deploying.standing import Standing, is_too_old, shown
from ops_mcp.deploying.states import FINAL
from ops_mcp.deploying.wellbeing import WORST_FIRST, Node, Released, Wellbeing, explained_by, wellbeing
from ops_mcp.domain.inventory import RELEASE, HealthState, Thing, digest_of, name_of
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import DeploymentKind
from ops_mcp.observing import ProbeState, ServiceHealth
from ops_mcp.ports import Clock
from ops_mcp.store import health, leases
from ops_mcp.store.database import Database
from ops_mcp.store.health import Availability, Change, Deployed, ProbeKey, Stored


class Wanted(NamedTuple):
    """One thing, and of each of its probes by name the kind and the digest of what is asked now."""

    thing: Thing
    probes: Mapping[str, tuple[str, str]]

    @classmethod
    def of(cls, thing: Thing) -> Self:
        return cls(thing, {name_of(probe): (probe.kind, digest_of(probe)) for probe in thing.probes})


_LEAVE_ALONE = (DeploymentKind.variable, DeploymentKind.provision)


class Health:
    """Reads only. `configured` is the configuration as it stands now."""

    def __init__(self, database: Database, configured: Callable[[], Config], clock: Clock) -> None:
        self._database = database
        self._configured = configured
        self._clock = clock
        self._known: tuple[Config, tuple[Wanted, ...]] | None = None

    async def of(self, environments: Sequence[EnvironmentName], service: ServiceName | None = None) -> Sequence[ServiceHealth]:
        """Every service of these environments, the worst first. What explains a trouble is looked for among all of them."""
        now = self._clock()
        seen = [one for one in self._asked() if one.thing.environment in environments]
        facts = await self._facts(sorted({one.thing.environment for one in seen}), now)
        beings = {(one.thing.environment, one.thing.service): facts.wellbeing(one, now) for one in seen}
        nodes = {e: _nodes(e, seen, beings) for e in {one.thing.environment for one in seen}}
        told = [
            _told(one, beings[one.thing.environment, one.thing.service], facts, nodes[one.thing.environment], now)
            for one in seen
            if service in (None, one.thing.service)
        ]
        return sorted(told, key=lambda one: (WORST_FIRST.index(one.state), one.environment, one.service))

    async def standstill(self) -> str:
        lease = await leases.recently(self._database)
        if (lease is not None and lease.is_live(self._clock())) or not await leases.anything_to_watch(self._database):
            return ""
        since = "yet" if lease is None else f"since {lease.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"No worker is at work {since}: nothing is probed, evaluated or collected, and what is shown is older."
            " An operator sees why with `ops-mcp doctor`."
        )

    def _asked(self) -> tuple[Wanted, ...]:
        """What should run, prepared once for each configuration: agents ask far more often than it changes."""
        config = self._configured()
        if self._known is None or self._known[0] is not config:
            self._known = config, tuple(Wanted.of(thing) for thing in config.inventory)
        return self._known[1]

    async def _facts(self, environments: Sequence[str], now: datetime) -> "_Facts":
        database = self._database
        deployed = await health.released(database, environments)
        return _Facts(
            probes={stored.key: stored for stored in await health.stored_probes(database, environments)},
            serving={(d.environment, d.service): d for d in deployed if d.serving},
            newest={(d.environment, d.service): d for d in deployed},
            changes={(c.environment, c.service): c for c in await health.newest_changes(database, environments)},
            available=await health.availabilities(database, environments, until=now),
        )


class _Facts(NamedTuple):
    """What is stored of everything that is asked about."""

    probes: Mapping[ProbeKey, Stored]
    serving: Mapping[tuple[EnvironmentName, ServiceName], Deployed]
    newest: Mapping[tuple[EnvironmentName, ServiceName], Deployed]
    changes: Mapping[tuple[EnvironmentName, ServiceName], Change]
    available: Mapping[tuple[str, str], Availability]

    def standings(self, wanted: Wanted) -> dict[str, Standing]:
        """Those of the questions that are asked now; one that was never asked stands nowhere yet."""
        thing = wanted.thing
        found = {name: self._standing(thing, name, digest) for name, (_kind, digest) in wanted.probes.items()}
        released = self.probes.get(ProbeKey(thing.environment, thing.service, RELEASE)) if thing.bound else None
        return {**({RELEASE: released.standing} if released else {}), **found}

    def wellbeing(self, wanted: Wanted, now: datetime) -> Wellbeing:
        thing, standings = wanted.thing, self.standings(wanted)
        return wellbeing(thing, standings, self._released(thing, standings.get(RELEASE)) if thing.bound else None, now)

    def last_change(self, thing: Thing) -> str:
        """The newest deployment, because that is what people ask about first; else the newest change of state."""
        place = (thing.environment, thing.service)
        if (newest := self.newest.get(place)) is not None:
            return f"{newest.kind} {newest.id} ({newest.state}) at {_moment(newest.created_at)}"
        if (change := self.changes.get(place)) is not None:
            return f"{change.probe}: {change.before} to {change.state} at {_moment(change.at)}"
        return ""

    def _standing(self, thing: Thing, name: str, digest: str) -> Standing:
        stored = self.probes.get(ProbeKey(thing.environment, thing.service, name))
        return stored.standing if stored is not None and stored.digest == digest else Standing()

    def _released(self, thing: Thing, looked: Standing | None) -> Released | None:
        place = (thing.environment, thing.service)
        deployed = self.serving.get(place) or self.newest.get(place)
        if deployed is None or (deployed.kind in _LEAVE_ALONE and not deployed.serving):
            return None
        moments = [deployed.verified_at, looked.checked_at if looked is not None else None]
        return Released(
            deployment=deployed.id,
            serving=deployed.serving,
            state=deployed.state,
            verdict=deployed.verdict,
            proven_at=max((moment for moment in moments if moment is not None), default=None),
            detail=deployed.detail,
            final=deployed.state in FINAL,
        )


def _nodes(
    environment: str, seen: Sequence[Wanted], beings: Mapping[tuple[EnvironmentName, ServiceName], Wellbeing]
) -> dict[str, Node]:
    of_it = {one.thing.service: one.thing for one in seen if one.thing.environment == environment}
    states = {name: beings[thing.environment, thing.service] for name, thing in of_it.items()}
    return {name: Node(states[name].state, states[name].since, thing.depends_on) for name, thing in of_it.items()}


def _told(wanted: Wanted, being: Wellbeing, facts: _Facts, nodes: Mapping[str, Node], now: datetime) -> ServiceHealth:
    thing, standings = wanted.thing, facts.standings(wanted)
    available = facts.available.get((thing.service, thing.environment))
    kinds = {name: kind for name, (kind, _digest) in wanted.probes.items()}
    return ServiceHealth(
        service=thing.service,
        environment=thing.environment,
        state=being.state,
        expected=thing.expected,
        since=being.since,
        flapping=being.flapping,
        evidence=being.evidence,
        depends_on=thing.depends_on,
        explained_by=explained_by(thing.service, nodes),
        last_change=facts.last_change(thing),
        availability=round(available.good / available.asked, 4) if available and available.asked else None,
        probes=tuple(_probe(name, kinds.get(name, RELEASE), standing, thing, now) for name, standing in standings.items()),
    )


def _probe(name: str, kind: str, standing: Standing, thing: Thing, now: datetime) -> ProbeState:
    """As it stands; what it found too long ago is nobody's state any more."""
    old = standing.checked_at is not None and is_too_old(standing.checked_at, now, thing)
    return ProbeState(
        name=name,
        kind=kind,
        state=HealthState.unknown if old else shown(standing),
        since=standing.since,
        checked_at=standing.checked_at,
        latency_ms=standing.latency_ms,
        evidence=standing.evidence,
        failures=standing.bad,
        flapping=standing.flapping,
    )


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
