"""From what came in to a described call: find the tool, parse the arguments, resolve the target. Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import ValidationError

from ops_mcp.app import App, Request
from ops_mcp.deploying.plans import is_recovery
from ops_mcp.deploying.states import is_final
from ops_mcp.domain.calls import Call, Cost
from ops_mcp.domain.identity import Client, Effect
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import DeploymentId, Plan
from ops_mcp.errors import InvalidArguments, NotFound, OpsError, Problem, Unavailable, UnknownTool
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import RulesWanted
from ops_mcp.ports import look, runs_here
from ops_mcp.store.ledger import Denied
from ops_mcp.tool import AnyTool, Args, Target, WriteArgs, schema_digest
from ops_mcp.values import Json, JsonObject, canonical, digest, flat_bytes, sayable, text_digest

MOST_ARGUMENT_BYTES = 8192
"""Arguments of a refused call beyond this are kept by digest and size."""

_MOST_COMPARED = 256

NOT_PART_OF_THE_DIGEST = {"dry_run", "idempotency_key", "reason"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A call whose tool is known, whose arguments are valid, and whose target is resolved."""

    tool: AnyTool
    args: Args
    call: Call


async def parse(request: Request) -> "Parsed | Denied":
    """Find the tool, parse the arguments and describe the call; or the recorded refusal of what cannot be described."""
    app = request.app
    tool = app.tools.get(request.name)
    try:
        if tool is None:
            raise _unknown_tool(app.tools)
        return _repeated(request, tool) or await _parsed(request, tool)
    except OpsError as error:
        if isinstance(error, Unavailable):
            raise
        # A message names arguments, and a name may be a secret that somebody put in the wrong place.
        problem = cleared(request.redactor, error.problem)
        return await app.ledger.refuse(undescribed(request, tool), request.credential, problem)


def _repeated(request: Request, tool: AnyTool) -> Parsed | None:
    """A read with arguments that were described before: only its id and its time are new."""
    likeness = _likeness(request, tool)
    known = request.world.recall(likeness, Parsed) if likeness else None
    if known is None:
        return None
    call = known.call.model_copy(update={"id": request.id, "at": request.app.clock()})
    return Parsed(tool, known.args, call)


async def _parsed(request: Request, tool: AnyTool) -> Parsed:
    args = arguments_of(tool, request.arguments)
    parsed = Parsed(tool, args, await _describe(request, tool, args))
    target, likeness = args.target(), _likeness(request, tool)
    # What describes such a read came from the arguments and the configuration alone; an id is looked up each time.
    if likeness and tool.effect is Effect.read and target.deployment is target.approval is target.alert is None:
        request.world.remember(likeness, parsed)
    return parsed


def _likeness(request: Request, tool: AnyTool) -> tuple[object, ...]:
    """Equal for requests that are described alike; empty where arguments are too long or nested to be compared cheaply."""
    said: list[object] = []
    for name, value in request.arguments.items():
        if len(name) > _MOST_COMPARED or not _is_short(value):
            return ()
        said.append((name, type(value), value))
    return ("described", tool, tuple(said), request.client, request.redactor)


def _is_short(value: Json) -> bool:
    """Looks at nothing that a stranger's value could make expensive or impossible, such as printing a number without end."""
    match value:
        case str():
            return len(value) <= _MOST_COMPARED
        case int():
            return value.bit_length() <= _MOST_COMPARED
        case dict() | list():
            return False
        case _:
            return True


def arguments_of(tool: AnyTool, arguments: JsonObject) -> Args:
    """Parse strictly. The message names the field and what is valid, and never repeats the rejected value."""
    try:
        body = canonical(arguments)
    except (ValueError, RecursionError) as error:
        fields = [name for name, value in arguments.items() if not _is_sayable({name: value})]
        shown = [_shown(name) for name in fields[:5]]
        raise InvalidArguments(
            f"{tool.name}: {', '.join(shown)}: a number, text or nesting that JSON cannot carry exactly.",
            hint="Use integers within ±2^53, finite numbers, valid Unicode and no deep nesting.",
            details={"fields": list[Json](shown)},
        ) from error
    try:
        return tool.args.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(tool, error) from error


def _is_sayable(arguments: JsonObject) -> bool:
    try:
        canonical(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _invalid(tool: AnyTool, error: ValidationError) -> InvalidArguments:
    known = tuple(tool.args.model_fields)
    said: list[str] = []
    for found in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in found["loc"]) if found["loc"] else "arguments"
        if found["type"] == "extra_forbidden":
            said.append(f"unknown argument {_shown(where)}")
        else:
            # What a caller named inside an argument may be no name at all; the argument itself is one.
            named = _shown(where) if _shown(where) == where else _shown(str(found["loc"][0]) if found["loc"] else where)
            said.append(f"{named}: {found['msg']}")
    return InvalidArguments(
        f"{tool.name}: {'; '.join(said)}.",
        hint=f"Arguments of {tool.name}: {', '.join(known) or 'none'}.",
        details={"fields": _fields(error)},
    )


def _fields(error: ValidationError) -> list[Json]:
    found = error.errors(include_input=False, include_url=False, include_context=False)[:5]
    names: list[Json] = [_shown(str(f["loc"][0])) for f in found if f["loc"]]
    return [name for number, name in enumerate(names) if name not in names[:number]][:5]


def _shown(name: str) -> str:
    """An argument's name in a message; one that is no name at all is a stranger's text and is not repeated."""
    return name if len(name) <= 64 and name.isascii() and name.replace("_", "").replace(".", "").isalnum() else "(not a name)"


async def _describe(request: Request, tool: AnyTool, args: Args) -> Call:
    app, world, at = request.app, request.world, request.app.clock()
    target = args.target()
    place = await _resolve(app, target)
    environment_name = place.environment or target.environment
    environment = world.config.environments.get(EnvironmentName(environment_name)) if environment_name is not None else None
    if environment_name is not None and environment is None:  # so it is where the name is empty, which is not the same as none
        raise InvalidArguments(f"{tool.name}: there is no such environment.", details={"fields": ["environment"]})
    service = place.service or target.service
    binding = world.config.binding(service, environment_name) if service and environment_name else None
    writes = args if isinstance(args, WriteArgs) else None
    metered = world.config.most_metered(binding.provider) if binding and tool.alters_runtime else 0
    price = world.config.price(tool.name, binding.provider if binding else None)
    canonical_arguments: JsonObject = args.model_dump(mode="json", exclude=NOT_PART_OF_THE_DIGEST, exclude_none=True)
    return Call(
        id=request.id,
        tool=tool.name,
        effect=tool.effect,
        at=at,
        digest=digest(canonical_arguments),
        arguments=redacted(request.redactor, canonical_arguments),
        environment=environment,
        service=ServiceName(service if binding else request.redactor.text(service)) if service else None,
        binding=binding,
        target=target.deployment or target.approval or target.alert or target.task,
        target_owner=place.owner,
        target_open=place.open,
        alters_runtime=tool.alters_runtime,
        always_reachable=tool.always_reachable,
        recovery=tool.recovers and await _recovers(app, target, service, environment_name),
        on_host=binding is not None and _may_alter(tool, place) and runs_here(world.providers, binding),
        sample_only=binding is not None and binding.options.get("source") == "sample" and _concerns_what_runs(tool, target),
        dry_run=writes.dry_run if writes else False,
        idempotency_key=request.redactor.text(writes.idempotency_key) if writes and writes.idempotency_key else None,
        reason=request.redactor.text(writes.reason) if writes else "",
        ceiling=tool.ceiling + price + Cost(calls=0, usd_micros=metered),
        metered_micros=metered,
        schema_digest=schema_digest(tool),
        client=_heard(request),
    )


def _may_alter(tool: AnyTool, place: "_Resolved") -> bool:
    """Whether the load guard may have a word: cancelling what somebody else has running is a change like any other."""
    return tool.alters_runtime or (tool.effect is Effect.change and place.open)


def _concerns_what_runs(tool: AnyTool, target: Target) -> bool:
    """Whether it is about a service itself, or a deployment of it, and not about what is kept and told of it."""
    return tool.alters_runtime or target.deployment is not None


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
    if target.alert is not None:
        life = await app.sights.alerts.alert(target.alert)
        if life is None:
            raise NotFound("There is no alert with this id.", hint="`alerts` lists the open ones.")
        return _Resolved(life.alert.environment, life.alert.service)
    if target.rule is not None and target.environment is not None:
        # Whoever may not touch a service may not take its alert rule away either.
        wanted = RulesWanted((EnvironmentName(target.environment),), name=target.rule, limit=1)
        found_rules = (await app.sights.alerts.rules(wanted)).rules
        return _Resolved(service=found_rules[0].rule.service if found_rules else None)
    return await _resolve_own(app, target)


async def _resolve_own(app: App, target: Target) -> _Resolved:
    """What belongs to an agent's own work: its tasks and its requests for approval."""
    if target.task is not None:
        task = await app.sights.tasks.get(target.task)
        if task is None:
            raise NotFound("There is no task with this id.", hint="`tasks` lists the ones you may see.")
        return _Resolved(task.environment)
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


def undescribed(request: Request, tool: AnyTool | None) -> Call:
    """As much of a call as can be said of one that could not be parsed. What has no canonical form is kept by digest and size."""
    said = tool.args.recordable(request.arguments) if tool else request.arguments
    try:
        body = canonical(said)
        arguments = redacted(request.redactor, said) if len(body) <= MOST_ARGUMENT_BYTES else _sized(body)
    except (ValueError, RecursionError):
        body = flat_bytes(said)
        arguments = _sized(body)
    return Call(
        id=request.id,
        tool=tool.name if tool else _said_name(request),
        effect=tool.effect if tool else Effect.read,
        at=request.app.clock(),
        digest=text_digest(body.decode(errors="replace")),
        arguments=arguments,
        client=_heard(request),
    )


def _said_name(request: Request) -> str:
    """What the caller took for a tool's name, shortened after redaction, so that no half of a secret remains."""
    name = request.name[:MOST_ARGUMENT_BYTES].encode(errors="backslashreplace").decode()
    return request.redactor.text(name)[:128]


def redacted(redactor: Redactor, value: JsonObject) -> JsonObject:
    return cast(JsonObject, redactor.value(value))


def cleared(redactor: Redactor, problem: Problem) -> Problem:
    """A problem may quote what an outside system said; nothing secret leaves in it."""
    cleared = cast(JsonObject, sayable(redacted(redactor, problem.json_value())))
    return problem if cleared == problem.json_value() else Problem.model_validate(cleared)


def cleared_plan(redactor: Redactor, plan: Plan) -> Plan:
    """The plan as it is judged, stored and shown: what callers and providers said in it holds no secret and is valid Unicode."""

    def clear(text: str) -> str:
        return redactor.text(text).encode(errors="backslashreplace").decode()

    work = plan.work
    if work is not None:
        content = work.release.content
        said = content.model_copy(update={"ref": clear(content.ref), "summary": clear(content.summary)})
        work = work.model_copy(update={"release": work.release.model_copy(update={"content": said})})
    steps = tuple(s.model_copy(update={"does": clear(s.does), "undo": clear(s.undo)}) for s in plan.steps)
    return plan.model_copy(
        update={
            "arguments": redacted(redactor, plan.arguments),
            "summary": clear(plan.summary),
            "warnings": tuple(map(clear, plan.warnings)),
            "steps": steps,
            "work": work,
        }
    )


def _heard(request: Request) -> Client:
    """What the client says of itself, as it may be stored."""
    client, redactor = request.client, request.redactor
    said = {"name": client.name, "version": client.version, "session": client.session}
    cleared = {field: redactor.text(text) for field, text in said.items()}
    return client if cleared == said else client.evolve(**cleared)


def _sized(body: bytes) -> JsonObject:
    return {"arguments_digest": text_digest(body.decode(errors="replace")), "arguments_bytes": len(body)}


def _unknown_tool(tools: Mapping[str, AnyTool]) -> OpsError:
    return UnknownTool("There is no tool with this name.", hint=f"Tools: {', '.join(tools)}.")
