"""The ledger's three transactions for a call: admit, commit, settle. Each judges, writes and records in one unit of work."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from ops_mcp.domain.calls import Answer, Approval, ApprovalId, Call, Verdict
from ops_mcp.domain.identity import Agent, Caller, Credential, Effect, System, Unknown
from ops_mcp.domain.releases import Applied, DeploymentId, OperationId, Plan
from ops_mcp.errors import Code, OpsError, Problem
from ops_mcp.governance import approvals as approving
from ops_mcp.governance import budgets
from ops_mcp.governance.decide import decide
from ops_mcp.governance.history import UNGUARDED, History, Window
from ops_mcp.governance.policy import Policy
from ops_mcp.store import approvals, commitment, counters, idempotency, refusals, reservations
from ops_mcp.store.callers import Callers
from ops_mcp.store.counters import Allowance
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.guard import HostGuard
from ops_mcp.store.records import admission_of, asked_of, budget_name, record_of, warn
from ops_mcp.store.settlement import Settlement, penalise, settle, settled_body
from ops_mcp.store.transaction import Work


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator configured, as the ledger needs it. Re-read by the caller; a change acts on the next call."""

    policy: Policy
    allowance: Allowance
    approval_terms: approving.Terms


@dataclass(frozen=True, slots=True)
class Admitted:
    """Allowed so far: durable in the ledger, its ceiling reserved. `verdict.answer` may be ask, judged again at commit.

    What a read holds is known to its own process alone; when that dies, the ledger itself shows the call unsettled.
    """

    call: Call
    caller: Caller
    verdict: Verdict
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """The idempotency key was used before with the same arguments; nothing is charged or done again."""

    call: Call
    caller: Caller
    bound: idempotency.Bound


@dataclass(frozen=True, slots=True)
class Denied:
    """Refused and recorded, or counted when the caller floods."""

    call: Call
    caller: Caller
    problem: Problem
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The plan is real: recorded, its approval consumed, its key bound, its operation waiting for the worker, or its rows written
    with what came of it."""

    deployment: DeploymentId | None
    applied: Applied | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A person must decide; an identical pending request was joined or a new one made."""

    approval: Approval
    problem: Problem


class NewIds(NamedTuple):
    """Ids made before the transaction, for what the commit may create."""

    operation: OperationId
    deployment: DeploymentId
    approval: ApprovalId


Admission: TypeAlias = Admitted | Repeated | Denied
Commitment: TypeAlias = Begun | Repeated | Denied | Asked


class Ledger:
    """The path's writes in one process; several processes share one database. `holder` names this process in reservations."""

    def __init__(self, database: Database, callers: Callers, holder: str, guard: HostGuard) -> None:
        self._database = database
        self._callers = callers
        self._holder = holder
        self._guard = guard
        self._owed: dict[str, Work[Admission]] = {}

    async def admit(self, call: Call, credential: Credential, rules: Rules, *, ahead: bool = False) -> Admission:
        """Find the caller, the key and the history, decide, record and reserve. Raises `Unavailable` when it cannot.

        With `ahead` the admission may not be durable yet. Only a read of our own memory may go on then, and no answer to it may
        leave before `owed` says so.
        """
        if not ahead:
            await self._guard.look(call, call.at)
            return await self._database.write(lambda tx: self._admit(tx, call, credential, rules))
        admission, work = await self._database.write_ahead(lambda tx: self._admit(tx, call, credential, rules))
        if work is not None and work.done is not None:
            self._owed[call.id] = work
            work.done.add_done_callback(lambda done: self._paid(call.id, done))
        return admission

    def owed(self, call: str) -> "asyncio.Future[Admission] | None":
        """What an answer to this call must wait for: it ends when the admission is durable, or raises `Unavailable`."""
        work = self._owed.pop(call, None)
        return work.done if work else None

    def _paid(self, call: str, done: "asyncio.Future[Admission]") -> None:
        if done.cancelled() or done.exception() is None:
            self._owed.pop(call, None)

    async def refuse(self, call: Call, credential: Credential, problem: Problem) -> Denied:
        """Record a call that never became one: unknown tool, malformed arguments, unknown environment."""
        return await self._database.write(lambda tx: self._refuse_early(tx, call, credential, problem))

    async def commit(self, admitted: Admitted, plan: Plan, rules: Rules, ids: NewIds, at: datetime) -> Commitment:
        """Make a plan real, or say why not. Every check is repeated inside the transaction."""
        await self._guard.look(admitted.call, at)
        return await self._database.write(lambda tx: self._commit(tx, admitted, plan, rules, ids, at))

    async def preview(self, admitted: Admitted, plan: Plan, rules: Rules, at: datetime) -> Verdict:
        """The verdict that committing this plan would get now. Writes nothing."""
        await self._guard.look(admitted.call, at)
        return await self._database.write(lambda tx: self._judge_plan(tx, admitted, plan, rules, at).verdict)

    async def settle(self, settlement: Settlement) -> None:
        """Record how a change, or a call that ended early, came out; durable on return. No answer asks for it any more."""
        owed = self._owed.pop(settlement.call.id, None)
        await self._database.write(lambda tx: _settle_admitted(tx, settlement, owed), vital=True)

    def settle_later(self, settlement: Settlement) -> None:
        """Record how a read came out, in the next batch; a crash in between leaves the call visibly unknown."""
        owed = self._owed.get(settlement.call.id)
        # Made here, where the answer waits for the disk anyway, and not in the batch of the next call, which would wait for it.
        body = settled_body(settlement)
        self._database.write_later(lambda tx: _settle_admitted(tx, settlement, owed, body))

    def _admit(self, tx: Transaction, call: Call, credential: Credential, rules: Rules) -> Admission:
        self._callers.refresh(tx)
        caller = self._callers.caller(tx, credential)
        call = _seen_from(call, caller)
        name = budget_name(caller)
        history = self._history(tx, call, caller, rules, "admit", call.at)
        if call.idempotency_key is not None and not call.dry_run:
            bound = idempotency.find(tx, name, call.idempotency_key, call.at)
            if bound is not None and _welcome(caller, everyone_killed=history.everyone_killed):
                return self._repeat(tx, call, caller, bound)
        verdict = decide(call, rules.policy, history)
        if verdict.answer is Answer.deny:
            return self._deny(tx, call, caller, verdict)
        windows = _charged(call, history.windows)
        charges = counters.charges_of(windows)
        counters.charge(tx, charges, call.ceiling)
        counters.take(tx, name, call.effect, history.rate, call.at)
        if call.effect is not Effect.read:
            reservations.insert(tx, call, name, charges, self._holder)
        tx.record(admission_of(call, caller, verdict, rules.policy.digest, windows, self._holder))
        warn(tx, call, name, windows)
        return Admitted(call, caller, verdict, windows)

    def _history(
        self, tx: Transaction, call: Call, caller: Caller, rules: Rules, phase: Literal["admit", "commit"], at: datetime
    ) -> History:
        name = budget_name(caller)
        tier = call.environment.tier if call.environment else None
        return History(
            caller=caller,
            at=at,
            phase=phase,
            windows=counters.windows(tx, rules.allowance, name, tier, call.line, call.at),
            rate=counters.rate(tx, rules.allowance, name, call.effect, at),
            freeze=self._callers.freeze(tx, call.environment.name if call.environment else None),
            everyone_killed=self._callers.everyone_killed(tx),
            guard=self._guard.loaded(tx, call, at) if call.on_host else UNGUARDED,
        )

    def _repeat(self, tx: Transaction, call: Call, caller: Caller, bound: idempotency.Bound) -> Repeated | Denied:
        if (bound.tool, bound.digest) != (call.tool, call.digest):
            problem = Problem(
                code=Code.conflict,
                message="This idempotency key was used for a different call.",
                hint="Use a new key for new arguments; repeat a key only with the same tool and arguments.",
                details={"first_call": bound.call},
            )
            return self._record_refusal(tx, call, caller, problem, None)
        if refusals.count(tx, caller.name + refusals.REPEATS, call.at):
            tx.record(record_of("call.repeated", call, caller, deployment=bound.deployment, data={"first_call": bound.call}))
        return Repeated(call, caller, bound)

    def _deny(self, tx: Transaction, call: Call, caller: Caller, verdict: Verdict) -> Denied:
        decisive = verdict.decisive
        problem = decisive.problem or Problem(code=Code.not_permitted, message=decisive.reason)
        if decisive.penalty is not None and isinstance(caller, Agent):
            penalise(tx, caller, decisive.penalty, call.at)
        return self._record_refusal(tx, call, caller, problem, verdict)

    def _deny_at_commit(self, tx: Transaction, call: Call, judged: "_Judged") -> Denied:
        """Like any denial, but the call has its record already: the settlement says how it ended."""
        decisive = judged.verdict.decisive
        if decisive.penalty is not None and isinstance(judged.caller, Agent):
            penalise(tx, judged.caller, decisive.penalty, call.at)
        problem = decisive.problem or Problem(code=Code.not_permitted, message=decisive.reason)
        return Denied(call, judged.caller, problem, judged.verdict)

    def _refuse_early(self, tx: Transaction, call: Call, credential: Credential, problem: Problem) -> Denied:
        self._callers.refresh(tx)
        caller = self._callers.caller(tx, credential)
        if isinstance(caller, Unknown):
            problem = Problem(code=Code.unauthenticated, message=f"This caller is not known: {caller.why}.", hint=problem.hint)
        return self._record_refusal(tx, call, caller, problem, None)

    def _record_refusal(self, tx: Transaction, call: Call, caller: Caller, problem: Problem, verdict: Verdict | None) -> Denied:
        if refusals.count(tx, caller.name, call.at):
            tx.record(
                record_of(
                    "call.refused",
                    call,
                    caller,
                    verdict="deny",
                    rule=verdict.decisive.rule if verdict else "parse",
                    code=problem.code.value,
                    reason=problem.message,
                    data=asked_of(call),
                )
            )
        return Denied(call, caller, problem, verdict)

    def _commit(self, tx: Transaction, admitted: Admitted, plan: Plan, rules: Rules, ids: NewIds, at: datetime) -> Commitment:
        call, name = admitted.call, budget_name(admitted.caller)
        if call.idempotency_key is not None and (bound := idempotency.find(tx, name, call.idempotency_key, at)) is not None:
            return self._repeat(tx, call, admitted.caller, bound)
        judged = self._judge_plan(tx, admitted, plan, rules, at)
        if judged.verdict.answer is Answer.deny:
            return self._deny_at_commit(tx, call, judged)
        try:
            commitment.recheck(tx, plan)
        except OpsError as drift:
            return Denied(call, judged.caller, drift.problem)
        if judged.verdict.answer is Answer.ask:
            return self._ask(tx, call, judged, plan, rules, ids, at)
        return self._begin(tx, call, judged, plan, ids, at)

    def _judge_plan(self, tx: Transaction, admitted: Admitted, plan: Plan, rules: Rules, at: datetime) -> "_Judged":
        self._callers.refresh(tx)
        caller = self._callers.again(tx, admitted.caller)
        call = admitted.call.evolve(recovery=plan.recovery) if plan.recovery != admitted.call.recovery else admitted.call
        found = approvals.granted(tx, plan.agent, plan.digest, at)
        grant = found[0] if found and approvals.is_signed(tx, *found) else None
        history = self._history(tx, call, caller, rules, "commit", at)._replace(
            approval=grant, windows=(), open_approvals=len(approvals.open_requests(tx, plan.agent, at))
        )
        return _Judged(caller, decide(call, rules.policy, history), grant)

    def _ask(
        self, tx: Transaction, call: Call, judged: "_Judged", plan: Plan, rules: Rules, ids: NewIds, at: datetime
    ) -> Asked | Denied:
        asked = approving.request(
            plan,
            plan_digest=plan.digest,
            approval=ids.approval,
            call=call.id,
            at=at,
            open_requests=approvals.open_requests(tx, plan.agent, at),
            terms=rules.approval_terms,
            why=call.reason,
            idempotency_key=call.idempotency_key,
        )
        if isinstance(asked, Problem):
            return Denied(call, judged.caller, asked, judged.verdict)
        if not asked.joined:
            approvals.insert(tx, asked.approval, plan)
            if rules.approval_terms.tell:
                self._tell(tx, asked.approval, plan, rules.approval_terms.tell, at)
        problem = judged.verdict.decisive.problem or Problem(code=Code.needs_approval, message=judged.verdict.decisive.reason)
        return Asked(asked.approval, problem)

    def _tell(self, tx: Transaction, approval: Approval, plan: Plan, channel: str, at: datetime) -> None:
        from ops_mcp.store.approval_notices import tell_request  # start-up has a bar, and few calls ask

        tell_request(tx, approval, plan, channel=channel, at=at)

    def _begin(self, tx: Transaction, call: Call, judged: "_Judged", plan: Plan, ids: NewIds, at: datetime) -> Begun:
        deployment = ids.deployment if plan.work is not None else None
        applied: Applied | None = None
        if judged.grant is not None:
            approvals.consume(tx, judged.grant, deployment=deployment, at=at, call=call.id)
        if deployment is not None:
            commitment.begin(tx, plan, operation=ids.operation, deployment=deployment, call=call.id, reason=call.reason, at=at)
            reservations.move_to(tx, call.id, ids.operation)
            self._guard.began(tx, call, deployment, at)
        else:
            applied = commitment.apply_writes(tx, plan, call=call.id, at=at)
        target = deployment or plan.target
        idempotency.bind(
            tx, budget_name(judged.caller), call,
            operation=ids.operation if deployment else None, deployment=target,
            result=applied.model_dump_json(exclude_none=True) if applied else None,
        )  # fmt: skip
        tx.record(
            record_of(
                "call.committed",
                call,
                judged.caller,
                at=at,
                deployment=target,
                operation=ids.operation if deployment else None,
                approval=judged.grant.id if judged.grant else None,
                data={"plan_digest": plan.digest, "plan": plan.json_value()},
            )
        )
        return Begun(DeploymentId(target) if target else None, applied)


def _settle_admitted(tx: Transaction, settlement: Settlement, owed: Work[Admission] | None, body: bytes | None = None) -> None:
    """An admission that did not become durable after all is not settled: what it reserved went with it."""
    if owed is None or owed.error is None:
        settle(tx, settlement, body)


class _Judged(NamedTuple):
    caller: Caller
    verdict: Verdict
    grant: Approval | None


def _seen_from(call: Call, caller: Caller) -> Call:
    """What depends on whose the target is. To cancel what somebody else has running alters a runtime like any other change."""
    if call.target_owner is None:
        return call
    own = call.target_owner == budget_name(caller)
    cancels = call.effect is Effect.change and call.target_open and not call.alters_runtime
    return call.evolve(
        own_work=own and cancels,
        alters_runtime=call.alters_runtime or (cancels and not own),
        always_reachable=call.always_reachable and own,
    )


def _charged(call: Call, windows: tuple[Window, ...]) -> tuple[Window, ...]:
    """The windows that pay. What stays reachable with an empty budget is free then: it must not empty everybody's too."""
    return () if call.always_reachable and not budgets.fits(windows, call.ceiling) else windows


def _welcome(caller: Caller, *, everyone_killed: bool) -> bool:
    """The two rules that come before a known key: caller and kill switch."""
    if everyone_killed or isinstance(caller, Unknown):
        return False
    agent = caller.agent if isinstance(caller, System) else caller
    return not (isinstance(agent, Agent) and (agent.killed or agent.revoked))


__all__ = [
    "Admission",
    "Admitted",
    "Asked",
    "Begun",
    "Commitment",
    "Denied",
    "Ledger",
    "NewIds",
    "Repeated",
    "Rules",
    "budget_name",
]
