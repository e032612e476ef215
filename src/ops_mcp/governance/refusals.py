"""What a refusal says: what was wrong, what is valid, who can grant it and when it may work. Decides nothing."""

from ops_mcp.domain.calls import Approval, Call
from ops_mcp.domain.identity import Agent, Anonymous, Caller, Level, Risk, System, Tier, Unknown
from ops_mcp.domain.places import Environment
from ops_mcp.errors import Code, Problem
from ops_mcp.governance.budgets import EVERYONE, Excess
from ops_mcp.governance.history import GuardLevel, History, Loaded, RateState
from ops_mcp.governance.policy import Ruling
from ops_mcp.governance.rates import seconds_until_next
from ops_mcp.governance.reputation import RANKS, level_in_force, missing_for_next
from ops_mcp.governance.requests import CEILING_TIERS, TIER_RANKS
from ops_mcp.values import Json

GUARD_RETRY_SECONDS = 20.0
"""Within the minute for which a reading counts, so that an agent that tries again is itself what sees the load drop."""

_CURRENCIES = {"calls": "calls", "tokens": "tokens", "usd_micros": "micro-dollars"}


def unknown_caller(caller: Unknown) -> Problem:
    return Problem(
        code=Code.unauthenticated,
        message=f"The token is not accepted: {caller.why}.",
        hint="Ask an operator for a new one (`ops-mcp agent add NAME` or `ops-mcp agent rotate NAME`) and set it as "
        "OPS_MCP_TOKEN or the bearer header. Without any token a local caller works as `anonymous` in the sandbox.",
    )


def revoked(agent: Agent) -> Problem:
    return Problem(
        code=Code.unauthenticated,
        message=f"The agent {agent.name} was revoked.",
        hint=f"Its owner, {agent.owner}, can register a new agent: `ops-mcp agent add NAME`.",
    )


def killed(agent: Agent | None) -> Problem:
    who = "Every caller" if agent is None else f"The agent {agent.name}"
    by = "An operator" if agent is None else f"{agent.owner}, its owner, or another operator"
    return Problem(
        code=Code.not_permitted,
        message=f"{who} is stopped by the kill switch.",
        hint=f"Stop working and tell a person. {by} can lift it; trying again before that cannot succeed.",
    )


def frozen(call: Call, history: History) -> Problem:
    """Where and why is told only to callers who may see the environment."""
    freeze, place, agent = history.freeze, call.environment, _principal(history.caller)
    if freeze is None or place is None or not (isinstance(agent, Agent) and _may_hear_of(place, agent)):
        return Problem(code=Code.frozen, message="Changes are frozen there.", hint="An operator can lift the freeze.")
    lift = "ops-mcp unfreeze" + (f" --environment {freeze.environment}" if freeze.environment else "")
    return Problem(
        code=Code.frozen,
        message=f"Changes to what runs in {place.name} are frozen since {freeze.since:%Y-%m-%d %H:%M} UTC by {freeze.by}: "
        f"{freeze.reason}",
        hint=f"Reads still work. An operator lifts the freeze with `{lift}`; trying again before that cannot succeed.",
    )


def not_permitted(call: Call, caller: Caller, ruling: Ruling) -> Problem:
    """The policies' refusal. An environment is named only to callers who may see it."""
    if ruling.errors:
        return Problem(
            code=Code.not_permitted,
            message=f"The policies could not judge this call: {ruling.errors[0][:300]}.",
            hint="An operator finds the cause with `ops-mcp policy explain`; until then the call is refused.",
        )
    match _principal(caller):
        case Anonymous():
            return Problem(
                code=Code.not_permitted, message="Callers without a token reach sandbox environments only.", hint=_ANONYMOUS_HINT
            )
        case Agent() as agent:
            return _agent_not_permitted(call, agent, ruling)
        case None:
            return Problem(code=Code.not_permitted, message="The caller is not known.")


def cannot_be_asked(call: Call) -> Problem:
    return Problem(
        code=Code.not_permitted,
        message=f"A policy wants a person's approval for {call.tool} here, and this kind of tool cannot be approved.",
        hint="An operator can see which policy it is with `ops-mcp policy explain` and permit the call.",
    )


def sample_only() -> Problem:
    return Problem(
        code=Code.not_permitted,
        message="Callers without a token may change nothing but the shipped sample service.",
        hint=_ANONYMOUS_HINT,
    )


def guard_blocked(load: Loaded) -> Problem:
    since = f" since {load.since:%Y-%m-%d %H:%M:%S} UTC" if load.since else ""
    what = load.measure or "load"
    why = (
        f"the {what} of the host where the service runs is not known{since}"
        if load.level is GuardLevel.unknown or load.percent is None
        else f"the host where the service runs is at load level {load.level.value.upper()}{since}: {what} at {load.percent:.1f} %"
    )
    return Problem(
        code=Code.guard_blocked,
        message=f"Changes wait because {why}.",
        hint="Try again when the load has dropped below CRITICAL and stayed there for a minute; `whoami` shows it. Going back to "
        "the last healthy release while the current one is failing is not held up by this.",
        retryable=True,
        retry_after_seconds=GUARD_RETRY_SECONDS,
        details=_load_details(load),
    )


def guard_crowded(load: Loaded, most: int) -> Problem:
    return Problem(
        code=Code.guard_blocked,
        message=f"{load.in_flight} changes are in flight on the host where the service runs; at load level "
        f"{load.level.value.upper()} it takes {most} at once.",
        hint="Try again when some of them have ended; `deployments` shows them.",
        retryable=True,
        retry_after_seconds=10.0,
        details={**_load_details(load), "in_flight": load.in_flight, "limit": most},
    )


def rate_limited(call: Call, state: RateState) -> Problem:
    return Problem(
        code=Code.rate_limited,
        message=f"More than {state.per_minute:g} calls a minute with effect {call.effect.value} (bursts of {state.burst}).",
        hint="Wait as long as `retry_after_seconds` says, then go on more slowly.",
        retryable=True,
        retry_after_seconds=seconds_until_next(state),
    )


def over_budget(found: Excess, caller: Caller, history: History) -> Problem:
    window, currency = found.window, _CURRENCIES[found.currency]
    whose = "everybody together" if window.scope == EVERYONE else f"{caller.name} ({window.scope.split(':', 1)[-1]})"
    agent = _principal(caller)
    grantor = f"{agent.owner}, its owner," if isinstance(agent, Agent) and window.scope != EVERYONE else "An operator"
    when = (
        f"The window resets at {window.resets_at:%Y-%m-%dT%H:%MZ}."
        if found.can_ever_fit
        else "This one call is larger than the whole limit, so waiting does not help."
    )
    return Problem(
        code=Code.over_budget,
        message=f"Over the {window.span}'s budget of {whose}: the limit is {found.limit} {currency}, "
        f"{found.remaining} remain, the call may need {found.wanted}.",
        hint=f"{when} {grantor} can raise the limit or reset the counter (`ops-mcp budget`). `whoami` shows what is left.",
        retryable=found.can_ever_fit,
        retry_after_seconds=max(0.0, (window.resets_at - history.at).total_seconds()) if found.can_ever_fit else None,
        details={
            "scope": window.scope if window.scope == EVERYONE else "own",
            "window": window.span,
            "currency": found.currency,
            "limit": found.limit,
            "remaining": found.remaining,
            "wanted": found.wanted,
            "resets_at": f"{window.resets_at:%Y-%m-%dT%H:%M:%SZ}",
        },
    )


def above_level(call: Call, caller: Caller, ruling: Ruling) -> Problem:
    agent = _principal(caller)
    if not isinstance(agent, Agent) or "above-level" not in ruling.policies:
        return needs_approval(call, f"a policy ({', '.join(ruling.policies)}) wants a person to decide")
    level, missing = level_in_force(agent), missing_for_next(agent)
    more = f"; {missing} points are missing for the next level" if missing else ""
    return needs_approval(call, f"{agent.name} has earned the level {level.value} so far{more}")


def needs_approval(call: Call, why: str) -> Problem:
    return Problem(
        code=Code.needs_approval,
        message=f"A person must approve this {call.tool}: {why}.",
        hint="The plan is stored with an approval id once the call is made without dry_run. An operator answers with "
        "`ops-mcp approve ID`; `approval` waits for the answer. Then repeat the same call unchanged.",
    )


def waiting_for(problem: Problem, approval: Approval) -> Problem:
    """The same refusal once the request is stored: its id, and until when somebody can answer."""
    until = approval.answer_by.strftime("%H:%M:%S UTC")
    return problem.evolve(
        hint=f"An operator answers with `ops-mcp approve {approval.id}` until {until}; `approval` waits for the answer. "
        "Then repeat the same call unchanged.",
        details={**problem.details, "approval": approval.id, "plan": approval.plan_digest, "state": approval.state.value},
    )


def _load_details(load: Loaded) -> dict[str, Json]:
    """Only what is known: a host that was never read has neither a time nor a percentage."""
    said: dict[str, Json] = {"level": load.level.value}
    if load.since is not None:
        said["since"] = f"{load.since:%Y-%m-%dT%H:%M:%SZ}"
    if load.measure:
        said["measure"] = load.measure
    if load.percent is not None:
        said["percent"] = round(load.percent, 1)
    return said


_ANONYMOUS_HINT = (
    "Ask an operator for an identity (`ops-mcp agent add NAME --owner OPERATOR`) and set its token as OPS_MCP_TOKEN."
)


def _principal(caller: Caller) -> Agent | Anonymous | None:
    match caller:
        case System(agent=agent):
            return agent
        case Agent() | Anonymous():
            return caller
        case Unknown():
            return None


def _agent_not_permitted(call: Call, agent: Agent, ruling: Ruling) -> Problem:
    needed = _needed_level(call)
    if RANKS[agent.ceiling] < RANKS[needed] and (not ruling.policies or set(ruling.policies) & _CEILING_POLICIES):
        where = f" in {call.environment.name}" if call.environment and _may_hear_of(call.environment, agent) else " there"
        return Problem(
            code=Code.not_permitted,
            message=f"{agent.name} may not use {call.tool}{where}: the ceiling {agent.ceiling.value} is below {needed.value}.",
            hint=f"{agent.owner}, its owner, can raise it: `ops-mcp agent set {agent.name} --tier {needed.value}`.",
        )
    if not ruling.policies:
        return Problem(
            code=Code.not_permitted,
            message=f"No policy permits {agent.name} to use {call.tool} there.",
            hint=f"{agent.owner}, its owner, can add one; `ops-mcp policy explain` shows what decided.",
        )
    return Problem(
        code=Code.not_permitted,
        message=f"A policy forbids it: {', '.join(ruling.policies)}.",
        hint=f"{agent.owner}, its owner, can say why; `ops-mcp policy explain` shows the policy.",
    )


_CEILING_POLICIES = {"above-ceiling", "record-above-ceiling"}


def _needed_level(call: Call) -> Level:
    tier = call.environment.tier if call.environment else Tier.sandbox
    if tier is not Tier.prod:
        return Level(tier.value)
    low = call.effect.value in ("read", "record") or (call.binding is not None and call.binding.risk is Risk.low)
    return Level.prod_low if low else Level.prod


def _may_hear_of(environment: Environment, agent: Agent) -> bool:
    return not environment.private or CEILING_TIERS[agent.ceiling] >= TIER_RANKS[environment.tier]
