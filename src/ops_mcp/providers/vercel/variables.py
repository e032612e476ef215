"""Variables as a project keeps them: told by name, set for one target only. What Vercel encrypts is never decrypted."""

from ops_mcp.domain.observations import Variable
from ops_mcp.domain.releases import SetVariable
from ops_mcp.errors import Conflict, NotConfigured, OpsError, ProviderError, Unsupported
from ops_mcp.ports import ReadSecret
from ops_mcp.providers.vercel import answers
from ops_mcp.providers.vercel.answers import items, moment, number, table, text, words
from ops_mcp.providers.vercel.client import Api
from ops_mcp.providers.vercel.options import PREVIEW, PRODUCTION, Options
from ops_mcp.values import JsonObject, Secret, Value

_PLAIN = "plain"
_UNTOLD = ("sensitive", "encrypted", "secret")


class Scope(Value):
    """Where a variable counts: one of Vercel's own targets, or a custom environment by its id."""

    target: str = ""
    custom: str = ""

    @property
    def fields(self) -> JsonObject:
        return {"customEnvironmentIds": [self.custom]} if self.custom else {"target": [self.target]}


class Kept(Value):
    """A variable as the project keeps it, wherever it counts."""

    name: str
    type: str
    value: str
    targets: tuple[str, ...]
    customs: tuple[str, ...]
    branch: str
    changed: float

    def counts_in(self, scope: Scope) -> bool:
        return scope.custom in self.customs if scope.custom else scope.target in self.targets

    @property
    def places(self) -> tuple[str, ...]:
        return (*self.targets, *self.customs)


async def told(api: Api, options: Options) -> tuple[Variable, ...]:
    """Those of the binding's target. Only plain ones have a value."""
    scope = await _scope(api, options)
    return tuple(_variable(kept) for kept in await _kept(api) if kept.counts_in(scope))


async def put(api: Api, options: Options, wanted: SetVariable, *, secret: ReadSecret) -> None:
    """Set it for the binding's target. A secret is `sensitive`, and so is whatever replaces one that Vercel does not tell."""
    value = _value(wanted, secret)
    scope = await _scope(api, options)
    before = [kept for kept in await _kept(api) if kept.name == wanted.name and kept.counts_in(scope) and not kept.branch]
    for kept in before:
        _refuse_shared(kept, scope)
    hidden = wanted.secret is not None or any(kept.type in _UNTOLD for kept in before)
    body: JsonObject = {
        "key": wanted.name,
        "value": value.get_secret_value(),
        "type": "sensitive" if hidden else _PLAIN,
        **scope.fields,
    }
    _refuse_failed(await api.set_variable(body), wanted.name)


async def _scope(api: Api, options: Options) -> Scope:
    """Vercel has variables for production, preview, development and custom environments; there are none for `staging` alone."""
    if options.target in (PRODUCTION, PREVIEW):
        return Scope(target=options.target)
    environments = (await api.project()).environments
    if found := environments.get(options.target):
        return Scope(custom=found)
    if options.target in environments.values():
        return Scope(custom=options.target)
    raise Unsupported(
        f"Vercel keeps no variables for the target {options.target} of this project.",
        hint="Custom environments have their own: " + (", ".join(sorted(environments)) or "this project has none") + ".",
    )


async def _kept(api: Api) -> list[Kept]:
    body = await api.variables()
    if hidden := number(body, "hiddenProductionEnvCount"):
        raise NotConfigured(
            f"The token of {api.environment} may not see {hidden:.0f} of the project's variables.",
            hint="Give it a role that may read production's variables; what exists must be known before it is told or set.",
        )
    found = items(body.get("envs")) if "envs" in body else [body]
    return [kept for kept in (_read(table(item)) for item in found) if kept.name]


def _read(body: JsonObject) -> Kept:
    target = body.get("target")
    targets = [target] if isinstance(target, str) else items(target)
    return Kept(
        name=text(body, "key"),
        type=text(body, "type"),
        value=text(body, "value"),
        targets=tuple(item for item in targets if isinstance(item, str)),
        customs=tuple(item for item in items(body.get("customEnvironmentIds")) if isinstance(item, str)),
        branch=text(body, "gitBranch"),
        changed=number(body, "updatedAt") or number(body, "createdAt"),
    )


def _variable(kept: Kept) -> Variable:
    where = f"for {', '.join(kept.places)}" + (f", branch {kept.branch}" if kept.branch else "")
    is_told = kept.type == _PLAIN
    note = where if is_told else f"{kept.type or 'unknown'}: its value is not read; {where}"
    value = Secret(kept.value) if is_told else None
    return Variable(name=kept.name, value=value, note=note, changed_at=moment(kept.changed))


def _value(wanted: SetVariable, secret: ReadSecret) -> Secret:
    if wanted.secret is not None:
        return secret(wanted.secret)
    return Secret(wanted.value or "")


def _refuse_shared(kept: Kept, scope: Scope) -> None:
    others = [place for place in kept.places if place not in (scope.target, scope.custom)]
    if others:
        raise Conflict(
            f"{kept.name} is one variable for several targets at Vercel; it would change for {', '.join(others)}, too.",
            hint="Split it at Vercel into one variable for each target, then set this one.",
        )


def _refuse_failed(body: JsonObject, name: str) -> None:
    """A partial failure is answered with 201 as well; its body repeats the value, so only its code is told."""
    failed = items(body.get("failed"))
    if failed:
        raise _failure(answers.code(table(table(failed[0]).get("error")), "code"), name)
    if not items(body.get("created")) and not words(body.get("created")):
        raise ProviderError(
            f"Vercel did not say that {name} was set.", hint="Look at `variables`, then try again.", temporary=True
        )


def _failure(code: str, name: str) -> OpsError:
    said = f" ({code})" if code else ""
    return ProviderError(
        f"Vercel did not set {name}{said}.",
        hint="Look for one of that name for the same target or for a branch at Vercel, remove or split it there, then try again.",
        details={"code": code} if code else {},
    )
