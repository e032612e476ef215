"""What operators' policies can say, how they join the matrix, and what is refused at load."""

from datetime import UTC, datetime

import pytest

from ops_mcp.domain.calls import Answer, Call
from ops_mcp.domain.identity import Anonymous, Effect, Level, System, Tier, Unknown
from ops_mcp.errors import InvalidArguments
from ops_mcp.governance.cases import Case, parse_cases, run_cases
from ops_mcp.governance.history import History
from ops_mcp.governance.policy import Policy, Ruling
from tests.governance.world import NOON, SHIPPED_POLICY, agent, call, environment, history, policy_with, problem_with

NIGHT = datetime(2026, 11, 21, 2, 10, tzinfo=UTC)


def rule(policy: Policy, asked: Call, known: History | None = None) -> Ruling:
    return policy.rule(asked, known or history())


def test_the_ruling_names_the_policies_that_decided() -> None:
    assert rule(SHIPPED_POLICY, call()) == Ruling(Answer.allow, ("change-within-ceiling",))
    new = history(caller=agent(Level.staging, 0))
    assert rule(SHIPPED_POLICY, call(), new) == Ruling(Answer.ask, ("above-level",))
    assert rule(SHIPPED_POLICY, call(tier=Tier.prod), new) == Ruling(Answer.deny, ("above-ceiling",))
    assert rule(SHIPPED_POLICY, call("services", Tier.prod), new) == Ruling(Answer.deny, ())


def test_a_tool_that_the_policy_was_not_told_about_is_denied() -> None:
    assert rule(SHIPPED_POLICY, call().model_copy(update={"tool": "shell"})).answer is Answer.deny


def test_an_operators_forbid_wins_over_the_matrix() -> None:
    policy = policy_with(ours='@id("no-web") forbid (principal, action in Action::"change", resource == Service::"staging/web");')

    assert rule(policy, call()) == Ruling(Answer.deny, ("no-web",))
    assert rule(policy, call(tier=Tier.sandbox)).answer is Answer.allow


def test_an_operators_permit_grants_a_private_read_to_one_agent_and_no_change() -> None:
    policy = policy_with(grant='permit (principal == Agent::"robin", action in Action::"read", resource in Environment::"prod");')
    low = history(caller=agent(Level.sandbox))

    assert rule(policy, call("services", Tier.prod), low) == Ruling(Answer.allow, ("grant.cedar#1",))
    assert rule(policy, call(tier=Tier.prod), low).answer is Answer.deny
    assert rule(policy, call("services", Tier.prod), history(caller=agent(Level.sandbox, name="eve"))).answer is Answer.deny
    assert policy.lets_see(agent(Level.sandbox), environment(Tier.prod), at=NOON)


def test_no_permit_lifts_the_ceiling_or_lets_anonymous_out_of_the_sandbox() -> None:
    policy = policy_with(generous="permit (principal, action, resource);")

    assert rule(policy, call(tier=Tier.prod), history(caller=agent(Level.staging))).answer is Answer.deny
    assert rule(policy, call("services", Tier.staging), history(caller=Anonymous())).answer is Answer.deny


def test_asking_never_loosens_what_would_be_denied_without_it() -> None:
    policy = policy_with(ask='@id("ask") @answer("ask") forbid (principal, action, resource);')

    assert rule(policy, call("services", Tier.prod), history(caller=agent(Level.sandbox))).answer is Answer.deny
    assert rule(policy, call()) == Ruling(Answer.ask, ("ask",))
    both = policy_with(
        ask='@answer("ask") forbid (principal, action, resource);', no='@id("no") forbid (principal, action, resource);'
    )
    assert rule(both, call()) == Ruling(Answer.deny, ("no",))


def test_policies_see_arguments_nested_ones_and_numbers() -> None:
    policy = policy_with(
        refs="""
        @id("refs") forbid (principal, action == Action::"deploy", resource)
        unless { context.arguments.hasTag("ref") && context.arguments.getTag("ref") like "release/*" };
        @id("many") forbid (principal, action == Action::"deploy", resource)
        when { context.numbers.hasTag("scale.to") && context.numbers.getTag("scale.to") > 3 };"""
    )

    assert rule(policy, call(arguments={"ref": "release/1"})).answer is Answer.allow
    assert rule(policy, call(arguments={"ref": "main"})).policies == ("refs",)
    assert rule(policy, call(arguments={"ref": "release/1", "scale": {"to": 4}})).policies == ("many",)
    assert rule(policy, call(arguments={"ref": "release/1", "scale": {"to": 3}})).answer is Answer.allow


@pytest.mark.parametrize("arguments", [{"a": "x" * 5000}, {"a": [1] * 200}, {"a" * 5000: 1}])
def test_arguments_too_large_to_be_shown_whole_are_denied_where_a_policy_reads_them(arguments: dict[str, object]) -> None:
    policy = policy_with(refs='forbid (principal, action, resource) when { context.arguments.hasTag("ref") };')

    assert rule(policy, call(arguments=arguments)).answer is Answer.deny
    assert rule(SHIPPED_POLICY, call(arguments=arguments)).answer is Answer.allow


def test_policies_see_the_time_in_utc() -> None:
    policy = policy_with(
        night='@id("night") forbid (principal, action in Action::"change", resource) when { context.time.hour < 6 };',
        weekend='@id("weekend") forbid (principal, action in Action::"change", resource) when { context.time.weekday > 5 };',
    )

    assert rule(policy, call()).answer is Answer.allow
    assert rule(policy, call(at=NIGHT)).policies == ("night", "weekend")


def test_policies_see_toolsets_effects_owners_and_what_the_worker_does() -> None:
    policy = policy_with(
        alerts='@id("alerts") forbid (principal, action in Action::"toolset:alerts", resource);',
        worker='@id("worker") forbid (principal == Agent::"robin", action, resource) when { context.operation == "heal" };',
        owner='@id("owner") forbid (principal is Agent, action, resource) when { principal.owner == "mallory" };',
    )

    assert rule(policy, call("alert_rule_set")).policies == ("alerts",)
    assert rule(policy, call(), history(caller=System(operation="heal", agent=agent()))).policies == ("worker",)
    assert rule(policy, call(), history(caller=agent(owner="mallory"))).policies == ("owner",)
    assert rule(policy, call()).answer is Answer.allow


@pytest.mark.parametrize(
    ("text", "arguments", "time"),
    [
        ("forbid (principal, action, resource) when { context.dry_run };", False, False),
        (
            '// context.arguments and context.time are only spoken of\nforbid (principal == Agent::"x", action, resource);',
            False,
            False,
        ),
        ('forbid (principal, action, resource) when { context.arguments.hasTag("x") };', True, False),
        ('forbid (principal, action, resource) when { context.numbers.hasTag("x") };', True, False),
        ("forbid (principal, action, resource) when { context has time };", False, True),
        ('forbid (principal, action, resource) when { context["time"].hour == 1 };', False, True),
        ("forbid (principal, action, resource) when { context == context };", True, True),
        ("forbid (principal, action, resource) when { [context].contains(context) };", True, True),
    ],
)
def test_only_what_some_policy_reads_separates_remembered_rulings(text: str, *, arguments: bool, time: bool) -> None:
    policy = policy_with(ours=text)

    assert (policy.sees_arguments, policy.sees_time) == (arguments, time)


def test_a_remembered_ruling_is_never_given_to_a_different_question() -> None:
    policy = policy_with(
        ours='forbid (principal, action, resource) when { context.arguments.hasTag("ref") && context.time.hour < 6 };'
    )
    questions = [
        (call(tool, tier, arguments=arguments, at=at), history(caller=who))
        for tool in ("deploy", "services")
        for tier in Tier
        for arguments in ({}, {"ref": "x"})
        for at in (NOON, NIGHT)
        for who in (agent(), agent(Level.staging), agent(Level.prod, 0), Anonymous())
    ]
    fresh = policy_with(
        ours='forbid (principal, action, resource) when { context.arguments.hasTag("ref") && context.time.hour < 6 };'
    )

    first = [policy.rule(*question) for question in questions]
    assert [fresh.rule(*question) for question in reversed(questions)][::-1] == first
    assert [policy.rule(*question) for question in questions] == first
    assert len(set(first)) > 3


def test_a_policy_that_fails_to_evaluate_denies() -> None:
    policy = policy_with(
        ours="forbid (principal, action, resource) when "
        '{ context.numbers.hasTag("n") && context.numbers.getTag("n") * 4000000000000 > 1 };'
    )

    ruling = rule(policy, call(arguments={"n": 2**52}))
    assert ruling.answer is Answer.deny
    assert ruling.errors


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("forbid (principal, action, resource", "not valid Cedar"),
        ('forbid (principal, action == Action::"deploi", resource);', "does not fit the schema"),
        ("forbid (principal, action, resource) when { principal.rank > 1 };", "does not fit the schema"),
        ("forbid (principal == ?principal, action, resource);", "template"),
        ('@answer("ask") permit (principal, action, resource);', "@answer"),
        ('@answer("maybe") forbid (principal, action, resource);', "@answer"),
        ('@id("above-ceiling") forbid (principal, action, resource);', "Two policies"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_file_and_reason(text: str, says: str) -> None:
    problem = problem_with(ours=text)

    assert problem.file == "ours.cedar"
    assert says in problem.message
    assert problem.hint


def test_an_operators_file_cannot_replace_the_matrix() -> None:
    assert problem_with(matrix="permit (principal, action, resource);").file == "matrix.cedar"


def test_the_digest_follows_the_texts_and_nothing_else() -> None:
    one = policy_with(ours="forbid (principal, action, resource);")

    assert one.digest == policy_with(ours="forbid (principal, action, resource);").digest
    assert len({one.digest, SHIPPED_POLICY.digest, policy_with(ours="permit (principal, action, resource);").digest}) == 3


def test_explain_shows_the_file_and_text_of_what_decided() -> None:
    policy = policy_with(ours='@id("no-web") @answer("ask") forbid (principal, action, resource == Service::"staging/web");')
    (note,) = policy.explain(rule(policy, call()))

    assert (note.id, note.file, note.effect, note.asks) == ("no-web", "ours.cedar", "forbid", True)
    assert 'Service::"staging/web"' in note.text


def test_who_may_see_an_environment_follows_privacy_and_ceiling() -> None:
    prod = environment(Tier.prod)

    assert SHIPPED_POLICY.lets_see(agent(Level.prod_low, 0), prod, at=NOON)
    assert not SHIPPED_POLICY.lets_see(agent(Level.staging), prod, at=NOON)
    assert SHIPPED_POLICY.lets_see(agent(Level.sandbox), prod.evolve(private=False), at=NOON)
    assert SHIPPED_POLICY.lets_see(Anonymous(), environment(Tier.sandbox), at=NOON)
    assert not SHIPPED_POLICY.lets_see(Anonymous(), environment(Tier.staging), at=NOON)
    assert not SHIPPED_POLICY.lets_see(Unknown(why="wrong"), environment(Tier.sandbox), at=NOON)


def test_cases_are_read_from_toml_and_json_lines_and_report_what_they_got() -> None:
    toml = '[[case]]\ntool = "deploy"\nenvironment = "staging"\ntier = "staging"\nceiling = "staging"\nexpect = "allow"\n'
    lines = '{"tool": "deploy", "environment": "production", "tier": "prod", "ceiling": "staging", "expect": "allow"}\n'
    good, bad = run_cases(SHIPPED_POLICY, parse_cases(toml, toml=True) + parse_cases(lines, toml=False))

    assert good.passed
    assert (bad.number, bad.passed, bad.verdict.answer, bad.policies) == (2, False, Answer.deny, ("above-ceiling",))


@pytest.mark.parametrize("text", ["[[case]]\ntool = 3", "case = 1", "[[case", '[[case]]\ntool = "deploy"\nexpect = "maybe"'])
def test_cases_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        parse_cases(text, toml=True)

    assert refused.value.hint


def test_a_case_of_an_unknown_tool_is_denied() -> None:
    (result,) = run_cases(SHIPPED_POLICY, [Case(tool="shell", expect=Answer.deny)])

    assert result.passed
    assert Effect.destroy not in {SHIPPED_POLICY.actions[name].effect for name in ("deploy", "services")}
