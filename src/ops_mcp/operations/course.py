"""An operation on its course: its journal under the worker's fence, and what may stop it between two looks."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ops_mcp.deploying.states import Event, advance, is_final
from ops_mcp.domain.releases import Deployment, DeploymentId, Operation, Placement, StepName, StepRecord
from ops_mcp.errors import Conflict, LeaseLost
from ops_mcp.operations.parts import Parts
from ops_mcp.store import deployments, leases, operations
from ops_mcp.store.database import Transaction
from ops_mcp.store.operations import Entry, Halted

Change = Callable[[Deployment], Deployment]
Beside = Callable[[Transaction, Deployment], None]


class Cause(StrEnum):
    """Why a deployment is undone."""

    health = "health"
    release = "release"
    cancel = "cancel"
    kill = "kill"


class Break(StrEnum):
    """Why a step is left without a verdict and without an undo: the worker lets go, or a newer release ended the watch."""

    yielded = "yielded"
    over = "over"


@dataclass(frozen=True, slots=True)
class Course:
    """One operation and the parts it runs with. `resumed` says that another run may have begun the present step."""

    operation: Operation
    parts: Parts
    resumed: bool = False

    async def present(self) -> Deployment:
        """The deployment as stored now."""
        rows = await self.parts.database.fetch("SELECT body FROM deployments WHERE id = ?", self.operation.deployment)
        if not rows:
            raise Conflict(
                f"Operation {self.operation.id} has no deployment row.", hint="`ops-mcp db check` tells what is missing."
            )
        return Deployment.model_validate_json(rows[0][0])

    async def journal(self) -> tuple[StepRecord, ...]:
        return await operations.journal(self.parts.database, self.operation.id)

    async def write(self, *entries: Entry, change: Change | None = None, beside: Beside | None = None) -> Deployment:
        """One unit of work: the fence is checked, the lines are appended, the deployment is changed, and if that was its end
        the operation is settled. Nothing is written when any part of it is refused."""
        at = self.parts.clock()

        def unit(tx: Transaction) -> Deployment:
            leases.require(tx, self.parts.fence)
            self._append(tx, entries, at=at)
            after = deployments.change(tx, self.operation.deployment, self._redacted(change or _unchanged))
            if beside is not None:
                beside(tx, after)
                after = deployments.deployment_by_id(tx, after.id)
            if change is not None and is_final(after.state):
                after = deployments.change(tx, after.id, lambda d: d.evolve(finished_at=at))
                end(tx, self.operation, after, self.parts)
            return after

        return await self.parts.database.write(unit, vital=True)

    async def still_ours(self) -> None:
        """Raises `LeaseLost` before a provider is asked to act for a worker that has been replaced, say while it was stopped."""
        held = await leases.present(self.parts.database)
        if held is None or held.fence != self.parts.fence:
            raise LeaseLost("The worker's lease has passed on.", hint="The worker that holds it goes on with this operation.")

    async def placement_of(self, deployment: DeploymentId | None) -> Placement | None:
        """Another deployment as its place is asked about it."""
        found = await deployments.StoredDeployments(self.parts.database).get(deployment) if deployment else None
        return found.placement if found else None

    async def halted(self) -> Halted:
        return await operations.halted(self.parts.database, self.operation)

    async def stopped_by(self) -> Cause | None:
        """Whether a kill or a cancel request ends this operation before it is done."""
        now = await self.halted()
        if now.killed:
            return Cause.kill
        return Cause.cancel if now.cancel_requested else None

    async def interrupted_by(self) -> Cause | Break | None:
        """What ends a verify or a watch between two looks."""
        now = await self.halted()
        if now.over:
            return Break.over
        if now.killed:
            return Cause.kill
        return Cause.cancel if now.cancel_requested else await self.yields()

    async def yields(self) -> Break | None:
        """Whether the worker lets go; the only thing that ends the verification of an undo."""
        return Break.yielded if self.parts.reins.pulled else None

    def undo_of(self, step: StepName) -> str:
        return next((s.undo for s in self.operation.plan.steps if s.name is step), "Stop what was started.")

    def _redacted(self, change: Change) -> Change:
        """Details come from providers' messages; what is stored is redacted."""

        def redacted(deployment: Deployment) -> Deployment:
            after = change(deployment)
            return after if after.detail == deployment.detail else after.evolve(detail=self.parts.redact(after.detail))

        return redacted

    def _append(self, tx: Transaction, entries: tuple[Entry, ...], *, at: datetime) -> None:
        for entry in entries:
            told = Entry(entry.step, entry.event, self.parts.redact(entry.detail), entry.data)
            operations.append(tx, self.operation, told, at=at)


def moved(event: Event, **changes: object) -> Change:
    """The change that an event makes: the next state, and what is said beside it."""
    return lambda d: d.evolve(state=advance(d.state, event), **changes)


def end(tx: Transaction, operation: Operation, deployment: Deployment, parts: Parts) -> None:
    """Settle an operation in the transaction that wrote its final state."""
    operations.finish(tx, operation)
    parts.settle(tx, operation.model_copy(update={"final": True}), deployment, at=parts.clock())


def _unchanged(deployment: Deployment) -> Deployment:
    return deployment
