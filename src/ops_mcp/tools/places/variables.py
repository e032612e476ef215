"""A service's variables where its place keeps them: told by name and fingerprint, set to a plain value or to a secret by name."""

from datetime import datetime

from pydantic import Field, FieldSerializationInfo, field_serializer

from ops_mcp.answers import ChangeResult, count_that_fits, planned, watched
from ops_mcp.deploying.place_plans import variable_plan
from ops_mcp.domain.observations import Variable
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Plan, SetVariable
from ops_mcp.errors import InvalidArguments, NotConfigured, Unsupported
from ops_mcp.governance.redaction import plain
from ops_mcp.ports import Ops, Provider, Variables
from ops_mcp.targets import PlaceArgs, asked_by, bound, place_of
from ops_mcp.tool import Args, EnvironmentArg, Result, ServiceArg, Target, change, read
from ops_mcp.tools.places.plainness import LONGEST_PLAIN, why_secret
from ops_mcp.values import JsonObject

MOST_SHOWN, REPLY_TOKENS = 200, 12_000
HIDDEN = "[REDACTED:opaque:00000000]"


class VariablesArgs(Args):
    service: ServiceArg
    environment: EnvironmentArg

    def target(self) -> Target:
        return Target(environment=self.environment, service=self.service)


class VariableView(Result):
    """One variable. Equal values have equal fingerprints; none where the place does not tell the value, and `note` says why."""

    name: str
    fingerprint: str | None = None
    note: str = ""
    changed_at: datetime | None = None


class VariablesResult(Result):
    variables: list[VariableView]
    cut: bool = False


@read(toolset="places", title="List variables", reply_tokens=REPLY_TOKENS, open_world=True)
async def variables(args: VariablesArgs, ops: Ops) -> VariablesResult:
    """A service's variables at its place: names, and a fingerprint of each value to compare by. Never values."""
    binding, provider = bound(args.service, args.environment, ops)
    found = sorted(await _keeper(binding, provider).variables(binding), key=lambda v: v.name)
    shown = [_view(variable, ops) for variable in found[:MOST_SHOWN]]
    fits = count_that_fits(shown, REPLY_TOKENS)
    return VariablesResult(variables=shown[:fits], cut=fits < len(found))


class VariableSetArgs(PlaceArgs):
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
    # Its length is checked by hand: a refused call is recorded with its arguments, and this one must then be hidden.
    value: str | None = Field(default=None, description="Nothing secret", json_schema_extra={"maxLength": LONGEST_PLAIN})
    secret_name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$", description="Instead: one of the service's secrets"
    )
    redeploy: bool = Field(default=False, description="Release what serves anew, to take effect now")

    @classmethod
    def recordable(cls, arguments: JsonObject) -> JsonObject:
        """A call that is refused for another argument is recorded, and its value may be what should not be there, under a name
        that is none of ours as well."""
        told = set(cls.model_fields) - {"value", "secret_name"}
        return {name: said if name in told else HIDDEN for name, said in arguments.items()}

    @field_serializer("value", "secret_name")
    def _recordable(self, said: str | None, info: FieldSerializationInfo) -> str | None:
        """What records and plans may show of it; whatever differs from what was said is refused."""
        if said is None:
            return None
        return HIDDEN if why_secret(self.name if info.field_name == "value" else "", said) else said


@change(
    toolset="places", title="Set a variable", reply_tokens=1500, result=ChangeResult, finish=watched, planned=planned,
    alters_runtime=True,
)  # fmt: skip
async def variable_set(args: VariableSetArgs, ops: Ops) -> Plan:
    """Set a service's variable at its place, for the next release unless `redeploy`. The old value cannot be put back."""
    binding, provider = bound(args.service, args.environment, ops)
    _keeper(binding, provider)
    _refuse_secret(args, ops)
    _refuse_foreign_secret(args, binding)
    wanted = SetVariable(name=args.name, value=args.value, secret=args.secret_name, redeploy=args.redeploy)
    return variable_plan(asked_by(args, ops), wanted=wanted, binding=binding, place=await place_of(binding, ops))


def _keeper(binding: Binding, provider: Provider) -> Variables:
    if not isinstance(provider, Variables):
        raise Unsupported(
            f"{binding.provider} keeps no variables of its own.",
            hint="They are `env` and `secrets` of the binding, which an operator changes; the next deploy takes them up.",
        )
    return provider


def _view(variable: Variable, ops: Ops) -> VariableView:
    return VariableView(
        name=plain(variable.name, 128),
        fingerprint=ops.fingerprint(variable.value) if variable.value is not None else None,
        note=plain(variable.note, 120),
        changed_at=variable.changed_at,
    )


def _refuse_secret(args: VariableSetArgs, ops: Ops) -> None:
    """What came in must be what is recorded: redaction, or our own look at it, would otherwise have changed it."""
    if (args.value is None) == (args.secret_name is None):
        raise InvalidArguments(
            "variable_set takes either value or secret_name.",
            hint="A plain value as value; a secret by the name that an operator stored it under.",
            details={"fields": ["value", "secret_name"]},
        )
    if ops.call.arguments.get("name") != args.name:
        raise InvalidArguments(
            "name is not taken, because it looks like a key or token.", hint="Use a plain name.", details={"fields": ["name"]}
        )
    for field, said in (("value", args.value), ("secret_name", args.secret_name)):
        if said is not None and ops.call.arguments.get(field) != said:
            why = why_secret(args.name if field == "value" else "", said) or "it looks like a key or token"
            raise InvalidArguments(
                f"{field} is not taken, because {why}.",
                hint="An operator stores it with `ops-mcp secret set NAME` and names it among the service's secrets;"
                " then set secret_name to that NAME.",
                details={"fields": [field]},
            )


def _refuse_foreign_secret(args: VariableSetArgs, binding: Binding) -> None:
    """Which secrets a service may have is the operator's to say, and as which variable: whoever sets one here lets the service's
    code read it, and under another name it may end where everybody does, such as in what a build shows to browsers."""
    given = sorted(variable for variable, name in binding.secrets.items() if name == args.secret_name)
    if args.secret_name is None or args.name in given:
        return
    has = f"that secret only as {', '.join(given)}" if given else "no secret of this name"
    raise NotConfigured(
        f"{binding.service} in {binding.environment} has {has}.",
        hint=f"Its secrets are {', '.join(sorted(set(binding.secrets.values()))) or 'none'}. An operator adds one:"
        f" `ops-mcp secret set NAME`, then VARIABLE = NAME under [{binding.environment}.secrets] in"
        f" services/{binding.service}.toml.",
    )
