"""The watch over the inventory: asks each probe when it is due, stores what it finds, and hands the samples on.

Every probe is asked on its own: one that is slow holds up no other, and is never asked twice at once. What we deployed ourselves
is asked by `supervise`, whose looks are taken over from there, so that nothing is asked twice.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio

from ops_mcp.deploying.health import Sight, Streak, seen
from ops_mcp.deploying.standing import LATE_AFTER, UNASKED, Standing, after, is_due, wait_seconds
from ops_mcp.domain.inventory import RELEASE, Asked, Found, HealthState, Pace, Thing, digest_of, name_of
from ops_mcp.domain.places import Binding
from ops_mcp.errors import LeaseLost, OpsError
from ops_mcp.metrics.labels import labels_of
from ops_mcp.observing import Observation
from ops_mcp.operations.parts import Looked, Parts
from ops_mcp.store import health, leases
from ops_mcp.store.database import Transaction
from ops_mcp.store.health import Asking, ProbeKey, Stored
from ops_mcp.values import digest

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64
ROUND_SECONDS = 1.0
FIRST_WITHIN_SECONDS = 5.0
_FORGET_EVERY = timedelta(hours=1)
_MOST_UNSTORED = 5000

Ask = Callable[[Asked], Awaitable[Found]]
Keep = Callable[[Sequence[Observation]], Awaitable[object]]


@dataclass(eq=False, slots=True)
class _Post:
    """One probe between two askings. `probe` is None for what supervision asks."""

    key: ProbeKey
    kind: str
    digest: str
    pace: Pace
    standing: Standing
    probe: Asked | None = None
    due: datetime | None = None
    busy: bool = False


class HealthWatch:
    """The watch of one worker. `inventory` is what should run as of now, `chance` a number between 0 and 1."""

    def __init__(
        self,
        parts: Parts,
        *,
        inventory: Callable[[], Sequence[Thing]],
        ask: Ask,
        keep: Keep,
        chance: Callable[[], float],
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._parts = parts
        self._inventory = inventory
        self._ask = ask
        self._keep = keep
        self._chance = chance
        self._room = anyio.Semaphore(most_at_once)
        self._posts: dict[ProbeKey, _Post] = {}
        self._things: Sequence[Thing] | None = None
        self._heard: dict[tuple[str, str], Looked] = {}
        self._unstored: list[Asking] = []
        self._forgot_at: datetime | None = None
        self._late: set[ProbeKey] = set()

    async def run(self) -> None:
        """Watch until this worker is told to let go."""
        self._posts, self._things = {s.key: _recalled(s) for s in await health.stored_probes(self._parts.database)}, None
        async with anyio.create_task_group() as group:
            while not self._parts.reins.pulled:
                await self._take_up_the_inventory()
                for post in self._posts.values():
                    if post.probe is not None and not post.busy and is_due(post.due, self._parts.clock(), post.pace):
                        post.busy = True
                        group.start_soon(self._ask_one, post, post.probe)
                await self._hear_supervision()
                await self._store()
                await self._parts.sleep(ROUND_SECONDS)
            group.cancel_scope.cancel()

    async def _ask_one(self, post: _Post, probe: Asked) -> None:
        try:
            async with self._room:
                self._note_if_late(post)
                found = await self._found(probe)
        finally:
            post.busy = False
        if self._posts.get(post.key) is post:  # else it is in the inventory no more, or asks something else now
            self._count(post, found)

    async def _found(self, probe: Asked) -> Found:
        try:
            return await self._ask(probe)
        except Exception as error:  # one mistake of ours must not end the watch over everything else
            log.exception("a probe of kind %s failed", probe.kind)
            return Found(HealthState.unknown, f"it could not be asked: {type(error).__name__}")

    def _count(self, post: _Post, found: Found) -> None:
        at, before = self._parts.clock(), post.standing
        found = found._replace(evidence=self._parts.redact(found.evidence))
        post.standing = after(before, found, at=at, pace=post.pace)
        post.due = at + timedelta(seconds=wait_seconds(post.standing, post.pace, self._chance()))
        self._unstored.append(Asking(_row(post), before, found, at))

    def _note_if_late(self, post: _Post) -> None:
        """Say once of each spell that a probe begins later than it should: then there is too much to ask, or too little time."""
        late = post.due is not None and (self._parts.clock() - post.due).total_seconds() > (
            (LATE_AFTER - 1) * post.pace.interval_seconds
        )
        if not late:
            self._late.discard(post.key)
        elif post.key not in self._late and post.standing.checked_at is not None:
            self._late.add(post.key)
            log.warning("the probe %s of %s in %s is asked late", post.key.probe, post.key.service, post.key.environment)

    async def _take_up_the_inventory(self) -> None:
        """Where it has changed: begin what is new or asks something else now, and forget what is gone."""
        things = self._inventory()
        if things == self._things:
            return
        known, self._posts = self._posts, {}
        for post in (post for thing in things for post in self._wanted(thing, known)):
            self._posts[post.key] = post
        gone = known.keys() - self._posts.keys()
        fresh = [_row(post) for key, post in self._posts.items() if known.get(key) is not post and post.probe is not None]

        def unit(tx: Transaction) -> None:
            leases.require(tx, self._parts.fence)
            health.forget_probes(tx, gone)
            for stored in fresh:
                health.write_standing(tx, stored)

        if gone or fresh:
            await self._parts.database.write(unit)
        self._things = things

    def _wanted(self, thing: Thing, known: dict[ProbeKey, _Post]) -> list[_Post]:
        wanted: list[_Post] = []
        for probe in thing.probes:
            key = ProbeKey(thing.environment, thing.service, name_of(probe))
            post = known.get(key)
            if post is None or post.digest != digest_of(probe):
                due = self._parts.clock() + timedelta(seconds=FIRST_WITHIN_SECONDS * self._chance())
                post = _Post(key, probe.kind, digest_of(probe), thing.pace, UNASKED, probe, due)
            elif post.probe is None and post.standing.checked_at is not None:
                wait = wait_seconds(post.standing, thing.pace, self._chance())
                post.due = post.standing.checked_at + timedelta(seconds=wait)
            post.probe, post.pace = probe, thing.pace
            wanted.append(post)
        if thing.bound and (released := known.get(ProbeKey(thing.environment, thing.service, RELEASE))) is not None:
            released.pace = thing.pace
            wanted.append(released)
        return wanted

    async def _hear_supervision(self) -> None:
        """Take over the looks at what serves that came since the last round."""
        new = {place: looked for place, looked in self._parts.looks.items() if self._heard.get(place) is not looked}
        if not new:
            return
        self._heard = dict(self._parts.looks)
        rows = await self._parts.database.fetch("SELECT id FROM deployments WHERE serving = 1")
        serving = {row[0] for row in rows}
        for looked in new.values():
            binding = looked.placement.release.binding
            thing = next(
                (t for t in self._things or () if (t.service, t.environment) == (binding.service, binding.environment)), None
            )
            if thing is not None and looked.placement.deployment in serving:
                self._count(self._released(binding, thing), _found_by(looked))

    def _released(self, binding: Binding, thing: Thing) -> _Post:
        key = ProbeKey(binding.environment, binding.service, RELEASE)
        asked = digest(binding.health.probe.json_value())
        post = self._posts.get(key)
        if post is None or post.digest != asked:
            post = self._posts[key] = _Post(key, RELEASE, asked, thing.pace, UNASKED)
        return post

    async def _store(self) -> None:
        """Write what was found since the last round. What cannot be written now is written with the next."""
        asked, self._unstored = [one for one in self._unstored if self._is_wanted(one.stored)], []
        at = self._parts.clock()
        forget = self._forgot_at is None or at - self._forgot_at >= _FORGET_EVERY
        if not asked and not forget:
            return

        def unit(tx: Transaction) -> None:
            leases.require(tx, self._parts.fence)
            for asking in asked:
                health.put(tx, asking)
            if forget:
                health.forget_before(tx, at)

        try:
            await self._parts.database.write(unit)
            self._forgot_at = at if forget else self._forgot_at
        except LeaseLost:
            raise
        except OpsError as error:
            log.warning("%d findings could not be stored yet: %s", len(asked), error.message)
            self._unstored = [*asked, *self._unstored][-_MOST_UNSTORED:]
            return
        await self._hand_on([sample for asking in asked for sample in samples(asking)])

    def _is_wanted(self, stored: Stored) -> bool:
        """Whether it is still in the inventory: a finding from just before must not bring back what was forgotten."""
        post = self._posts.get(stored.key)
        return post is not None and post.digest == stored.digest

    async def _hand_on(self, kept: Sequence[Observation]) -> None:
        try:
            if kept:
                await self._keep(kept)
        except OpsError as error:
            log.warning("%d samples of probes are lost: %s", len(kept), error.message)


def samples(asking: Asking) -> list[Observation]:
    """What a finding comes to in metrics; nothing where nothing could be asked."""
    found = asking.found
    if found.state is HealthState.unknown:
        return []
    values: dict[str, float | None] = {
        "probe_success": float(found.state is not HealthState.unhealthy),
        "probe_duration_seconds": found.latency_ms / 1000 if found.latency_ms is not None else None,
        "probe_http_status_code": found.http_status,
        "probe_certificate_expiry_timestamp_seconds": found.certificate_expires and found.certificate_expires.timestamp(),
    }
    at_ms, key = int(asking.at.timestamp() * 1000), asking.stored.key
    series = {"service": key.service, "environment": key.environment, "probe": key.probe}
    return [Observation(labels_of(series, name=name), at_ms, float(value)) for name, value in values.items() if value is not None]


_ANY_PACE: Final = Pace()


def _recalled(stored: Stored) -> _Post:
    """A probe as the last worker left it, to be taken up with the inventory: it is asked again when it would have been."""
    return _Post(stored.key, stored.kind, stored.digest, _ANY_PACE, stored.standing)


def _row(post: _Post) -> Stored:
    return Stored(post.key, post.kind, post.digest, post.standing)


def _found_by(looked: Looked) -> Found:
    """A look of supervision as a finding."""
    said = seen(looked.look, Streak())
    state = HealthState.healthy if said.sight is Sight.good else HealthState.unhealthy
    probe = looked.look.probe
    return Found(state, said.why, probe.latency_ms if probe is not None else None)
