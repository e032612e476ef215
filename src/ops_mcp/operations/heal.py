"""The worker's healing: what rules allow is submitted as the assigned agent's own calls, followed to its verified end, recorded.

An attempt is stored before it is submitted, and its key is the idempotency key of the call: whoever goes on after a crash submits
it again without doing it twice. What cannot be healed is told to people once per incident.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import anyio

from ops_mcp.alerting.healing import Escalate, Outcome, Remediate, Step, incident_after, next_step
from ops_mcp.alerting.lives import Life
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Record, Refused
from ops_mcp.domain.outcomes import Outcome as CallOutcome
from ops_mcp.errors import Code, Problem
from ops_mcp.observing import Notice
from ops_mcp.operations.chores import paced
from ops_mcp.operations.parts import Enqueue
from ops_mcp.ports import Clock
from ops_mcp.store import deployments, healing, leases
from ops_mcp.store.alerts import rules
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.healing import Trouble, Try
from ops_mcp.values import JsonObject

EVERY = timedelta(seconds=5)
PATIENCE = timedelta(minutes=5)
"""How long a call is made again that was refused for something that passes: a busy place, a loaded host, a rate."""

PAUSE = timedelta(seconds=10)
LONGEST_DETAIL = 500
_FORGET_EVERY = timedelta(hours=1)

Submit: TypeAlias = Callable[[Try], Awaitable[CallOutcome]]


class Healing:
    """One worker's healing under its lease. `submit` makes the call of an attempt, as its agent and with its key."""

    def __init__(
        self, database: Database, clock: Clock, *, fence: int, submit: Submit, enqueue: Enqueue, keep_days: int = 90
    ) -> None:
        self._database = database
        self._clock = clock
        self._fence = fence
        self._submit = submit
        self._enqueue = enqueue
        self._keep = timedelta(days=keep_days)
        self._not_before: dict[str, datetime] = {}
        self._forget = paced(self._forget_old, _FORGET_EVERY, clock)
        self.run = paced(self.round, EVERY, clock)

    async def round(self) -> None:
        """Look at everything once: end what has ended, decide on what fires, and submit what is wanted."""
        await self._forget()
        if not await healing.anything(self._database):
            return
        wanted = await self._database.write(lambda tx: self._decided(tx, self._clock()))
        async with anyio.create_task_group() as group:
            for one in wanted:
                group.start_soon(self._make, one)

    async def _make(self, one: Try) -> None:
        outcome = await self._submit(one)
        await self._database.write(lambda tx: self._note(tx, one, outcome, self._clock()), vital=True)

    def _decided(self, tx: Transaction, at: datetime) -> list[Try]:
        leases.require(tx, self._fence)
        for trouble in healing.incidents_over(tx):
            self._end(tx, trouble, at)
        for one in healing.open_tries(tx):
            self._follow(tx, one, at)
        for life in healing.firing(tx):
            self._look(tx, life, at)
        return [one for one in healing.open_tries(tx) if self._is_to_be_made(tx, one, at)]

    def _end(self, tx: Transaction, trouble: Trouble, at: datetime) -> None:
        life = healing.last_life(tx, trouble.incident.fingerprint)
        ended_at = life.resolved_at if life is not None and life.resolved_at is not None else at
        healing.keep(tx, trouble._replace(incident=trouble.incident._replace(resolved_at=ended_at)))
        last = healing.last_try(tx, trouble.id)
        if last is not None:
            data: JsonObject = {"attempts": last.number, "last_outcome": last.outcome.value}
            tx.record(_record("healing.resolved", trouble, ended_at, data=data))

    def _follow(self, tx: Transaction, one: Try, at: datetime) -> None:
        """End an attempt whose deployment has ended, whose approval was denied, or whose alert ended before it was made."""
        if one.deployment is not None:
            deployment = deployments.deployment_by_id(tx, one.deployment)
            outcome = healing.outcome_of(deployment)
            ended_at = deployment.verified_at if outcome is Outcome.succeeded else deployment.finished_at
            after = one._replace(outcome=outcome, finished_at=ended_at or at, detail=deployment.detail[:LONGEST_DETAIL])
            if outcome is Outcome.open:
                healing.save(tx, one)
            else:
                self._settle(tx, after, at, state=deployment.state.value, health=deployment.health.value)
            return
        trouble = healing.with_id(tx, one.incident)
        if trouble is None or trouble.incident.resolved_at is not None:
            self._refuse(tx, one, at, "the alert ended before it was made")
        elif one.approval is not None and (state := healing.approval_state(tx, one.approval)) in ("denied", "expired"):
            self._refuse(tx, one, at, f"the approval that it needed is {state}")

    def _look(self, tx: Transaction, life: Life, at: datetime) -> None:
        """Decide on one alert that fires. One that a person has in hand is theirs."""
        alert = life.alert
        known = healing.newest(tx, alert.fingerprint)
        incident = incident_after(known.incident if known else None, alert, at)
        same = known is not None and known.incident.fired_at == incident.fired_at
        trouble = Trouble(incident, known.rule if known is not None and same else life.rule)
        if known != trouble:
            healing.keep(tx, trouble)
        if life.in_hand(at) is not None:
            return
        stored = rules.rule_in(tx, alert.environment, life.rule)
        service = incident.service
        tried = healing.attempts(tx, incident.environment, service, incident.fired_at) if service is not None else ()
        step = next_step(incident, alert, stored.rule if stored is not None else None, tried, at)
        self._take(tx, trouble, life, step, at)

    def _take(self, tx: Transaction, trouble: Trouble, life: Life, step: Step, at: datetime) -> None:
        match step:
            case Remediate():
                made = healing.begin(tx, trouble.id, step, at=at)
                tx.record(_record("healing.attempted", trouble, at, data=_of_try(made)))
            case Escalate(why=why):
                self._escalate(tx, trouble, life, why, at)
            case _:
                pass

    def _escalate(self, tx: Transaction, trouble: Trouble, life: Life, why: str, at: datetime) -> None:
        healing.keep(tx, trouble._replace(incident=trouble.incident._replace(escalated_at=at)))
        last = healing.last_try(tx, trouble.id)
        data: JsonObject = {"attempts": last.number if last else 0, "channels": list(life.alert.channels)}
        tx.record(_record("healing.escalated", trouble, at, data=data, reason=why))
        for channel in life.alert.channels:
            self._enqueue(tx, _notice(trouble, life, channel, why, last, at), at=at)

    def _is_to_be_made(self, tx: Transaction, one: Try, at: datetime) -> bool:
        """Submitted before, it is submitted again: its key sees to it that it is done once."""
        if one.deployment is not None or at < self._not_before.get(one.key, at):
            return False
        return one.approval is None or healing.approval_state(tx, one.approval) != "pending"

    def _note(self, tx: Transaction, one: Try, outcome: CallOutcome, at: datetime) -> None:
        """What came of submitting it. Once its key is bound, its deployment tells the rest."""
        leases.require(tx, self._fence)
        now = next((other for other in healing.open_tries(tx) if other.key == one.key), None)
        if now is None:
            return
        if now.deployment is not None:
            self._follow(tx, now, at)
            return
        match outcome:
            case NeedsApproval(approval=approval):
                healing.save(tx, now._replace(approval=approval.id))
            case Refused(problem=problem) | Failed(problem=problem):
                self._note_problem(tx, now, problem, at)
            case Done():
                self._settle(tx, now._replace(outcome=Outcome.unknown, finished_at=at), at)

    def _note_problem(self, tx: Transaction, one: Try, problem: Problem, at: datetime) -> None:
        detail = f"{problem.code.value}: {problem.message}"
        if problem.code is Code.unavailable or (problem.retryable and at - one.at < PATIENCE):
            pause = timedelta(seconds=problem.retry_after_seconds or 0)
            self._not_before[one.key] = at + min(max(pause, PAUSE), PATIENCE)
            healing.save(tx, one._replace(detail=detail[:LONGEST_DETAIL]))
        else:
            self._refuse(tx, one, at, detail)

    def _refuse(self, tx: Transaction, one: Try, at: datetime, detail: str) -> None:
        self._settle(tx, one._replace(outcome=Outcome.refused, finished_at=at, detail=detail[:LONGEST_DETAIL]), at)

    def _settle(self, tx: Transaction, one: Try, at: datetime, **seen: str) -> None:
        self._not_before.pop(one.key, None)
        healing.save(tx, one)
        trouble = healing.with_id(tx, one.incident)
        if trouble is not None:
            data: JsonObject = {**_of_try(one), **seen, "outcome": one.outcome.value}
            tx.record(_record("healing.settled", trouble, at, data=data, reason=one.detail or None, deployment=one.deployment))

    async def _forget_old(self) -> None:
        await self._database.write(lambda tx: healing.forget_before(tx, self._clock() - self._keep))


def _of_try(one: Try) -> JsonObject:
    return {"attempt": one.number, "remedy": one.remedy.value, "agent": one.agent, "key": one.key}


def _record(
    kind: str, trouble: Trouble, at: datetime, *, data: JsonObject, reason: str | None = None, deployment: str | None = None
) -> Record:
    incident = trouble.incident
    return Record(
        kind=kind,
        at=at,
        environment=incident.environment,
        service=incident.service,
        deployment=deployment,
        reason=reason,
        data={"incident": trouble.id, "alert": incident.fingerprint, "rule": trouble.rule, **data},
    )


def _notice(trouble: Trouble, life: Life, channel: str, why: str, last: Try | None, at: datetime) -> Notice:
    """Ours are the words and the numbers; names and what the outside said are a stranger's."""
    incident, alert = trouble.incident, life.alert
    where = f"{incident.service or 'no service'} in {incident.environment}"
    facts: Sequence[str] = (
        f"Healing has ended without success: {why}.",
        f"Firing since {incident.fired_at:%Y-%m-%d %H:%M:%S} UTC; attempts: {last.number if last else 0}.",
        "Nothing more is done by itself about this incident.",
    )
    return Notice(
        id=f"{trouble.id} escalated",
        channel=channel,
        thread=f"incident {trouble.id}",
        severity=alert.severity.value,
        title=f"[{alert.severity.value}] a person is needed for {where}",
        text="\n".join(facts),
        untrusted=f"{alert.name}\n{last.detail if last else ''}".strip(),
        body={
            "kind": "healing.escalated",
            "incident": trouble.id,
            "alert": life.id,
            "rule": trouble.rule,
            "environment": incident.environment,
            "service": incident.service,
            "why": why,
            "attempts": last.number if last else 0,
        },
        at=at,
    )
