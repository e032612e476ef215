"""What of our own ledger is told: reviewed tables of what crosses a bound, and of who is told how often."""

from datetime import UTC, datetime, timedelta

import pytest

from ops_mcp.alerting.news import Entry, Known, news
from ops_mcp.values import Json

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def entry(kind: str, number: int = 1, *, minutes: float = 0, caller: str = "ada", code: str = "", **data: Json) -> Entry:
    return Entry(number, kind, AT + timedelta(minutes=minutes), caller=caller, tool="deploy", code=code, data=data)


SCORES = [
    # points  after   told    why
    (-3, 67, True),  # 70 -> 67: it was at 70
    (-8, 62, True),  # 70 -> 62
    (-1, 69, True),  # 70 -> 69: the bound itself is still well
    (-3, 70, False),  # 73 -> 70
    (-3, 60, False),  # 63 -> 60: it was below before
    (2, 71, False),  # 69 -> 71: rising is no alert, and arms it again
    (2, 69, False),  # 67 -> 69
]


@pytest.mark.parametrize(("points", "score", "told"), SCORES)
def test_a_score_is_told_when_it_falls_below_70(points: int, score: int, told: bool):
    found = news([entry("agent.scored", points=points, score=score)], {}).news
    assert [one.severity.value for one in found] == (["medium"] if told else [])


def test_a_score_that_fell_is_told_with_its_last_five_changes_and_again_only_after_it_rose():
    steps = [(-3, 77), (-3, 74), (-3, 71), (-3, 68), (-3, 65), (+10, 75), (-8, 67)]
    entries = [entry("agent.scored", n, minutes=n, points=p, score=s) for n, (p, s) in enumerate(steps, start=1)]
    told = news(entries, {}).news
    assert [one.id for one in told] == ["ledger 4", "ledger 7"]
    assert told[1].text.count("to ") == 5
    assert "-8, to 67" in told[1].text


@pytest.mark.parametrize(("percent", "severity"), [(80, "medium"), (95, "critical")])
def test_a_budget_is_told_at_80_and_as_critical_at_95(percent: int, severity: str):
    (one,) = news(
        [entry("budget.crossed", percent=percent, scope="ada:staging:work", window="2026-11-20", currency="calls")], {}
    ).news
    assert (one.severity.value, one.thread) == (severity, "budget ada:staging:work")
    assert f"{percent} % of the calls of ada:staging:work" in one.text


REFUSED = [
    # minutes of refusals              severities told
    ([0], ["low"]),  # any refusal
    ([0, 1, 2, 3], ["low"]),  # four are not five
    ([0, 1, 2, 3, 4], ["low", "high"]),  # the fifth within ten minutes
    ([0, 1, 2, 3, 9.9], ["low", "high"]),
    ([0, 1, 2, 3, 10], ["low"]),  # the first is ten minutes old: four are left
    ([0, 1, 2, 3, 4, 5, 6, 50], ["low", "high"]),  # once an hour
    ([0, 61], ["low", "low"]),  # and again after it
    ([0, 1, 2, 3, 4, 70, 71, 72, 73, 74], ["low", "high", "low", "high"]),
]


@pytest.mark.parametrize(("minutes", "severities"), REFUSED)
def test_a_refused_agent_is_told_of_once_an_hour_and_once_more_when_it_insists(minutes: list[float], severities: list[str]):
    entries = [entry("call.refused", n, minutes=m, code="not_permitted") for n, m in enumerate(minutes)]
    assert [one.severity.value for one in news(entries, {}).news] == severities


def test_agents_are_counted_apart_and_over_rounds():
    agents: dict[str, Known] = {}
    severities: list[str] = []
    for minute in range(5):
        for caller in ("ada", "bob"):
            one = entry("call.refused", minute, minutes=minute, caller=caller, code="not_permitted")
            told = news([one], agents)
            agents = {name: Known.model_validate_json(known.model_dump_json()) for name, known in told.agents.items()}
            severities += [f"{caller} {found.severity.value}" for found in told.news]
    assert severities == ["ada low", "bob low", "ada high", "bob high"]


def test_a_flood_of_refusals_insists_at_once():
    (one,) = news([entry("call.refused_many", refused=900)], {}).news
    assert one.severity.value == "high"


@pytest.mark.parametrize("code", ["over_budget", "rate_limited", "invalid_arguments", "needs_approval", "frozen"])
def test_other_refusals_are_no_news(code: str):
    assert news([entry("call.refused", code=code)], {}).news == ()


LEVELS = [
    ("info", "warn", None),
    ("warn", "critical", "high"),
    ("critical", "emergency", "critical"),
    ("emergency", "info", "low"),  # it is over
    ("warn", "info", None),
]


@pytest.mark.parametrize(("before", "after", "severity"), LEVELS)
def test_a_hosts_load_is_told_when_it_holds_changes_up_and_when_it_no_longer_does(before: str, after: str, severity: str | None):
    found = news([entry("guard.level", **{"from": before, "to": after, "host": "box"})], {}).news
    assert [one.severity.value for one in found] == ([severity] if severity else [])


def test_what_is_remembered_of_agents_is_bounded():
    entries = [entry("call.refused", n, caller=f"agent-{n}", code="not_permitted") for n in range(2_500)]
    assert len(news(entries, {}).agents) == 1_000
