"""Supervision of what serves after its deployment is done: exits and failing probes are seen, restarted twice, then escalated."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import anyio

from ops_mcp.deploying.health import (
    Judgement,
    Look,
    Sight,
    Standing,
    Streak,
    counted,
    may_restart,
    next_look_seconds,
    seen,
    supervise,
    verify,
)
from ops_mcp.domain.releases import Deployment, DeploymentId, HealthVerdict
from ops_mcp.errors import LeaseLost, OpsError
from ops_mcp.operations.asking import ask
from ops_mcp.operations.looking import judged, look_at, observe
from ops_mcp.operations.parts import Parts
from ops_mcp.ports import Restarts
from ops_mcp.store import deployments, leases, operations
from ops_mcp.store.database import Transaction
from ops_mcp.store.deployments import supervised
from ops_mcp.store.operations import Entry

log = logging.getLogger(__name__)

SUPERVISE = "supervise"
EXITS_EVERY_SECONDS = 5.0


@dataclass(slots=True)
class _Post:
    """What is remembered of one service between looks."""

    streak: Streak = field(default_factory=Streak)
    probe_due: datetime | None = None
    exit_due: datetime | None = None
    busy: bool = False


class Supervision:
    """The watch over everything that serves. One round looks at what is due; a round of nothing costs one query."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._posts: dict[DeploymentId, _Post] = {}

    async def round(self) -> int:
        """Look at what is due, all at once; how many services are supervised."""
        serving = await supervised(self._parts.database)
        self._posts = {d.id: self._posts.get(d.id, _Post()) for d in serving}
        async with anyio.create_task_group() as group:
            for deployment in serving:
                group.start_soon(self._look_alone, deployment, self._posts[deployment.id])
        return len(serving)

    async def _look_alone(self, deployment: Deployment, post: _Post) -> None:
        """Rounds may overlap where one restarts a service; each service is in the hands of one of them."""
        if post.busy:
            return
        post.busy = True
        try:
            await self._look(deployment, post)
        except LeaseLost:
            raise
        except Exception as error:  # one that cannot be looked after must not end the watch over all others
            why = error if isinstance(error, OpsError) else type(error).__name__
            log.warning("%s cannot be supervised: %s", deployment.id, why, exc_info=why is not error)
        finally:
            post.busy = False

    async def _look(self, deployment: Deployment, post: _Post) -> None:
        now = self._parts.clock()
        if post.probe_due is None or now >= post.probe_due:
            look = await look_at(deployment.placement, self._parts)
        elif post.exit_due is None or now >= post.exit_due:
            look = Look(await observe(deployment.placement, self._parts), None)
            if seen(look, post.streak).sight is not Sight.gone:
                post.exit_due = now + timedelta(seconds=EXITS_EVERY_SECONDS)
                return
        else:
            return
        post.streak = counted(post.streak, look)
        post.probe_due = now + timedelta(seconds=next_look_seconds(post.streak))
        post.exit_due = now + timedelta(seconds=EXITS_EVERY_SECONDS)
        judgement = supervise(post.streak, look)
        match judgement.standing:
            case Standing.failed:
                post.streak = await self._failed(deployment, judgement.why, post.streak)
            case Standing.passed if deployment.health is not HealthVerdict.healthy and post.streak.good > 1:
                await self._verdict(
                    deployment, HealthVerdict.healthy, Entry(SUPERVISE, "note", f"Healthy again: {judgement.why}.")
                )
            case Standing.passed | Standing.pending:
                pass

    async def _failed(self, deployment: Deployment, why: str, streak: Streak) -> Streak:
        """Store the verdict, then restart or escalate. Nobody else may be at work at the place meanwhile."""
        place = (deployment.service, deployment.environment)
        self._parts.restarting.add(place)
        try:
            restarts = await self._parts.database.write(partial(self._note_failure, deployment, why), vital=True)
            if not restarts:
                return streak
            return await self._restart(deployment)
        finally:
            self._parts.restarting.discard(place)

    def _note_failure(self, deployment: Deployment, why: str, tx: Transaction) -> bool:
        """In one unit of work: the verdict `failing`, and either the begin of a restart or, once, the escalation."""
        at = self._parts.clock()
        leases.require(tx, self._parts.fence)
        operation = operations.operation_of_deployment(tx, deployment.id)
        present = deployments.deployment_by_id(tx, deployment.id)
        if operation is None or not present.serving or deployments.place_is_busy(tx, present):
            return False
        detail = self._parts.redact(why)
        deployments.change(tx, deployment.id, lambda d: d.evolve(health=HealthVerdict.failing, detail=detail))
        journal = [s for s in operations.journal_of(tx, operation.id) if s.step == SUPERVISE]
        restarts = tuple(s.at for s in journal if s.event == "begun")
        provider = self._parts.providers.get(deployment.release.binding.provider)
        if may_restart(restarts, at) and isinstance(provider, Restarts):
            operations.append(
                tx, operation, Entry(SUPERVISE, "begun", f"Restarting: {detail}", {"number": len(restarts) + 1}), at=at
            )
            return True
        if not journal or journal[-1].event != "undo_failed":
            why_not = "It was restarted twice within an hour." if restarts else "Its provider cannot restart it."
            operations.append(tx, operation, Entry(SUPERVISE, "undo_failed", f"Left to a person: {detail}. {why_not}"), at=at)
            data = {"why": detail, "restarts": len(restarts)}
            tx.record(operations.record_of(operation, kind="operation.escalated", at=at, data={**data}))
        return False

    async def _restart(self, deployment: Deployment) -> Streak:
        parts, placement = self._parts, deployment.placement
        provider = parts.provider(placement.release)
        assert isinstance(provider, Restarts)
        try:
            await ask(
                lambda: provider.restart(placement),
                parts,
                seconds=parts.patience.undo_seconds,
                what="The restart",
            )
        except LeaseLost:
            raise
        except OpsError as error:
            await self._verdict(deployment, HealthVerdict.failing, Entry(SUPERVISE, "failed", error.message))
            return Streak(bad=1, why=error.message)
        every = min(placement.release.binding.health.interval_seconds, parts.patience.verify_every_seconds)
        verdict = await judged(placement, parts, verify, since=parts.clock(), every=every, stop=self._pulled)
        if not isinstance(verdict, Judgement):
            return Streak()
        if verdict.standing is Standing.passed:
            await self._verdict(deployment, HealthVerdict.healthy, Entry(SUPERVISE, "done", verdict.why))
            return Streak()
        await self._verdict(deployment, HealthVerdict.failing, Entry(SUPERVISE, "failed", verdict.why))
        return Streak(bad=1, why=verdict.why)

    async def _verdict(self, deployment: Deployment, health: HealthVerdict, entry: Entry) -> None:
        at = self._parts.clock()

        def unit(tx: Transaction) -> None:
            leases.require(tx, self._parts.fence)
            operation = operations.operation_of_deployment(tx, deployment.id)
            if operation is not None and deployments.deployment_by_id(tx, deployment.id).serving:
                operations.append(tx, operation, Entry(entry.step, entry.event, self._parts.redact(entry.detail)), at=at)
                deployments.change(tx, deployment.id, lambda d: d.evolve(health=health))

        await self._parts.database.write(unit, vital=True)

    async def _pulled(self) -> bool | None:
        return True if self._parts.reins.pulled else None
