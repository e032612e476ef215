"""The policy: the shipped matrix and the operator's files, parsed, validated and asked. Reads no files; the caller reloads."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

import cedarpy

from ops_mcp.domain.calls import Answer, Call
from ops_mcp.domain.identity import Caller, Effect
from ops_mcp.domain.places import Environment
from ops_mcp.governance.history import History
from ops_mcp.governance.requests import Request, cedar_entities, cedar_request, look, request_of
from ops_mcp.values import Json, JsonObject, Value, digest

MATRIX_FILE = "matrix.cedar"
_REMEMBERED = 8192


class Action(NamedTuple):
    """A tool as policies name it."""

    tool: str
    effect: Effect
    toolset: str


class PolicyProblem(Value):
    """Why policies cannot be used; the ones loaded before stay in force."""

    file: str
    message: str
    hint: str = "See the policies page of the documentation; `ops-mcp policy show` prints what policies can see."


class PolicyNote(Value):
    """One policy as `policy show` and `policy explain` print it."""

    id: str
    file: str
    effect: Literal["permit", "forbid"]
    asks: bool
    text: str


class Ruling(NamedTuple):
    """What policies say and which of them decided. No policy and `deny` means that nothing permitted it."""

    answer: Answer
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """Parsed and validated policies. `digest` names exactly this set of texts and tools; it goes into each record.

    `trouble` is set where no policy could be read and nothing may run.
    """

    digest: str
    notes: tuple[PolicyNote, ...]
    actions: Mapping[str, Action]
    sees_arguments: bool
    sees_time: bool
    judge: Callable[[Request], Ruling] = field(repr=False)
    trouble: str = ""

    def rule(self, call: Call, history: History) -> Ruling:
        """The ruling on a call. A caller nobody knows is denied."""
        request = request_of(call, history, sees_arguments=self.sees_arguments, sees_time=self.sees_time)
        return self.judge(request) if request is not None else _UNKNOWN_CALLER

    def lets_see(self, caller: Caller, environment: Environment, *, at: datetime, tool: str = "services") -> bool:
        """Whether `caller` may read about `environment` at all; listings leave out what this denies."""
        request = look(caller, environment, tool=tool, at=at)
        if request is None:
            return False
        return self.judge(request if self.sees_time else request._replace(minute=None)).answer is Answer.allow

    def explain(self, ruling: Ruling) -> tuple[PolicyNote, ...]:
        """The policies that decided, with their text."""
        return tuple(note for note in self.notes if note.id in ruling.policies)


def load(matrix: str, schema: str, operator: Mapping[str, str], *, actions: Iterable[Action]) -> Policy | PolicyProblem:
    """Parse and validate. `operator` maps file names to their text; `actions` are all tools there are.

    A tool missing from `actions` is denied to everybody.
    """
    known = {action.tool: action for action in actions}
    whole_schema = schema + "\n" + _declared(known.values())
    texts = {MATRIX_FILE: matrix, **operator}
    if MATRIX_FILE in operator:
        return PolicyProblem(
            file=MATRIX_FILE, message=f"{MATRIX_FILE} is the name of the shipped matrix.", hint="Rename the file."
        )
    rules: dict[str, _Rule] = {}
    for file, text in texts.items():
        parsed = _parse(file, text, whole_schema)
        if isinstance(parsed, PolicyProblem):
            return parsed
        for rule in parsed:
            if rule.note.id in rules:
                return PolicyProblem(
                    file=file, message=f"Two policies have the id {rule.note.id!r}.", hint='Give each policy an own @id("…").'
                )
            rules[rule.note.id] = rule
    seen = _seen([rule.body for rule in rules.values()])
    return Policy(
        digest=digest({"schema": whole_schema, "texts": dict(texts)}),
        notes=tuple(rule.note for rule in rules.values()),
        actions=known,
        sees_arguments=bool(seen & {"arguments", "numbers", _EVERYTHING}),
        sees_time=bool(seen & {"time", _EVERYTHING}),
        judge=lru_cache(maxsize=_REMEMBERED)(_judge(rules, known)),
    )


class _Rule(NamedTuple):
    note: PolicyNote
    body: JsonObject


_STAND_INS = tuple(Action(f"no tool, only {effect.value}", effect, "none") for effect in Effect)
"""Cedar refuses a policy about a group without actions; an installation may well have no tool that records or destroys."""

_UNKNOWN_CALLER = Ruling(Answer.deny, errors=("the caller is not known",))
_EVERYTHING = "*"


def _declared(actions: Iterable[Action]) -> str:
    """The schema's part about tools, and the toolsets they are grouped in."""
    listed = sorted([*actions, *_STAND_INS])
    toolsets = sorted({action.toolset for action in listed})
    lines = [f"action {json.dumps('toolset:' + name)};" for name in toolsets]
    lines += [
        f"action {json.dumps(a.tool)} in [{json.dumps(a.effect.value)}, {json.dumps('toolset:' + a.toolset)}] appliesTo "
        "{ principal: [Agent, Anonymous], resource: [Environment, Service, Server], context: Context };"
        for a in listed
    ]
    return "\n".join(lines)


def _parse(file: str, text: str, schema: str) -> list[_Rule] | PolicyProblem:
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
        checked = cedarpy.validate_policies(text, schema)  # pyright: ignore[reportUnknownMemberType]  cedarpy types a bare `dict`
    except ValueError as error:
        return PolicyProblem(file=file, message=f"It is not valid Cedar: {_first_line(error)}.")
    if parsed["templates"]:
        return PolicyProblem(
            file=file, message="It holds a template, which permits and forbids nothing.", hint="Name the principal."
        )
    if not checked.validation_passed:
        return PolicyProblem(file=file, message=f"It does not fit the schema: {_named(checked)}.")
    rules: list[_Rule] = []
    for number, body in enumerate(parsed["staticPolicies"].values(), start=1):
        annotations = body.get("annotations", {})
        answer = annotations.get("answer")
        if answer is not None and (answer != "ask" or body["effect"] != "forbid"):
            return PolicyProblem(
                file=file, message=f"@answer({json.dumps(answer)}) is not known here.", hint='Only @answer("ask") on a forbid is.'
            )
        note = PolicyNote(
            id=annotations.get("id") or f"{file}#{number}",
            file=file,
            effect=body["effect"],
            asks=answer == "ask",
            text=cedarpy.policies_from_json_str(_policy_set({"policy0": body})),
        )
        rules.append(_Rule(note, body))
    return rules


def _judge(rules: Mapping[str, _Rule], known: Mapping[str, Action]) -> Callable[[Request], Ruling]:
    """Cedar's own decision, with asking on top: asking stands where everything but the asking policies would allow."""
    everything = _parsed({name: rule.body for name, rule in rules.items()})
    without_asking = _parsed({name: rule.body for name, rule in rules.items() if not rule.note.asks})
    tools = [_tool_entity(action) for action in known.values()]

    def judge(request: Request) -> Ruling:
        if request.tool not in known:
            return Ruling(Answer.deny, errors=(f"the policy knows no tool {request.tool!r}",))
        if request.arguments is None:
            return Ruling(Answer.deny, errors=("the arguments are too many or too long for the policies to judge",))
        asked, entities = cedar_request(request), json.dumps([*cedar_entities(request), *tools])
        first = _decision(asked, everything, entities)
        if first.answer is Answer.allow or first.errors:
            return first
        if hard := tuple(name for name in first.policies if not rules[name].note.asks):
            return first._replace(policies=hard)
        rest = _decision(asked, without_asking, entities)
        return first._replace(answer=Answer.ask) if rest.answer is Answer.allow else rest

    return judge


def _decision(request: JsonObject, policies: cedarpy.PolicySet, entities: str) -> Ruling:
    """Allow or deny. Cedar leaves out a policy that fails to evaluate; here any failure denies, for it could be a forbid."""
    result = cedarpy.is_authorized(request, policies, entities)  # pyright: ignore[reportUnknownMemberType]  cedarpy types a bare `dict`
    errors = tuple(sorted(result.diagnostics.errors))
    answer = Answer.allow if result.allowed and not errors else Answer.deny
    return Ruling(answer, tuple(sorted(result.diagnostics.reasons)), errors)


def _tool_entity(action: Action) -> JsonObject:
    groups = (action.effect.value, f"toolset:{action.toolset}")
    parents: list[Json] = [{"type": "Action", "id": group} for group in groups]
    return {"uid": {"type": "Action", "id": action.tool}, "attrs": {}, "parents": parents}


def _parsed(bodies: Mapping[str, JsonObject]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(_policy_set(bodies))


def _policy_set(bodies: Mapping[str, JsonObject]) -> str:
    return json.dumps({"templates": {}, "staticPolicies": dict(bodies), "templateLinks": []})


def _seen(value: Json, *, of_context: bool = False) -> set[str]:
    """The attributes of `context` that a policy reads; `_EVERYTHING` where it uses `context` as a whole."""
    match value:
        case {"Var": "context"}:
            return set() if of_context else {_EVERYTHING}
        case {"left": left, "attr": str(attribute)}:
            mine = {attribute} if left == {"Var": "context"} else set[str]()
            return mine | _seen(left, of_context=True)
        case dict():
            return {name for item in value.values() for name in _seen(item)}
        case list():
            return {name for item in value for name in _seen(item)}
        case _:
            return set()


def _named(checked: cedarpy.ValidationResult) -> str:
    return "; ".join(_first_line(error.error) for error in checked.errors[:3])


def _first_line(error: object) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")[:300]
