"""What policies can see of a call: one flat, hashable value, and its shape as Cedar's request and entities."""

from datetime import datetime
from math import floor
from typing import NamedTuple, TypeAlias

from ops_mcp.domain.calls import Call
from ops_mcp.domain.identity import Agent, Anonymous, Caller, Level, Risk, System, Tier, Unknown
from ops_mcp.domain.places import Environment
from ops_mcp.governance.history import History
from ops_mcp.governance.reputation import RANKS, level_in_force
from ops_mcp.values import Json, JsonObject

MOST_ARGUMENTS = 128
LONGEST_ARGUMENT = 4096
_LARGEST_LONG = 2**53

Arguments: TypeAlias = tuple[tuple[str, str | int | float], ...]

TIER_RANKS: dict[Tier, int] = {tier: rank for rank, tier in enumerate(Tier)}
CEILING_TIERS: dict[Level, int] = {level: TIER_RANKS[level.tier] for level in Level}


class Request(NamedTuple):
    """Everything that a policy can read. Two equal requests get the same ruling, which is what makes remembering it sound.

    `operation` is set on calls that the worker makes for the agent. `arguments` is None where they are too many or too
    long to be shown whole.
    """

    anonymous: bool
    name: str
    owner: str
    ceiling: Level
    level: Level
    operation: str
    tool: str
    environment: str | None
    tier: Tier
    private: bool
    service: str
    risk: Risk
    dry_run: bool
    alters_runtime: bool
    recovery: bool
    own_work: bool
    phase: str
    arguments: Arguments | None
    minute: datetime | None


def request_of(call: Call, history: History, *, sees_arguments: bool, sees_time: bool) -> Request | None:
    """What policies see of `call`; None for a caller nobody knows. What no policy refers to is left out."""
    caller = history.caller
    operation = ""
    if isinstance(caller, System):
        operation, caller = caller.operation, caller.agent
    environment, binding = call.environment, call.binding
    if isinstance(caller, Agent):
        anonymous, owner, ceiling, level = False, caller.owner, caller.ceiling, level_in_force(caller)
    elif isinstance(caller, Anonymous):
        anonymous, owner, ceiling, level = True, "", Level.sandbox, Level.sandbox
    else:
        return None
    return Request(
        anonymous,
        caller.name,
        owner,
        ceiling,
        level,
        operation,
        call.tool,
        environment.name if environment else None,
        environment.tier if environment else Tier.sandbox,
        environment.private if environment else False,
        call.service or "",
        binding.risk if binding else Risk.full,
        call.dry_run,
        call.alters_runtime,
        call.recovery,
        call.own_work,
        history.phase,
        flat(call.arguments) if sees_arguments else (),
        call.at.replace(second=0, microsecond=0) if sees_time else None,
    )


def look(caller: Caller, environment: Environment, *, tool: str, at: datetime) -> Request | None:
    """The request of a plain read of `environment`, for listings that must not show what the caller may not see."""
    if isinstance(caller, System):
        caller = caller.agent
    if isinstance(caller, Unknown):
        return None
    agent = caller if isinstance(caller, Agent) else None
    return Request(
        anonymous=agent is None,
        name=caller.name,
        owner=agent.owner if agent else "",
        ceiling=agent.ceiling if agent else Level.sandbox,
        level=level_in_force(agent) if agent else Level.sandbox,
        operation="",
        tool=tool,
        environment=environment.name,
        tier=environment.tier,
        private=environment.private,
        service="",
        risk=Risk.full,
        dry_run=False,
        alters_runtime=False,
        recovery=False,
        own_work=False,
        phase="admit",
        arguments=(),
        minute=at.replace(second=0, microsecond=0),
    )


def flat(arguments: JsonObject) -> Arguments | None:
    """Nested arguments as `outer.inner` names; None when they exceed what policies are shown, which refuses."""
    found: list[tuple[str, str | int | float]] = []
    return tuple(found) if _flatten("", arguments, found) else None


def cedar_request(request: Request) -> JsonObject:
    """The request in Cedar's JSON form; `entities` has the other half."""
    return {
        "principal": _uid("Anonymous" if request.anonymous else "Agent", request.name),
        "action": _uid("Action", request.tool),
        "resource": _place(request),
        "context": {
            "dry_run": request.dry_run,
            "alters_runtime": request.alters_runtime,
            "recovery": request.recovery,
            "own_work": request.own_work,
            "phase": request.phase,
            "service": request.service,
            "operation": request.operation,
            "arguments": {"__entity": _uid("Arguments", "these")},
            "numbers": {"__entity": _uid("Numbers", "these")},
            "time": _time(request.minute),
        },
    }


def cedar_entities(request: Request) -> list[JsonObject]:
    """The caller, the place and the arguments as Cedar entities."""
    arguments = request.arguments or ()
    numbers: JsonObject = {name: _long(value) for name, value in arguments if not isinstance(value, str)}
    texts: JsonObject = {name: value if isinstance(value, str) else _digits(value) for name, value in arguments}
    found = [
        _entity(_uid("Anonymous" if request.anonymous else "Agent", request.name), _principal(request)),
        _entity(_place(request), _attributes(request), parents=_parents(request)),
        _entity(_uid("Arguments", "these"), {}, tags=texts),
        _entity(_uid("Numbers", "these"), {}, tags=numbers),
    ]
    if request.service and request.environment is not None:
        found.append(_entity(_uid("Environment", request.environment), {**_attributes(request), "name": request.environment}))
    return found


def _principal(request: Request) -> JsonObject:
    if request.anonymous:
        return {"name": request.name}
    return {
        "name": request.name,
        "owner": request.owner,
        "level": RANKS[request.level],
        "ceiling": RANKS[request.ceiling],
        "ceiling_tier": CEILING_TIERS[request.ceiling],
    }


def _place(request: Request) -> JsonObject:
    if request.environment is None:
        return _uid("Server", "ops-mcp")
    if request.service:
        return _uid("Service", f"{request.environment}/{request.service}")
    return _uid("Environment", request.environment)


def _parents(request: Request) -> list[Json]:
    if request.service and request.environment is not None:
        return [_uid("Environment", request.environment)]
    return []


def _attributes(request: Request) -> JsonObject:
    return {
        "name": request.service or request.environment or "ops-mcp",
        "environment": request.environment or "",
        "tier": TIER_RANKS[request.tier],
        "private": request.private,
        "risk": request.risk.value,
    }


def _time(minute: datetime | None) -> JsonObject:
    if minute is None:
        return {"date": "", "hour": 0, "minute": 0, "weekday": 0}
    return {
        "date": minute.strftime("%Y-%m-%d"),
        "hour": minute.hour,
        "minute": minute.minute,
        "weekday": minute.isoweekday(),
    }


def _uid(kind: str, name: str) -> JsonObject:
    return {"type": kind, "id": name}


def _entity(
    uid: JsonObject, attributes: JsonObject, *, parents: list[Json] | None = None, tags: JsonObject | None = None
) -> JsonObject:
    return {"uid": uid, "attrs": attributes, "parents": parents or [], "tags": tags or {}}


def _long(number: float) -> int:
    """A number as Cedar has them: one between two is the lower, so that no fraction slips past a policy that bounds it."""
    return floor(max(-_LARGEST_LONG, min(number, _LARGEST_LONG)))


def _digits(number: float) -> str:
    """As JSON writes it."""
    return str(int(number)) if abs(number) < _LARGEST_LONG and number == int(number) else repr(number)


def _flatten(name: str, value: Json, found: list[tuple[str, str | int | float]]) -> bool:
    """Append the leaves below `name`; False as soon as they are too many or too long."""
    match value:
        case dict():
            return all(_flatten(f"{name}.{key}" if name else key, item, found) for key, item in value.items())
        case list():
            return all(_flatten(f"{name}.{index}", item, found) for index, item in enumerate(value))
        case None:
            return True
        case _:
            leaf = _leaf(value)
    if len(found) >= MOST_ARGUMENTS or len(name) > LONGEST_ARGUMENT or len(str(leaf)) > LONGEST_ARGUMENT:
        return False
    found.append((name, leaf))
    return True


def _leaf(value: str | float) -> str | int | float:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
