"""`decide`: may this call happen? Pure; a tuple of small rules, each answering with its reason, of which the strictest wins."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ops_mcp.domain.calls import Answer, Approval, ApprovalState, Call, Finding, Penalty, Verdict
from ops_mcp.domain.identity import Agent, Anonymous, Effect, System, Tier, Unknown
from ops_mcp.domain.places import ApprovalRule
from ops_mcp.errors import Problem
from ops_mcp.governance import budgets, rates, refusals
from ops_mcp.governance.history import GuardLevel, History
from ops_mcp.governance.load import CONCURRENCY
from ops_mcp.governance.policy import Policy, Ruling


class Question(NamedTuple):
    """All that a rule may look at."""

    call: Call
    policy: Policy
    history: History


Rule: TypeAlias = Callable[[Question], Finding | None]
"""None is a plain yes. Rules do not know each other; their order only breaks ties."""

ALLOWED = Verdict(answer=Answer.allow, decisive=Finding(rule="all", answer=Answer.allow, reason="every rule allows it"))
"""The one verdict of calls that nothing was found against."""


def decide(call: Call, policy: Policy, history: History) -> Verdict:
    """The verdict on `call`.

    In phase `admit` an `ask` previews what the commit will want and stops nothing; in phase `commit` it stops unless
    `history.approval` answers it. `deny` stops in both. Rate and budget are judged at admit, which takes and reserves.
    """
    question = Question(call, policy, history)
    found = [finding for rule in RULES if (finding := rule(question)) is not None]
    if not found:
        return ALLOWED
    found.sort(key=_strictness, reverse=True)
    return Verdict(answer=found[0].answer, decisive=found[0], findings=tuple(found))


def known_caller(asked: Question) -> Finding | None:
    caller = asked.history.caller
    if isinstance(caller, Unknown):
        return _deny("known_caller", caller.why, refusals.unknown_caller(caller))
    agent = _agent(asked.history)
    if agent is not None and agent.revoked:
        return _deny("known_caller", "the agent is revoked", refusals.revoked(agent))
    return None


def kill_switch(asked: Question) -> Finding | None:
    """Stops everything the agent asks for, reads and recovery too."""
    agent = _agent(asked.history)
    if asked.history.everyone_killed:
        return _deny("kill_switch", "everyone is killed", refusals.killed(None))
    if agent is not None and agent.killed:
        return _deny("kill_switch", "the agent is killed", refusals.killed(agent))
    return None


def freeze(asked: Question) -> Finding | None:
    if asked.history.freeze is None or not _is_held_up(asked.call):
        return None
    return _deny("freeze", asked.history.freeze.reason, refusals.frozen(asked.call, asked.history))


def permission(asked: Question) -> Finding | None:
    """Ceiling, level and the operator's policies: what Cedar says."""
    ruling = asked.policy.rule(asked.call, asked.history)
    if ruling.answer is Answer.allow or isinstance(asked.history.caller, Unknown):
        return None
    if ruling.answer is Answer.ask:
        return _asked_by_policy(asked.call, asked.history, ruling)
    attempted = asked.call.environment is not None or bool(ruling.policies)
    penalty = _penalty(Penalty.forbidden, asked.call, asked.history) if attempted and not ruling.errors else None
    reason = ", ".join(ruling.policies) or (ruling.errors[0] if ruling.errors else "no policy permits it")
    return _deny("permission", reason, refusals.not_permitted(asked.call, asked.history.caller, ruling), penalty)


def anonymous_sample(asked: Question) -> Finding | None:
    """Without a token nothing but the shipped sample may be changed."""
    if not isinstance(asked.history.caller, Anonymous) or asked.call.sample_only or not _changes(asked.call):
        return None
    return _deny("anonymous_sample", "not the shipped sample", refusals.sample_only())


def guard(asked: Question) -> Finding | None:
    """CRITICAL, EMERGENCY and a reading that failed block what alters a runtime; below them only so much may be in flight at
    once, but for what belongs to an incident. WARN is noted."""
    load = asked.history.guard
    most = CONCURRENCY[load.level]
    if most is None or not _is_held_up(asked.call):
        return None
    if load.level not in _PASSING:
        return _deny("guard", f"load level {load.level.value}", refusals.guard_blocked(load))
    if load.in_flight >= most and not load.incident:
        return _deny("guard", f"{load.in_flight} changes in flight of {most}", refusals.guard_crowded(load, most))
    if load.level is GuardLevel.warn:
        return Finding(rule="guard", answer=Answer.allow, reason="the host is at load level WARN")
    return None


def rate(asked: Question) -> Finding | None:
    if asked.history.phase == "commit" or rates.allows(asked.history.rate):
        return None
    return _deny("rate", f"{asked.history.rate.per_minute:g} a minute", refusals.rate_limited(asked.call, asked.history.rate))


def budget(asked: Question) -> Finding | None:
    """Whether the call's ceiling fits every window of its line. Breaking everybody's limit is nobody's overrun."""
    call, history = asked.call, asked.history
    if history.phase == "commit" or _is_always_reachable(call) or budgets.fits(history.windows, call.ceiling):
        return None
    found = budgets.excess(history.windows, call.ceiling)
    if found is None:
        return None
    own = found.window.scope != budgets.EVERYONE
    return _deny(
        "budget",
        f"{found.currency} of the {found.window.span}: {found.remaining} of {found.limit} left, {found.wanted} wanted",
        refusals.over_budget(found, history.caller, history),
        _penalty(Penalty.overrun, call, history) if own else None,
    )


def approval(asked: Question) -> Finding | None:
    """The environment's own rule within the level. `destroy` outside the sandbox asks whatever the environment says."""
    call, place = asked.call, asked.call.environment
    if place is None or not _changes(call) or call.recovery or call.own_work:
        return None
    if call.effect is Effect.destroy and place.tier is not Tier.sandbox:
        why = f"{call.tool} cannot be undone"
    elif call.alters_runtime and place.approval is ApprovalRule.always:
        why = f"changes in {place.name} need one"
    else:
        return None
    if _is_granted(asked.history.approval, call, asked.history):
        return None
    return _ask("approval", why, refusals.needs_approval(call, why))


RULES: tuple[Rule, ...] = (known_caller, kill_switch, freeze, permission, anonymous_sample, guard, rate, budget, approval)
"""In the order that breaks ties."""

_PASSING = frozenset({GuardLevel.info, GuardLevel.warn})
_STRICTNESS = {Answer.allow: 0, Answer.ask: 1, Answer.deny: 2}


def _asked_by_policy(call: Call, history: History, ruling: Ruling) -> Finding | None:
    if not _changes(call):
        return _deny("permission", ", ".join(ruling.policies), refusals.cannot_be_asked(call))
    if call.recovery or call.own_work or _is_granted(history.approval, call, history):
        return None
    return _ask("permission", ", ".join(ruling.policies), refusals.above_level(call, history.caller, ruling))


def _is_granted(approval: Approval | None, call: Call, history: History) -> bool:
    """Whether the grant at hand is this caller's, for this place, and still usable. It only counts at the commit.

    That it is bound to this plan is what `History` promises; the rest is looked at again because it costs nothing.
    """
    agent = _agent(history)
    return (
        history.phase == "commit"
        and approval is not None
        and approval.state is ApprovalState.granted
        and approval.agent == (agent.name if agent else history.caller.name)
        and call.environment is not None
        and approval.environment == call.environment.name
        and approval.service == call.service
        and approval.use_by is not None
        and history.at < approval.use_by
    )


def _agent(history: History) -> Agent | None:
    caller = history.caller
    if isinstance(caller, System):
        return caller.agent
    return caller if isinstance(caller, Agent) else None


def _changes(call: Call) -> bool:
    return call.effect is Effect.change or call.effect is Effect.destroy


def _is_held_up(call: Call) -> bool:
    """Whether freeze and guard apply: what alters a runtime, unless it recovers one or cancels the caller's own work."""
    return call.alters_runtime and _changes(call) and not call.recovery and not call.own_work


def _is_always_reachable(call: Call) -> bool:
    return call.always_reachable and call.effect is Effect.read


def _penalty(kind: Penalty, call: Call, history: History) -> Penalty | None:
    """Dry runs cost nothing, and what the worker tries is not the agent's attempt."""
    return kind if isinstance(history.caller, Agent) and not call.dry_run else None


def _deny(rule: str, reason: str, problem: Problem, penalty: Penalty | None = None) -> Finding:
    return Finding(rule=rule, answer=Answer.deny, reason=reason, problem=problem, penalty=penalty)


def _ask(rule: str, reason: str, problem: Problem) -> Finding:
    return Finding(rule=rule, answer=Answer.ask, reason=reason, problem=problem)


def _strictness(finding: Finding) -> int:
    return _STRICTNESS[finding.answer]
