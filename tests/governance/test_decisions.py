"""The reviewed table of decisions, cell by cell."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_mcp.domain.calls import Answer
from ops_mcp.domain.identity import Effect, Level, Risk, Tier
from ops_mcp.governance.cases import Case, call_of, history_of, run_cases
from ops_mcp.governance.decide import decide
from tests.governance.world import SHIPPED_POLICY

TABLE = Path(__file__).with_name("decisions.txt")
LETTERS = {
    "y": (Answer.allow, "all"),
    "q": (Answer.ask, "approval"),
    "l": (Answer.ask, "permission"),
    "n": (Answer.deny, "permission"),
}
PLACES = (
    ("sandbox", Tier.sandbox, Risk.full),
    ("staging", Tier.staging, Risk.full),
    ("production", Tier.prod, Risk.low),
    ("production", Tier.prod, Risk.full),
)
TOOLS = {"read": "services", "record": "metrics_record", "change": "deploy", "destroy": "backup_restore"}


def cells() -> Iterator[Case]:
    section: list[str] = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if line.startswith("["):
            section = line.strip("[]").split()
        elif words and not line.startswith("#") and words[0] != "ceiling":
            yield from row(section, words)


def row(section: list[str], words: list[str]) -> Iterator[Case]:
    ceiling, score, *letters = words
    assert len(letters) == len(PLACES), words
    for letter, (name, tier, risk) in zip(letters, PLACES, strict=True):
        answer, rule = LETTERS[letter]
        yield Case(
            name=f"{' '.join(section)}: ceiling {ceiling}, score {score}, {name} {risk}",
            agent="anonymous" if ceiling == "anonymous" else "robin",
            ceiling=Level.sandbox if ceiling == "anonymous" else Level(ceiling),
            score=int(score),
            environment=name,
            tier=tier,
            service="web",
            risk=risk,
            tool=TOOLS.get(section[0], "rollback"),
            alters_runtime="altering" in section,
            recovery=section[0] == "recovery",
            own_work=section[0] == "own_work",
            sample_only=ceiling == "anonymous",
            expect=answer,
            rule=rule,
        )


CELLS = tuple(cells())


@pytest.mark.parametrize("case", CELLS, ids=lambda case: case.name)
def test_every_cell_is_decided_as_the_table_says(case: Case) -> None:
    (result,) = run_cases(SHIPPED_POLICY, [case])

    assert (result.verdict.answer, result.verdict.decisive.rule) == (case.expect, case.rule)


def test_the_table_has_the_ends_of_every_level_under_every_ceiling() -> None:
    changes = {(case.ceiling, case.score) for case in CELLS if case.name.startswith("change altering") and case.agent == "robin"}

    assert {(Level.prod, score) for score in (0, 89, 90, 129, 130, 159, 160, 999)} <= changes
    assert {level for level, _ in changes} == set(Level)
    assert len(CELLS) == len({case.name for case in CELLS})


@pytest.mark.parametrize("case", [case for case in CELLS if case.expect is Answer.deny], ids=lambda case: case.name)
def test_a_refused_cell_costs_an_agent_reputation_and_a_dry_run_of_it_does_not(case: Case) -> None:
    call = call_of(case, SHIPPED_POLICY.actions[case.tool].effect)
    real = decide(call, SHIPPED_POLICY, history_of(case))
    dry = decide(call.evolve(dry_run=True), SHIPPED_POLICY, history_of(case))

    assert (real.decisive.penalty is not None) == (case.agent != "anonymous")
    assert dry.decisive.penalty is None
    assert dry.answer is real.answer


@pytest.mark.parametrize("case", [case for case in CELLS if case.expect is not Answer.allow], ids=lambda case: case.name)
def test_every_refusal_says_what_is_wrong_and_what_to_do(case: Case) -> None:
    (result,) = run_cases(SHIPPED_POLICY, [case])

    problem = result.verdict.decisive.problem
    assert problem is not None
    assert problem.message
    assert problem.hint


@pytest.mark.parametrize("case", [case for case in CELLS if case.expect is not Answer.allow], ids=lambda case: case.name)
def test_no_refusal_names_an_environment_that_the_caller_may_not_see(case: Case) -> None:
    (result,) = run_cases(SHIPPED_POLICY, [case])
    call = call_of(case, Effect.read)
    assert call.environment is not None

    if not SHIPPED_POLICY.lets_see(history_of(case).caller, call.environment, at=case.at):
        assert call.environment.name not in str(result.verdict.decisive.problem)
