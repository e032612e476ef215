"""The one path of every call: parse, describe, admit, plan, commit, act, settle. Agent, worker and scheduler all come this way."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
import anyio
from pydantic import ValidationError

from ops_mcp.config import Config
from ops_mcp.deploying.plans import is_recovery
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.calls import ApprovalId, Call, CallId, Cost
from ops_mcp.domain.identity import Agent, Anonymous, Caller, Client, Credential, Effect, System, Unknown
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import DeploymentId, OperationId, Plan
from ops_mcp.errors import Code, InvalidArguments, NotFound, OpsError, Problem, Unavailable, UnknownTool
from ops_mcp.governance.redaction import Redactor
from ops_mcp.ports import Accounts, Approvals, Clock, Deployments, Journal, NewId, Ops, Progress, Provider, Trail, look
from ops_mcp.store.ledger import Admitted, Asked, Begun, Denied, Ledger, NewIds, Repeated, Rules
from ops_mcp.store.settlement import Settlement
from ops_mcp.tool import AnyTool, Args, Committed, Result, Target, WriteArgs, schema_digest
from ops_mcp.values import Json, JsonObject, canonical, digest, text_digest

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 45.0
"""Clients give up at 60 s; everything a call waits for ends before."""

GRACE_SECONDS = 5.0
"""What a handler may take beyond its own deadline before it is cut off."""

NOT_PART_OF_THE_DIGEST = {"dry_run", "idempotency_key", "reason"}


@dataclass(frozen=True, slots=True)
class World:
    """The configuration and the places it opens, as they stand now."""

    config: Config
    providers: Mapping[str, Provider]


@dataclass(frozen=True, slots=True)
class App:
    """Everything a call needs, opened by `startup`. `world` is the configuration as it stands now, re-read on change."""

    tools: Mapping[str, AnyTool]
    world: Callable[[], World]
    rules: Callable[[], Rules]
    ledger: Ledger
    deployments: Deployments
    approvals: Approvals
    trail: Trail
    accounts: Accounts
    journal: Journal
    redactor: Callable[[], Redactor]
    clock: Clock
    new_id: NewId
    wake_worker: Callable[[], None]


async def no_progress(done: float, total: float | None, message: str) -> None:
    """Nobody listens."""


async def call(
    app: App, credential: Credential, client: Client, name: str, arguments: JsonObject, *, progress: Progress = no_progress
) -> Outcome:
    """Decide, record and carry out one call. Never raises an `OpsError`: what goes wrong is an outcome.

    A cancelled caller cancels the handler, never a committed operation; the settlement is written all the same.
    """
    request = _Request(app, credential, client, name, arguments, progress, CallId(app.new_id("call")))
    try:
        parsed = await _parse(request)
        if isinstance(parsed, Denied):
            return _refused(app, parsed)
        admission = await app.ledger.admit(parsed.call, credential, app.rules())
    except Unavailable as down:
        return await _answer_unrecorded(request, down)
    match admission:
        case Denied():
            return _refused(app, admission)
        case Repeated():
            return await _repeat(request, parsed, admission)
        case Admitted():
            return await _carry_out(request, parsed, admission)


@dataclass(frozen=True, slots=True)
class _Request:
    app: App
    credential: Credential
    client: Client
    name: str
    arguments: JsonObject
    progress: Progress
    id: CallId


@dataclass(frozen=True, slots=True)
class _Parsed:
    tool: AnyTool
    args: Args
    call: Call


async def _parse(request: _Request) -> "_Parsed | Denied":
    """Find the tool, parse the arguments and describe the call; or the recorded refusal of what cannot be described."""
    app = request.app
    tool = app.tools.get(request.name)
    try:
        if tool is None:
            raise _unknown_tool(request.name, app.tools)
        args = _arguments(tool, request.arguments)
        return _Parsed(tool, args, await _describe(request, tool, args))
    except OpsError as error:
        if isinstance(error, Unavailable):
            raise
        return await app.ledger.refuse(_undescribed(request, tool), request.credential, error.problem)


def _arguments(tool: AnyTool, arguments: JsonObject) -> Args:
    """Parse strictly. The message names the field and what is valid, and never repeats the rejected value."""
    try:
        body = canonical(arguments)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(
            "The arguments hold a number or text that JSON cannot carry exactly.",
            hint="Use integers within ±2^53, finite numbers and valid Unicode.",
        ) from error
    try:
        return tool.args.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(tool, error) from error


def _invalid(tool: AnyTool, error: ValidationError) -> InvalidArguments:
    known = tuple(tool.args.model_fields)
    said: list[str] = []
    for found in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in found["loc"]) or "arguments"
        if found["type"] == "extra_forbidden":
            said.append(f"unknown argument {_shown(where)}")
        else:
            said.append(f"{_shown(where)}: {found['msg']}")
    return InvalidArguments(
        f"{tool.name}: {'; '.join(said)}.",
        hint=f"Arguments of {tool.name}: {', '.join(known) or 'none'}.",
        details={"fields": _fields(error)},
    )


def _fields(error: ValidationError) -> list[Json]:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    names = dict.fromkeys(_shown(str(f["loc"][0])) for f in found if f["loc"])
    return [name for name in names][:5]


def _shown(name: str) -> str:
    """An argument's name in a message; one that is no name at all is a stranger's text and is not repeated."""
    return name if len(name) <= 64 and name.isascii() and name.replace("_", "").replace(".", "").isalnum() else "(not a name)"


async def _describe(request: _Request, tool: AnyTool, args: Args) -> Call:
    app, world, at = request.app, request.app.world(), request.app.clock()
    target = args.target()
    place = await _resolve(app, target)
    environment_name = place.environment or target.environment
    environment = world.config.environments.get(EnvironmentName(environment_name)) if environment_name else None
    if environment_name and environment is None:
        raise InvalidArguments(f"{tool.name}: there is no such environment.", details={"fields": ["environment"]})
    service = place.service or target.service
    binding = world.config.binding(service, environment_name) if service and environment_name else None
    writes = args if isinstance(args, WriteArgs) else None
    canonical_arguments: JsonObject = args.model_dump(mode="json", exclude=NOT_PART_OF_THE_DIGEST, exclude_none=True)
    return Call(
        id=request.id,
        tool=tool.name,
        effect=tool.effect,
        at=at,
        digest=digest(canonical_arguments),
        arguments=_redacted(app.redactor(), canonical_arguments),
        environment=environment,
        service=ServiceName(service) if service else None,
        binding=binding,
        target=target.deployment or target.approval,
        target_owner=place.owner,
        target_open=place.open,
        alters_runtime=tool.alters_runtime,
        always_reachable=tool.always_reachable,
        recovery=tool.recovers and await _recovers(app, target, service, environment_name),
        sample_only=binding is not None and binding.options.get("source") == "sample",
        dry_run=writes.dry_run if writes else False,
        idempotency_key=writes.idempotency_key if writes else None,
        reason=app.redactor().text(writes.reason) if writes else "",
        ceiling=tool.ceiling + world.config.price(tool.name, binding.provider if binding else None),
        schema_digest=schema_digest(tool),
        client=request.client,
    )


@dataclass(frozen=True, slots=True)
class _Resolved:
    environment: str | None = None
    service: str | None = None
    owner: str | None = None
    open: bool = False


async def _resolve(app: App, target: Target) -> _Resolved:
    """The environment an id belongs to, looked up by the server. Raises `NotFound`."""
    if target.deployment is not None:
        found = await app.deployments.get(DeploymentId(target.deployment))
        if found is None:
            raise NotFound("There is no deployment with this id.", hint="`deployments` lists the ones you may see.")
        return _Resolved(found.environment, found.service, found.agent, not is_final(found.state))
    if target.approval is not None:
        approval = await app.approvals.get(target.approval)
        if approval is None:
            raise NotFound("There is no approval with this id.", hint="Use the id that a `needs_approval` answer gave.")
        return _Resolved(approval.environment, approval.service, approval.agent)
    return _Resolved()


async def _recovers(app: App, target: Target, service: str | None, environment: str | None) -> bool:
    """Whether this rollback would be the exempt one, from stored state only; the plan looks again."""
    if not service or not environment:
        return False
    place = await look(app.deployments, ServiceName(service), EnvironmentName(environment))
    to = await app.deployments.get(DeploymentId(target.to)) if target.to else place.last_healthy
    return to is not None and is_recovery(target=to, place=place)


async def _carry_out(request: _Request, parsed: _Parsed, admitted: Admitted) -> Outcome:
    """Act on an admitted call and settle it, whatever happens. A crash settles it as failed and travels on."""
    begun: list[DeploymentId] = []
    ending = "failed"
    try:
        outcome = await _act_in_time(request, parsed, admitted, begun)
    except BaseException as error:
        ending = "cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else "failed"
        await _settle(request, _settlement(request, admitted, None, ending, begun))
        raise
    settlement = _settlement(request, admitted, outcome, ending, begun)
    if parsed.tool.effect is Effect.read:
        request.app.ledger.settle_later(settlement)
        return outcome
    unwritten = await _settle(request, settlement)
    return Failed(admitted.call.id, unwritten) if unwritten else outcome


async def _settle(request: _Request, settlement: Settlement) -> Problem | None:
    """Write how the call ended, even for a caller that is gone; the problem when that cannot be done."""
    try:
        with anyio.CancelScope(shield=True):
            await request.app.ledger.settle(settlement)
    except OpsError as error:
        log.error("call %s ended as %s, which could not be recorded: %s", settlement.call.id, settlement.outcome, error)
        hint = "What it did stands; look with `deployments` before you repeat it."
        return error.problem.evolve(message=f"The call ended, but its end could not be recorded. {error.message}", hint=hint)
    return None


async def _act_in_time(request: _Request, parsed: _Parsed, admitted: Admitted, begun: list[DeploymentId]) -> Outcome:
    try:
        with anyio.fail_after(DEADLINE_SECONDS + GRACE_SECONDS):
            return await _act(request, parsed, admitted, begun)
    except OpsError as error:
        return Failed(admitted.call.id, _cleared(request.app.redactor(), error.problem))
    except TimeoutError:
        return Failed(admitted.call.id, _too_slow(parsed.tool))


async def _act(request: _Request, parsed: _Parsed, admitted: Admitted, begun: list[DeploymentId]) -> Outcome:
    tool, ops = parsed.tool, _ops(request, admitted)
    if tool.read is not None:
        return _done(request, tool, await tool.read(parsed.args, ops))
    if tool.plan is None or tool.planned is None:
        raise Unavailable(f"{tool.name} declares neither a read nor a plan.")
    plan = await tool.plan(parsed.args, ops)
    if admitted.call.dry_run:
        verdict = await request.app.ledger.preview(admitted, plan, request.app.rules(), request.app.clock())
        return _done(request, tool, tool.planned(plan, verdict))
    return await _commit(request, parsed, admitted, plan, begun)


async def _commit(request: _Request, parsed: _Parsed, admitted: Admitted, plan: Plan, begun: list[DeploymentId]) -> Outcome:
    app, tool = request.app, parsed.tool
    ids = NewIds(OperationId(app.new_id("op")), DeploymentId(app.new_id("dep")), ApprovalId(app.new_id("apr")))
    commitment = await app.ledger.commit(admitted, plan, app.rules(), ids, app.clock())
    match commitment:
        case Denied():
            return Refused(admitted.call.id, commitment.problem, commitment.verdict)
        case Asked():
            return NeedsApproval(admitted.call.id, commitment.problem, commitment.approval, plan)
        case Repeated():
            deployment = DeploymentId(commitment.bound.deployment) if commitment.bound.deployment else None
            return await _finish(request, tool, Committed(deployment), admitted)
        case Begun():
            if commitment.deployment is not None:
                begun.append(commitment.deployment)
            app.wake_worker()
            return await _finish(request, tool, Committed(commitment.deployment, plan), admitted)


async def _finish(request: _Request, tool: AnyTool, committed: Committed, admitted: Admitted) -> Outcome:
    if tool.finish is None:
        raise Unavailable(f"{tool.name} declares no finish.")
    return _done(request, tool, await tool.finish(committed, _ops(request, admitted)))


async def _repeat(request: _Request, parsed: _Parsed, repeated: Repeated) -> Outcome:
    """The bound operation's current result, or the stored result of a record."""
    call_id, bound = repeated.call.id, repeated.bound
    try:
        if bound.result is not None:
            return Done(call_id, json.loads(bound.result), bound.result, replayed=True)
        if parsed.tool.finish is None:
            raise NotFound("The first call with this key has no stored result.", hint="Use a new key.")
        deployment = DeploymentId(bound.deployment) if bound.deployment else None
        ops = _ops_of(request, repeated.call, repeated.caller, None)
        with anyio.fail_after(DEADLINE_SECONDS + GRACE_SECONDS):
            done = _done(request, parsed.tool, await parsed.tool.finish(Committed(deployment), ops))
    except OpsError as error:
        return Failed(call_id, _cleared(request.app.redactor(), error.problem))
    except TimeoutError:
        return Failed(call_id, _too_slow(parsed.tool))
    return Done(done.call, done.result, done.text, replayed=True)


async def _answer_unrecorded(request: _Request, down: Unavailable) -> Outcome:
    """The ledger cannot be written: only what helps to see that answers, and says so."""
    tool = request.app.tools.get(request.name)
    if tool is None or not tool.answers_when_down or tool.read is None:
        return Refused(request.id, down.problem)
    described = _undescribed(request, tool)
    ops = _ops_of(request, described, Unknown(why="the ledger cannot be read"), None, trouble=down.message)
    try:
        return _done(request, tool, await tool.read(_arguments(tool, request.arguments), ops))
    except OpsError as error:
        return Refused(request.id, error.problem)


def _done(request: _Request, tool: AnyTool, result: Result) -> Done:
    """Print once; redact; refuse to hand out more than was reserved."""
    value: JsonObject = result.model_dump(mode="json", exclude_none=True)
    text = _printed(value)
    redactor = request.app.redactor()
    if redactor.text(text) != text:
        value = _redacted(redactor, value)
        text = _printed(value)
    if _tokens(text) > tool.reply_tokens:
        raise Unavailable(
            f"The answer of {tool.name} would exceed its bound of {tool.reply_tokens} tokens.",
            hint="Ask for less: a smaller limit, one service, a shorter time.",
        )
    return Done(request.id, value, text)


def _settlement(
    request: _Request, admitted: Admitted, outcome: Outcome | None, ending: str, begun: list[DeploymentId]
) -> Settlement:
    call, at = admitted.call, request.app.clock()
    money = call.ceiling.usd_micros
    name = _budget_name(admitted.caller)
    deployment = begun[0] if begun else None
    match outcome:
        case None:
            why = "its caller went away" if ending == "cancelled" else "the tool crashed; the server's log says how"
            return Settlement(call, name, ending, at, Cost(calls=1, usd_micros=money), reason=why, deployment=deployment)
        case Done(text=text, replayed=replayed):
            cost = Cost(calls=1, tokens=_tokens(text), usd_micros=0 if call.dry_run else money)
            data: JsonObject = {"result": text_digest(text), "bytes": len(text)}
            if replayed:
                data["replayed"] = True
            return Settlement(call, name, "done", at, cost, data=data, deployment=deployment)
        case Failed(problem=failure):
            cost = Cost(calls=1, tokens=_tokens(failure.model_dump_json()), usd_micros=money)
            return Settlement(call, name, "failed", at, cost, failure.code.value, failure.message, deployment=deployment)
        case Refused(problem=refusal, verdict=verdict):
            rule: JsonObject = {"rule": verdict.decisive.rule} if verdict else {}
            return Settlement(call, name, "refused", at, Cost(calls=0), refusal.code.value, refusal.message, rule)
        case NeedsApproval(problem=asked, approval=approval):
            data = {"approval": approval.id}
            return Settlement(call, name, "needs_approval", at, Cost(calls=0), asked.code.value, asked.message, data)


def _refused(app: App, denied: Denied) -> Refused:
    """Where the environment is unknown, name the ones this caller may see."""
    problem = denied.problem
    if problem.code is Code.invalid_arguments and problem.details.get("fields") == ["environment"] and not problem.hint:
        names = ", ".join(_visible(app, denied.caller)) or "none"
        problem = problem.evolve(hint=f"Environments you may see: {names}.")
    return Refused(denied.call.id, problem, denied.verdict)


def _ops(request: _Request, admitted: Admitted) -> Ops:
    return _ops_of(request, admitted.call, admitted.caller, admitted)


def _ops_of(request: _Request, call: Call, caller: Caller, admitted: Admitted | None, *, trouble: str = "") -> Ops:
    app = request.app
    world = app.world()
    return Ops(
        call=call,
        caller=caller,
        config=world.config,
        visible=lambda: _visible(app, caller),
        verdict=admitted.verdict if admitted else None,
        providers=world.providers,
        deployments=app.deployments,
        approvals=app.approvals,
        trail=app.trail,
        accounts=app.accounts,
        journal=app.journal,
        clock=app.clock,
        new_id=app.new_id,
        progress=request.progress,
        deadline_seconds=DEADLINE_SECONDS,
        trouble=trouble,
    )


def _visible(app: App, caller: Caller) -> tuple[EnvironmentName, ...]:
    policy, at = app.rules().policy, app.clock()
    return tuple(
        name for name, environment in app.world().config.environments.items() if policy.lets_see(caller, environment, at=at)
    )


def _undescribed(request: _Request, tool: AnyTool | None) -> Call:
    """As much of a call as can be said of one that could not be parsed. What has no canonical form is kept by digest and size."""
    try:
        body = canonical(request.arguments)
        arguments = _redacted(request.app.redactor(), request.arguments) if len(body) <= 8192 else _sized(body)
    except (ValueError, RecursionError):
        body = json.dumps(request.arguments, default=str).encode(errors="surrogatepass")
        arguments = _sized(body)
    return Call(
        id=request.id,
        tool=tool.name if tool else request.app.redactor().text(request.name[:128]),
        effect=tool.effect if tool else Effect.read,
        at=request.app.clock(),
        digest=text_digest(body.decode(errors="replace")),
        arguments=arguments,
        client=request.client,
    )


def _redacted(redactor: Redactor, value: JsonObject) -> JsonObject:
    return cast(JsonObject, redactor.value(value))


def _cleared(redactor: Redactor, problem: Problem) -> Problem:
    """A problem may quote what an outside system said; nothing secret leaves in it."""
    cleared = _redacted(redactor, problem.json_value())
    return problem if cleared == problem.json_value() else Problem.model_validate(cleared)


def _sized(body: bytes) -> JsonObject:
    return {"arguments_digest": text_digest(body.decode(errors="replace")), "arguments_bytes": len(body)}


def _unknown_tool(name: str, tools: Mapping[str, AnyTool]) -> OpsError:
    return UnknownTool("There is no tool with this name.", hint=f"Tools: {', '.join(tools)}.")


def _too_slow(tool: AnyTool) -> Problem:
    return Problem(
        code=Code.timeout,
        message=f"{tool.name} took longer than {DEADLINE_SECONDS + GRACE_SECONDS:g} s.",
        hint="If it began a deployment, `deployments` shows it; look there before you repeat the call.",
        retryable=True,
    )


def _printed(value: JsonObject) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // 4)


def _budget_name(caller: Caller) -> str:
    match caller:
        case System(agent=agent):
            return agent.name
        case Agent() | Anonymous() | Unknown():
            return caller.name
