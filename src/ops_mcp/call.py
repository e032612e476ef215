"""The one path of every call: describe, admit, plan, commit, act, settle. Agent, worker and scheduler all come this way."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import assert_never

import anyio

from ops_mcp.app import App, Request, no_progress, visible
from ops_mcp.describe import Parsed, arguments_of, cleared, cleared_plan, parse, redacted, undescribed
from ops_mcp.domain.calls import ApprovalId, Call, CallId, Cost
from ops_mcp.domain.identity import Caller, Client, Credential, Effect, Unknown
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.domain.releases import Applied, DeploymentId, OperationId, Plan
from ops_mcp.errors import Code, NotFound, OpsError, Problem, Unavailable
from ops_mcp.governance.refusals import waiting_for
from ops_mcp.metrics.settings import too_many_series
from ops_mcp.ports import Ops, Progress
from ops_mcp.store.idempotency import Bound
from ops_mcp.store.ledger import Admission, Admitted, Asked, Begun, Denied, NewIds, Repeated
from ops_mcp.store.records import budget_name
from ops_mcp.store.settlement import Settlement
from ops_mcp.supervising.settings import Keep
from ops_mcp.tool import AnyTool, Committed, Result
from ops_mcp.tracing import OFF, Trace
from ops_mcp.values import JsonObject, text_digest

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 45.0
"""Clients give up at 60 s; everything a call waits for ends before."""

GRACE_SECONDS = 5.0
"""What a handler may take beyond its own deadline before it is cut off."""


async def call(
    app: App,
    credential: Credential,
    client: Client,
    name: str,
    arguments: JsonObject,
    *,
    progress: Progress = no_progress,
    ahead: bool = False,
) -> Outcome:
    """Decide, record and carry out one call. Never raises an `OpsError`: what goes wrong is an outcome.

    With `ahead` the caller promises to hold the answer back until `app.ledger.owed` says that its admission is durable; a read
    of our own memory then goes on while the disk is still writing. A cancelled caller cancels the handler, never a committed
    operation; the settlement is written all the same.
    """
    began, id = perf_counter(), CallId(app.new_id("call"))
    trace = OFF if app.tracer is None else app.tracer.begin(name if name in app.tools else "unknown", id)
    request = Request(app, credential, client, name, arguments, progress, id, app.world(), app.rules(), app.redactor(), trace)
    ended = "crashed"
    try:
        outcome = await _judge(request, ahead=ahead)
        ended = "" if trace is OFF else _came_out(outcome)
        return outcome
    finally:
        app.timings.add(name, perf_counter() - began)
        trace.end(ended)


async def _judge(request: Request, *, ahead: bool) -> Outcome:
    app, trace = request.app, request.trace
    try:
        _refuse_without_policy(request)
        parsed = await parse(request)
        if isinstance(parsed, Denied):
            return _refused(request, parsed)
        ahead = ahead and _may_go_on_before_it_is_durable(parsed.tool)
        with trace.part("admit"):
            admission = await app.ledger.admit(parsed.call, request.credential, request.rules, ahead=ahead)
    except Unavailable as down:
        return await _answer_unrecorded(request, down)
    if trace is not OFF:
        _note(trace, admission)
    match admission:
        case Denied():
            if admission.problem.code is Code.guard_blocked:
                app.wake_worker()  # only somebody who looks every 15 s sees that a host has settled
            return _refused(request, admission)
        case Repeated():
            return await _repeat(request, parsed, admission)
        case Admitted():
            return await _carry_out(request, parsed, admission)


def _note(trace: Trace, admission: Admission) -> None:
    call = admission.call
    match admission:
        case Admitted():
            answer = admission.verdict.answer.value
        case Denied():
            answer = "deny"
        case Repeated():
            answer = "repeated"
        case _:
            assert_never(admission)
    trace.note(agent=budget_name(admission.caller), verdict=answer, dry_run=call.dry_run)
    if call.environment is not None:
        trace.note(environment=call.environment.name)


def _came_out(outcome: Outcome) -> str:
    match outcome:
        case Done():
            return "done"
        case Failed():
            return "failed"
        case Refused():
            return "refused"
        case NeedsApproval():
            return "needs_approval"
        case _:
            assert_never(outcome)


def _may_go_on_before_it_is_durable(tool: AnyTool) -> bool:
    """Reads of our own memory that send nothing but their answer. Those that must answer also when the ledger cannot be written
    have to know whether it can."""
    return tool.effect is Effect.read and not (tool.open_world or tool.always_reachable or tool.answers_when_down)


def _refuse_without_policy(request: Request) -> None:
    if request.rules.policy.trouble:
        raise Unavailable(
            f"The policy cannot be read: {request.rules.policy.trouble}",
            hint="Nothing runs until an operator mends it; `ops-mcp policy show` says what is wrong.",
        )


async def _carry_out(request: Request, parsed: Parsed, admitted: Admitted) -> Outcome:
    """Act on an admitted call and settle it, whatever happens. A crash settles it as failed and travels on."""
    did = _Did()
    ending = "failed"
    try:
        outcome = await _act_in_time(request, parsed, admitted, did)
    except BaseException as error:
        ending = "cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else "failed"
        await _settle(request, _settlement(request, admitted, None, ending, did))
        raise
    settlement = _settlement(request, admitted, outcome, ending, did)
    if parsed.tool.effect is Effect.read:
        request.app.ledger.settle_later(settlement)
        return outcome
    unwritten = await _settle(request, settlement)
    if settlement.keep is not None and settlement.keep.needs_worker and not unwritten:
        request.app.wake_worker()
    return Failed(admitted.call.id, unwritten) if unwritten else outcome


@dataclass(slots=True)
class _Did:
    """What a call has done before it is settled: the deployment that it began, and what is to be kept with its settlement."""

    begun: list[DeploymentId] = field(default_factory=list[DeploymentId])
    keep: Keep | None = None


async def _settle(request: Request, settlement: Settlement) -> Problem | None:
    """Write how the call ended, even for a caller that is gone; the problem when that cannot be done."""
    try:
        with anyio.CancelScope(shield=True), request.trace.part("settle"):
            await request.app.ledger.settle(settlement)
    except OpsError as error:
        if settlement.keep is not None and not isinstance(error, Unavailable):
            return await _unkept(request, settlement, cleared(request.redactor, error.problem))
        log.exception("call %s ended as %s, which could not be recorded", settlement.call.id, settlement.outcome)
        hint = "What it did stands; look with `deployments` before you repeat it."
        return error.problem.evolve(message=f"The call ended, but its end could not be recorded. {error.message}", hint=hint)
    return None


async def _unkept(request: Request, settlement: Settlement, problem: Problem) -> Problem:
    """What a record wanted kept is not possible any more: nothing of it was, and the call has failed with that problem."""
    failed = settlement._replace(
        keep=None, bind_result=None, outcome="failed", code=problem.code.value, reason=problem.message, data={}
    )
    return await _settle(request, failed) or problem


async def _act_in_time(request: Request, parsed: Parsed, admitted: Admitted, did: _Did) -> Outcome:
    try:
        with anyio.CancelScope(deadline=anyio.current_time() + DEADLINE_SECONDS + GRACE_SECONDS):
            return await _act(request, parsed, admitted, did)
    except OpsError as error:
        return Failed(admitted.call.id, cleared(request.redactor, error.problem))
    return Failed(admitted.call.id, _too_slow(parsed.tool))


async def _act(request: Request, parsed: Parsed, admitted: Admitted, did: _Did) -> Outcome:
    tool, ops = parsed.tool, _ops(request, admitted)
    if tool.read is not None:
        with request.trace.part("act"):
            return _done(request, tool, await tool.read(parsed.args, ops))
    if tool.record is not None:
        with request.trace.part("act"):
            recorded = await tool.record(parsed.args, ops)
        done = _done(request, tool, recorded.result)
        if recorded.samples and not admitted.call.dry_run:
            left_out = await request.app.sights.metrics.keep(recorded.samples)
            if left_out:
                raise too_many_series(request.world.config.settings.metrics)
        if recorded.report is not None and not admitted.call.dry_run:
            did.keep = Keep(recorded.report, request.world.config.settings.supervise)
        return done
    if tool.plan is None or tool.planned is None:
        raise Unavailable(f"{tool.name} declares neither a read nor a plan.")
    with request.trace.part("plan"):
        plan = cleared_plan(request.redactor, await tool.plan(parsed.args, ops))
    if admitted.call.dry_run:
        verdict = await request.app.ledger.preview(admitted, plan, request.app.rules(), request.app.clock())
        return _done(request, tool, tool.planned(plan, verdict))
    return await _commit(request, parsed, admitted, plan, did.begun)


async def _commit(request: Request, parsed: Parsed, admitted: Admitted, plan: Plan, begun: list[DeploymentId]) -> Outcome:
    app, tool = request.app, parsed.tool
    ids = NewIds(OperationId(app.new_id("op")), DeploymentId(app.new_id("dep")), ApprovalId(app.new_id("apr")))
    with request.trace.part("commit"):
        commitment = await app.ledger.commit(admitted, plan, app.rules(), ids, app.clock())
    match commitment:
        case Denied():
            return Refused(admitted.call.id, commitment.problem, commitment.verdict)
        case Asked():
            if request.rules.approval_terms.tell:
                app.wake_worker()  # somebody has to be told
            problem = waiting_for(commitment.problem, commitment.approval)
            return NeedsApproval(admitted.call.id, problem, commitment.approval, plan)
        case Repeated():
            if commitment.bound.result is not None and not tool.follows:
                return Done(admitted.call.id, json.loads(commitment.bound.result), commitment.bound.result, replayed=True)
            return replace(await _finish(request, tool, _bound_to(commitment.bound), admitted), replayed=True)
        case Begun():
            if commitment.deployment is not None:
                begun.append(commitment.deployment)
            app.wake_worker()
            return await _finish(request, tool, Committed(commitment.deployment, plan, commitment.applied), admitted)


async def _finish(request: Request, tool: AnyTool, committed: Committed, admitted: Admitted) -> Done:
    if tool.finish is None:
        raise Unavailable(f"{tool.name} declares no finish.")
    with request.trace.part("act"):
        return _done(request, tool, await tool.finish(committed, _ops(request, admitted)))


async def _repeat(request: Request, parsed: Parsed, repeated: Repeated) -> Outcome:
    """The bound operation's current result, or the stored result of a record."""
    call_id, bound = repeated.call.id, repeated.bound
    try:
        if bound.result is not None and not parsed.tool.follows:
            return Done(call_id, json.loads(bound.result), bound.result, replayed=True)
        if parsed.tool.finish is None:
            raise NotFound("The first call with this key has no stored result.", hint="Use a new key.")
        ops = _ops_of(request, repeated.call, repeated.caller, None)
        with anyio.fail_after(DEADLINE_SECONDS + GRACE_SECONDS):
            done = _done(request, parsed.tool, await parsed.tool.finish(_bound_to(bound), ops))
    except OpsError as error:
        return Failed(call_id, cleared(request.redactor, error.problem))
    except TimeoutError:
        return Failed(call_id, _too_slow(parsed.tool))
    return Done(done.call, done.result, done.text, replayed=True)


def _bound_to(bound: Bound) -> Committed:
    """What the first call with a key did, as its tool's `finish` is told."""
    applied = Applied.model_validate_json(bound.result) if bound.result else None
    return Committed(DeploymentId(bound.deployment) if bound.deployment else None, applied=applied)


async def _answer_unrecorded(request: Request, down: Unavailable) -> Outcome:
    """The ledger cannot be written: only what helps to see that answers, and says so."""
    tool = request.app.tools.get(request.name)
    if tool is None or not tool.answers_when_down or tool.read is None:
        return Refused(request.id, down.problem)
    described = undescribed(request, tool)
    ops = _ops_of(request, described, Unknown(why="the ledger cannot be read"), None, trouble=down.message)
    try:
        return _done(request, tool, await tool.read(arguments_of(tool, request.arguments), ops))
    except OpsError as error:
        return Refused(request.id, error.problem)


def _done(request: Request, tool: AnyTool, result: Result) -> Done:
    """Print once; redact; refuse to hand out more than was reserved."""
    value: JsonObject = result.model_dump(mode="json", exclude_none=True)
    text = _printed(value)
    redactor = request.redactor
    if redactor.text(text) != text:
        value = redacted(redactor, value)
        text = _printed(value)
    if _tokens(text) > tool.reply_tokens:
        raise Unavailable(
            f"The answer of {tool.name} would exceed its bound of {tool.reply_tokens} tokens.",
            hint="Ask for less: a smaller limit, one service, a shorter time.",
        )
    return Done(request.id, value, text)


def _settlement(request: Request, admitted: Admitted, outcome: Outcome | None, ending: str, did: _Did) -> Settlement:
    """How a call came out, and what it took of what was reserved. Refusals and open questions take nothing."""
    call = admitted.call
    # What a provider meters is settled by the operation; without one nothing was metered.
    money = call.ceiling.usd_micros - (0 if did.begun else call.metered_micros)
    settled = Settlement(
        call=call,
        caller=budget_name(admitted.caller),
        outcome=ending,
        at=request.app.clock(),
        cost=Cost(calls=0),
        windows=admitted.windows,
        deployment=did.begun[0] if did.begun else None,
    )
    match outcome:
        case None:
            why = "its caller went away" if ending == "cancelled" else "the tool crashed; the server's log says how"
            return settled._replace(cost=Cost(usd_micros=money), reason=why)
        case Done(text=text, replayed=replayed):
            data: JsonObject = {"result": text_digest(text), "bytes": len(text)}
            if replayed:
                data["replayed"] = True
            cost = Cost(tokens=_tokens(text), usd_micros=0 if call.dry_run or replayed else money)
            bound = text if call.effect is Effect.record and not call.dry_run else None
            return settled._replace(outcome="done", cost=cost, data=data, bind_result=bound, keep=did.keep)
        case Failed(problem=problem):
            cost = Cost(tokens=_tokens(problem.model_dump_json()), usd_micros=money)
            return settled._replace(outcome="failed", cost=cost, code=problem.code.value, reason=problem.message)
        case Refused(problem=problem, verdict=verdict):
            data = {"rule": verdict.decisive.rule} if verdict else {}
            return settled._replace(outcome="refused", code=problem.code.value, reason=problem.message, data=data)
        case NeedsApproval(problem=problem, approval=approval):
            data = {"approval": approval.id}
            return settled._replace(outcome="needs_approval", code=problem.code.value, reason=problem.message, data=data)


def _refused(request: Request, denied: Denied) -> Refused:
    """Where the environment is unknown, name the ones this caller may see."""
    problem = denied.problem
    if problem.code is Code.invalid_arguments and problem.details.get("fields") == ["environment"] and not problem.hint:
        names = ", ".join(visible(request.rules, request.world, denied.caller, request.app.clock())) or "none"
        problem = problem.evolve(hint=f"Environments you may see: {names}.")
    return Refused(denied.call.id, problem, denied.verdict)


def _ops(request: Request, admitted: Admitted) -> Ops:
    return _ops_of(request, admitted.call, admitted.caller, admitted)


def _ops_of(request: Request, call: Call, caller: Caller, admitted: Admitted | None, *, trouble: str = "") -> Ops:
    app = request.app
    world = request.world
    return Ops(
        call=call,
        caller=caller,
        config=world.config,
        visible=lambda: visible(
            request.rules, world, caller, app.clock(), tool=call.tool if call.effect is Effect.read else "services"
        ),
        verdict=admitted.verdict if admitted else None,
        providers=world.providers,
        deployments=app.deployments,
        approvals=app.approvals,
        trail=app.trail,
        accounts=app.accounts,
        journal=app.journal,
        sights=app.sights,
        fingerprint=request.redactor.fingerprint,
        redact=request.redactor.text,
        clock=app.clock,
        new_id=app.new_id,
        progress=request.progress,
        deadline_seconds=DEADLINE_SECONDS,
        trouble=trouble,
    )


def _too_slow(tool: AnyTool) -> Problem:
    return Problem(
        code=Code.timeout,
        message=f"{tool.name} took longer than {DEADLINE_SECONDS + GRACE_SECONDS:g} s.",
        hint="If it began a deployment, `deployments` shows it; look there before you repeat the call.",
        retryable=True,
    )


_printed: Callable[[JsonObject], str] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // 4)
