"""The rules one by one, and what holds for all of them together."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.domain.calls import Answer, Approval, ApprovalId, ApprovalState, BudgetLine, Call, CallId, Cost, Freeze, Penalty
from ops_mcp.domain.identity import Agent, Anonymous, Effect, Level, Risk, System, Tier, Unknown
from ops_mcp.domain.places import ApprovalRule, EnvironmentName, ServiceName
from ops_mcp.errors import Code
from ops_mcp.governance.budgets import Limit, Limits, windows_for
from ops_mcp.governance.decide import ALLOWED, RULES, decide
from ops_mcp.governance.history import GuardLevel, History, Loaded, RateState, Window
from ops_mcp.values import JsonObject
from tests.governance.world import ACTIONS, EFFECTS, NOON, SHIPPED_POLICY, agent, call, environment, history, policy_with

FORGETFUL = replace(SHIPPED_POLICY, judge=SHIPPED_POLICY.judge.__wrapped__)  # type: ignore[attr-defined]  lru_cache keeps what it wraps
FREEZE = Freeze(environment=EnvironmentName("staging"), reason="audit week", by="ann", since=NOON)


def verdict(asked: Call, known: History):
    return decide(asked, SHIPPED_POLICY, known)


def granted(tier: Tier = Tier.prod, **changed: object) -> Approval:
    return Approval(
        id=ApprovalId("apr_1"),
        plan_digest="sha256:1",
        agent="robin",
        environment=EnvironmentName(tier.value),
        service=ServiceName("web"),
        call=CallId("call_0"),
        state=ApprovalState.granted,
        requested_at=NOON,
        answer_by=NOON,
        use_by=NOON + timedelta(minutes=15),
    ).evolve(**changed)


def empty_windows(tier: Tier = Tier.staging) -> tuple[Window, ...]:
    return windows_for("robin", tier, BudgetLine.work, own=Limits(Limit(0)), everyone=Limits(), at=NOON)


def test_a_call_that_no_rule_objects_to_gets_the_one_constant_verdict() -> None:
    assert verdict(call(), history()) is ALLOWED


def test_the_rules_stand_in_the_order_of_the_design() -> None:
    assert [rule.__name__ for rule in RULES] == [
        "known_caller",
        "kill_switch",
        "freeze",
        "permission",
        "anonymous_sample",
        "guard",
        "rate",
        "budget",
        "approval",
    ]


def test_a_credential_that_matches_nobody_is_unauthenticated_and_never_anonymous() -> None:
    said = verdict(call("whoami", None), history(caller=Unknown(why="the token is not known")))

    assert said.answer is Answer.deny
    assert said.code is Code.unauthenticated


def test_a_revoked_agent_is_unauthenticated() -> None:
    assert verdict(call("whoami", None), history(caller=agent(revoked=True))).code is Code.unauthenticated


@pytest.mark.parametrize("asked", [call(tool, tier) for tool in EFFECTS for tier in Tier] + [call("rollback", recovery=True)])
def test_a_killed_agent_gets_nothing_not_even_a_read_or_a_recovery(asked: Call) -> None:
    for known in (history(caller=agent(killed=True)), history(everyone_killed=True)):
        said = verdict(asked, known)
        assert said.answer is Answer.deny
        assert said.decisive.rule == "kill_switch"
        assert said.decisive.penalty is None


def test_a_kill_reaches_calls_made_for_the_agent_and_callers_without_a_token() -> None:
    assert verdict(call(), history(caller=System(operation="jobs", agent=agent(killed=True)))).decisive.rule == "kill_switch"
    assert verdict(call("whoami", None), history(caller=Anonymous(), everyone_killed=True)).decisive.rule == "kill_switch"


def test_a_freeze_stops_what_alters_a_runtime_and_nothing_else() -> None:
    frozen = history(freeze=FREEZE)

    assert verdict(call(), frozen).code is Code.frozen
    assert verdict(call(dry_run=True), frozen).code is Code.frozen
    assert verdict(call("services"), frozen) is ALLOWED
    assert verdict(call("alert_rule_set"), frozen) is ALLOWED
    assert verdict(call("rollback", recovery=True), frozen) is ALLOWED
    assert verdict(call("deployment_cancel", own_work=True), frozen) is ALLOWED


def test_a_freeze_is_not_told_to_who_may_not_see_the_environment() -> None:
    said = verdict(call(tier=Tier.prod), history(freeze=FREEZE, caller=agent(Level.sandbox)))

    assert said.code is Code.frozen
    assert "audit week" not in str(said.decisive.problem)
    assert "prod" not in str(said.decisive.problem)


def test_recovery_is_refused_below_the_environments_tier_and_allowed_at_it() -> None:
    recovery = call("rollback", Tier.prod, recovery=True)

    assert verdict(recovery, history(caller=agent(Level.staging))).decisive.rule == "permission"
    assert verdict(recovery, history(caller=agent(Level.prod_low, 0))) is ALLOWED


def test_recovery_passes_guard_and_approval_but_not_its_own_empty_budget() -> None:
    recovery = call("rollback", Tier.prod, recovery=True)

    assert verdict(recovery, history(guard=Loaded(GuardLevel.emergency), phase="commit")) is ALLOWED
    assert verdict(recovery, history(windows=empty_windows())).code is Code.over_budget


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (GuardLevel.info, None),
        (GuardLevel.not_applicable, None),
        (GuardLevel.warn, Answer.allow),
        (GuardLevel.critical, Answer.deny),
        (GuardLevel.emergency, Answer.deny),
        (GuardLevel.unknown, Answer.deny),
    ],
)
def test_the_guard_blocks_from_critical_and_notes_a_warning(level: GuardLevel, expected: Answer | None) -> None:
    said = verdict(call(), history(guard=Loaded(level)))

    assert [finding.answer for finding in said.findings if finding.rule == "guard"] == ([expected] if expected else [])
    assert said.answer is (Answer.deny if expected is Answer.deny else Answer.allow)
    assert verdict(call("alert_rule_set"), history(guard=Loaded(level))) is ALLOWED


@pytest.mark.parametrize(
    ("level", "in_flight", "incident", "allowed"),
    [
        (GuardLevel.info, 499, False, True),
        (GuardLevel.info, 500, False, False),
        (GuardLevel.info, 500, True, True),
        (GuardLevel.warn, 199, False, True),
        (GuardLevel.warn, 200, False, False),
        (GuardLevel.warn, 200, True, True),
        (GuardLevel.critical, 0, True, False),
        (GuardLevel.emergency, 0, True, False),
        (GuardLevel.not_applicable, 1_000_000, False, True),
    ],
)
def test_only_so_many_changes_are_in_flight_but_for_those_of_an_incident(
    level: GuardLevel, in_flight: int, incident: bool, allowed: bool
) -> None:
    known = history(guard=Loaded(level, in_flight=in_flight, incident=incident))

    assert (verdict(call(), known).answer is Answer.allow) is allowed
    assert verdict(call("rollback", recovery=True), known) is ALLOWED


def test_anonymous_may_change_the_sample_in_the_sandbox_and_nothing_else() -> None:
    nobody = history(caller=Anonymous())

    assert verdict(call(tier=Tier.sandbox, sample_only=True), nobody) is ALLOWED
    assert verdict(call("services", Tier.sandbox), nobody) is ALLOWED
    other = verdict(call(tier=Tier.sandbox), nobody)
    assert other.decisive.rule == "anonymous_sample"
    assert other.decisive.problem is not None
    assert "ops-mcp agent add" in other.decisive.problem.hint
    assert verdict(call(tier=Tier.staging, sample_only=True), nobody).decisive.rule == "permission"
    assert verdict(call("services", Tier.staging), nobody).decisive.rule == "permission"


def test_a_rate_refusal_says_when_to_come_back_and_costs_nothing() -> None:
    said = verdict(call(), history(rate=RateState(0.25, 30.0, 5)))

    assert said.code is Code.rate_limited
    assert said.decisive.problem is not None
    assert said.decisive.problem.retry_after_seconds == 1.5
    assert said.decisive.penalty is None


def test_a_budget_refusal_names_limit_remaining_and_reset_and_costs_ten() -> None:
    known = history()
    spent = tuple(w._replace(calls=100) if w.span == "hour" and w.scope != "everyone" else w for w in known.windows)
    said = verdict(call(), known._replace(windows=spent))

    assert said.code is Code.over_budget
    assert said.decisive.penalty is Penalty.overrun
    assert said.decisive.problem is not None
    assert said.decisive.problem.retryable
    assert said.decisive.problem.retry_after_seconds == 1800
    assert said.decisive.problem.details == {
        "scope": "own",
        "window": "hour",
        "currency": "calls",
        "limit": 100,
        "remaining": 0,
        "wanted": 1,
        "resets_at": "2026-11-20T13:00:00Z",
    }


def test_an_empty_read_budget_leaves_the_reads_about_oneself_reachable_at_the_usual_rate() -> None:
    poor = history(windows=empty_windows())

    assert verdict(call("whoami", None, always_reachable=True), poor) is ALLOWED
    assert (
        verdict(call("whoami", None, always_reachable=True), poor._replace(rate=RateState(0.0, 60.0, 5))).code
        is Code.rate_limited
    )
    assert verdict(call("services"), poor).answer is Answer.deny
    assert verdict(call(always_reachable=True), poor).answer is Answer.deny


def test_everybodys_limit_refuses_without_penalty() -> None:
    windows = windows_for("robin", Tier.staging, BudgetLine.work, own=Limits(), everyone=Limits(Limit(calls=0)), at=NOON)
    said = verdict(call(), history(windows=windows))

    assert said.code is Code.over_budget
    assert said.decisive.penalty is None


def test_what_the_worker_tries_for_an_agent_is_judged_as_the_agent_but_costs_it_nothing() -> None:
    said = verdict(call(tier=Tier.prod), history(caller=System(operation="remediation", agent=agent(Level.staging))))

    assert said.decisive.rule == "permission"
    assert said.decisive.penalty is None


def test_prod_asks_at_admit_as_a_preview_and_at_commit_until_it_is_granted() -> None:
    asked = call(tier=Tier.prod)

    assert verdict(asked, history()).answer is Answer.ask
    assert verdict(asked, history(approval=granted())).answer is Answer.ask
    assert verdict(asked, history(phase="commit")).code is Code.needs_approval
    assert verdict(asked, history(phase="commit", approval=granted())) is ALLOWED


@pytest.mark.parametrize(
    "changed",
    [
        {"agent": "eve"},
        {"environment": "staging"},
        {"service": "api"},
        {"state": ApprovalState.pending},
        {"state": ApprovalState.consumed},
        {"state": ApprovalState.denied},
        {"use_by": NOON},
        {"use_by": None},
    ],
)
def test_a_grant_that_is_not_this_callers_for_this_place_and_time_does_not_count(changed: JsonObject) -> None:
    assert verdict(call(tier=Tier.prod), history(phase="commit", approval=granted(**changed))).answer is Answer.ask


def test_a_grant_answers_both_the_level_and_the_environments_rule() -> None:
    new = history(phase="commit", caller=agent(Level.prod, 0))

    assert [f.rule for f in verdict(call(tier=Tier.prod), new).findings] == ["permission", "approval"]
    assert verdict(call(tier=Tier.prod), new._replace(approval=granted())) is ALLOWED


def test_a_grant_lifts_no_refusal() -> None:
    stopped = history(phase="commit", approval=granted(), guard=Loaded(GuardLevel.critical))

    assert verdict(call(tier=Tier.prod), stopped).answer is Answer.deny
    assert (
        verdict(call(tier=Tier.prod), stopped._replace(guard=Loaded(GuardLevel.info), caller=agent(Level.staging))).answer
        is Answer.deny
    )


def test_an_environment_of_any_tier_may_ask_always_and_prod_may_ask_never() -> None:
    careful = environment(Tier.sandbox, approval=ApprovalRule.always)
    quick = environment(Tier.prod, approval=ApprovalRule.never)

    assert verdict(call(tier=Tier.sandbox).model_copy(update={"environment": careful}), history()).answer is Answer.ask
    assert verdict(call(tier=Tier.prod).model_copy(update={"environment": quick}), history()) is ALLOWED
    destroy = call("backup_restore", Tier.prod).model_copy(update={"environment": quick})
    assert verdict(destroy, history()).decisive.rule == "approval"


def test_rate_and_budget_are_judged_when_they_are_taken_and_not_again_at_the_commit() -> None:
    poor = history(windows=empty_windows(), rate=RateState(0.0, 60.0, 5))

    assert verdict(call(), poor).answer is Answer.deny
    assert verdict(call(), poor._replace(phase="commit")) is ALLOWED


def test_a_policy_that_asks_about_a_read_refuses_it_because_nobody_could_answer() -> None:
    asking = policy_with(ask='@answer("ask") forbid (principal, action == Action::"services", resource);')
    said = decide(call("services"), asking, history())

    assert said.code is Code.not_permitted
    assert said.decisive.penalty is None


def test_the_strictest_finding_decides_and_ties_go_to_the_first_rule() -> None:
    said = verdict(call(tier=Tier.prod), history(caller=agent(Level.staging), freeze=FREEZE, rate=RateState(0.0, 60.0, 5)))

    assert [(f.rule, f.answer.value) for f in said.findings] == [
        ("freeze", "deny"),
        ("permission", "deny"),
        ("rate", "deny"),
        ("approval", "ask"),
    ]


# What holds for every call and history.

tiers, levels, scores = st.sampled_from(Tier), st.sampled_from(Level), st.integers(0, 999)
agents = st.builds(agent, levels, scores, killed=st.booleans(), reputation=st.booleans())
callers = st.one_of(agents, st.just(Anonymous()), st.builds(lambda a: System(operation="jobs", agent=a), agents))
calls = st.builds(
    call,
    st.sampled_from([action.tool for action in ACTIONS]),
    st.none() | tiers,
    risk=st.sampled_from(Risk),
    alters_runtime=st.booleans(),
    recovery=st.booleans(),
    own_work=st.booleans(),
    sample_only=st.booleans(),
    dry_run=st.booleans(),
    always_reachable=st.booleans(),
    ceiling=st.builds(Cost, calls=st.integers(0, 3), tokens=st.integers(0, 50), usd_micros=st.integers(0, 50)),
)
limits = st.none() | st.integers(0, 100)
amounts = st.integers(0, 100)
windows = st.lists(
    st.builds(
        Window, st.sampled_from(["robin:staging:work", "everyone"]), st.just("2026-11-20"), st.sampled_from(["hour", "day"]),
        st.just(NOON + timedelta(hours=1)), limits, limits, limits, amounts, amounts, amounts,
    ),
    max_size=4,
).map(tuple)  # fmt: skip
histories = st.builds(
    History,
    caller=callers,
    at=st.just(NOON),
    phase=st.sampled_from(["admit", "commit"]),
    windows=windows,
    rate=st.builds(RateState, st.floats(0, 5), st.just(60.0), st.just(5)),
    freeze=st.none() | st.just(FREEZE),
    everyone_killed=st.booleans(),
    guard=st.builds(
        Loaded, st.sampled_from(GuardLevel), in_flight=st.sampled_from([0, 600]), percent=st.none() | st.floats(0, 100)
    ),
    approval=st.none() | st.builds(granted, tiers),
)
checked = settings(max_examples=100, deadline=None)


def strictness(asked: Call, known: History) -> int:
    return verdict(asked, known).answer.strictness


@checked
@given(calls, histories)
def test_deciding_twice_says_the_same(asked: Call, known: History) -> None:
    assert verdict(asked, known) == verdict(asked, known) == decide(asked, FORGETFUL, known)


@checked
@given(calls, histories, st.integers(0, 3), amounts)
def test_spending_more_never_loosens(asked: Call, known: History, index: int, more: int) -> None:
    spent = tuple(
        w._replace(calls=w.calls + more, tokens=w.tokens + more, usd_micros=w.usd_micros + more) if i == index else w
        for i, w in enumerate(known.windows)
    )

    assert strictness(asked, known._replace(windows=spent)) >= strictness(asked, known)


@checked
@given(calls, histories, tiers, tiers)
def test_a_worse_tier_never_loosens(asked: Call, known: History, one: Tier, other: Tier) -> None:
    better, worse = sorted((one, other), key=lambda tier: tier.rank)
    low = asked.model_copy(update={"environment": environment(better)})
    high = asked.model_copy(update={"environment": environment(worse)})
    unapproved = known._replace(approval=None)

    assert strictness(high, unapproved) >= strictness(low, unapproved)


@checked
@given(calls, histories, agents, levels, scores)
def test_a_lower_ceiling_or_score_never_loosens(asked: Call, known: History, who: Agent, ceiling: Level, score: int) -> None:
    lower = who.evolve(ceiling=min(who.ceiling, ceiling, key=lambda level: level.rank), score=min(who.score, score))

    assert strictness(asked, known._replace(caller=lower)) >= strictness(asked, known._replace(caller=who))


@checked
@given(calls, histories)
def test_what_is_admitted_fits_every_budget(asked: Call, known: History) -> None:
    free = asked.always_reachable and asked.effect is Effect.read
    if free or known.phase == "commit" or verdict(asked, known).answer is Answer.deny:
        return
    for window in known.windows:
        assert window.calls_limit is None or window.calls + asked.ceiling.calls <= window.calls_limit
        assert window.tokens_limit is None or window.tokens + asked.ceiling.tokens <= window.tokens_limit
        assert window.usd_micros_limit is None or window.usd_micros + asked.ceiling.usd_micros <= window.usd_micros_limit


@checked
@given(calls, histories)
def test_kill_always_denies(asked: Call, known: History) -> None:
    assert verdict(asked, known._replace(everyone_killed=True)).answer is Answer.deny


@checked
@given(calls, histories)
def test_a_dry_run_gets_the_verdict_of_the_real_call_and_never_a_penalty(asked: Call, known: History) -> None:
    real, dry = verdict(asked.evolve(dry_run=False), known), verdict(asked.evolve(dry_run=True), known)

    assert dry.answer is real.answer
    assert dry.decisive.rule == real.decisive.rule
    assert all(finding.penalty is None for finding in dry.findings)


@checked
@given(calls, histories)
def test_every_finding_but_a_yes_carries_a_problem(asked: Call, known: History) -> None:
    said = verdict(asked, known)

    assert all((finding.problem is None) == (finding.answer is Answer.allow) for finding in said.findings)
    assert said.answer is said.decisive.answer
    assert all(said.answer.strictness >= finding.answer.strictness for finding in said.findings)
