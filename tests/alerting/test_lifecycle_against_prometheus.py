"""The same rules over the same series, here and in Prometheus: every alert in the same state at every evaluation.

`promtool test rules` evaluates as the server does. What we say of each evaluation is written down as what it must find in
`ALERTS` (the state) and in `ALERTS_FOR_STATE` (since when it is active), with nothing left out.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from ops_mcp.alerting.durations import duration_text
from ops_mcp.alerting.labels import Labels, labels_of
from ops_mcp.alerting.lifecycle import NOTHING_YET, Active, AlertState, Change, Transition, evaluate, watch
from ops_mcp.alerting.rules import Rule
from ops_mcp.values import Json
from tests.alerting import promtool
from tests.alerting.promtool import needs_promtool

START = datetime(1970, 1, 1, tzinfo=UTC)  # promtool's own
STEP_SECONDS = 60
EVALUATIONS = 70
SERIES = 60
LOOKBACK_SECONDS = 300
STALE = "stale"
MISSING = "_"

Samples = Sequence[float | str]
"""One a minute: a number, nothing, or the end of the series."""


class Drawn(NamedTuple):
    """A generated series; the label `kind` says what trouble is in it."""

    labels: Labels
    samples: Samples


Answer = Callable[[Sequence[Drawn], int, int], list[tuple[Labels, float]]]
"""What a query answers at a minute: the test's own reading of PromQL. The last argument shortens ranges by so many seconds."""


class Watched(NamedTuple):
    """A rule, and what its query answers."""

    rule: Rule
    answer: Answer


def a_world(seed: int) -> list[Drawn]:
    """Sixty series of `EVALUATIONS` minutes."""
    chance = random.Random(seed)
    kinds = (steady, flapping, gappy, resetting, ending)
    found: list[Drawn] = []
    for i in range(SERIES):
        kind = kinds[i % len(kinds)]
        samples = list(islice(kind(chance), EVALUATIONS))
        found.append(Drawn(labels_of({"i": str(i), "kind": kind.__name__}), samples))
    return found


def steady(chance: random.Random) -> Iterator[float | str]:
    """Long stretches above and below."""
    while True:
        level = chance.choice((2.0, 8.0))
        yield from [level + chance.random()] * chance.randint(3, 25)


def flapping(chance: random.Random) -> Iterator[float | str]:
    """Up and down, minute by minute."""
    while True:
        yield chance.choice((1.0, 9.0))


def gappy(chance: random.Random) -> Iterator[float | str]:
    """Gaps shorter and longer than the five minutes that a sample is good for."""
    while True:
        yield from [chance.choice((3.0, 7.0))] * chance.randint(1, 8)
        yield from [MISSING] * chance.randint(1, 12)


def resetting(chance: random.Random) -> Iterator[float | str]:
    """A counter that begins again now and then."""
    total = 0.0
    while True:
        total = 0.0 if chance.random() < 0.1 else total + chance.randint(0, 3)
        yield total


def ending(chance: random.Random) -> Iterator[float | str]:
    """Ends with a marker, and comes back."""
    while True:
        yield from [chance.choice((4.0, 6.0))] * chance.randint(1, 9)
        yield STALE
        yield from [MISSING] * chance.randint(0, 6)


# The four queries, as PromQL reads them.


def value_at(samples: Samples, minute: int, oldest: int) -> float | None:
    """The newest sample that is not too old, unless it is the end of the series."""
    for at in range(minute, -1, -1):
        if (minute - at) * STEP_SECONDS > oldest:
            return None
        if samples[at] != MISSING:
            found = samples[at]
            return None if isinstance(found, str) else found
    return None


def within(samples: Samples, minute: int, seconds: int) -> list[float]:
    first = max(0, minute - seconds // STEP_SECONDS)
    return [found for found in samples[first : minute + 1] if not isinstance(found, str)]


def above(limit: float) -> Answer:
    def answer(series: Sequence[Drawn], minute: int, shorter: int) -> list[tuple[Labels, float]]:
        found = [(one.labels, value_at(one.samples, minute, LOOKBACK_SECONDS - shorter)) for one in series]
        return [(labels, value) for labels, value in found if value is not None and value > limit]

    return answer


def counted(count: Callable[[list[float]], int], seconds: int, least: int) -> Answer:
    def answer(series: Sequence[Drawn], minute: int, shorter: int) -> list[tuple[Labels, float]]:
        found = [(one.labels, within(one.samples, minute, seconds - shorter)) for one in series]
        return [(labels, float(count(values))) for labels, values in found if values and count(values) >= least]

    return answer


def missing(i: str) -> Answer:
    def answer(series: Sequence[Drawn], minute: int, shorter: int) -> list[tuple[Labels, float]]:
        (one,) = [one for one in series if ("i", i) in one.labels]
        gone = value_at(one.samples, minute, LOOKBACK_SECONDS - shorter) is None
        return [(labels_of({"i": i}), 1.0)] if gone else []

    return answer


def resets(values: list[float]) -> int:
    return sum(after < before for before, after in pairwise(values))


def changes(values: list[float]) -> int:
    return sum(after != before for before, after in pairwise(values))


def a_rule(name: str, expression: str, hold: int = 0, keep: int = 0, **more: Json) -> Rule:
    return Rule.model_validate(
        {
            "name": name,
            "environment": "staging",
            "expression": expression,
            "for_seconds": hold,
            "keep_firing_for_seconds": keep,
            **more,
        }
    )


RULES = [
    Watched(a_rule("AtOnce", "probe > 5"), above(5)),
    Watched(a_rule("AfterThree", "probe > 5", 180), above(5)),
    Watched(a_rule("OddFor", "probe > 5", 90), above(5)),  # between two evaluations
    Watched(a_rule("Keeps", "probe > 5", 0, 240), above(5)),
    Watched(a_rule("OddKeep", "probe > 5", 60, 150), above(5)),
    Watched(a_rule("LongKeep", "probe > 5", 120, 1500), above(5)),
    Watched(a_rule("Long", "probe > 1.5", 1200, 60), above(1.5)),
    Watched(a_rule("Reset", "resets(probe[3m]) > 0"), counted(resets, 180, 1)),
    Watched(a_rule("ResetAgain", "resets(probe[10m]) >= 2", 60, 60), counted(resets, 600, 2)),
    Watched(a_rule("Flaps", "changes(probe[4m]) >= 3", 120, 120), counted(changes, 240, 3)),
    Watched(a_rule("GoneTwo", 'absent(probe{i="2"})', 60), missing("2")),
    Watched(a_rule("GoneFour", 'absent(probe{i="4"})', 0, 180, service="web"), missing("4")),
    Watched(
        a_rule("Labelled", "probe > 5", 60, labels={"team": "core", "kind": "", "what": "{{ $labels.kind }}-{{ $labels.none }}"}),
        above(5),
    ),
]


def written(rules: Sequence[Watched]) -> str:
    """A rule file made by hand, without our own export."""
    rows = [
        {
            "alert": rule.name,
            "expr": rule.expression,
            "for": duration_text(rule.for_seconds),
            "keep_firing_for": duration_text(rule.keep_firing_for_seconds),
            "labels": {
                "severity": rule.severity.value,
                "environment": rule.environment,
                **rule.labels,
                **({"service": rule.service} if rule.service else {}),
            },
        }
        for rule, _ in rules
    ]
    return json.dumps({"groups": [{"name": "staging", "rules": rows}]})


class Seen(NamedTuple):
    """What we say after one evaluation."""

    minute: int
    alerts: list[Active]
    transitions: list[Transition]


def ours(series: Sequence[Drawn], rules: Sequence[Watched], shorter: int) -> list[Seen]:
    watches = [watch(rule) for rule, _ in rules]
    states = [NOTHING_YET for _ in rules]
    seen: list[Seen] = []
    for minute in range(EVALUATIONS):
        transitions: list[Transition] = []
        at = START + timedelta(seconds=minute * STEP_SECONDS)
        for number, (watched, (_, answer)) in enumerate(zip(watches, rules, strict=True)):
            evaluation = evaluate(watched, states[number], answer(series, minute, shorter), at)
            assert not evaluation.progress.error
            states[number] = evaluation.progress
            transitions.extend(evaluation.transitions)
        open_now = [a for state in states for a in state.alerts.values() if a.state is not AlertState.inactive]
        seen.append(Seen(minute, open_now, transitions))
    return seen


def as_samples(alerts: Sequence[Active], metric: str) -> list[Json]:
    rows: list[Json] = []
    for alert in alerts:
        state = [("alertstate", alert.state.value)] if metric == "ALERTS" else []
        inside = ",".join(f"{name}={json.dumps(value)}" for name, value in (*alert.labels, *state))
        value = 1.0 if metric == "ALERTS" else (alert.active_at - START).total_seconds()
        rows.append({"labels": f"{metric}{{{inside}}}", "value": value})
    return rows


def expectations(seen: Sequence[Seen]) -> Json:
    return [
        {"expr": metric, "eval_time": f"{minute * STEP_SECONDS}s", "exp_samples": as_samples(alerts, metric)}
        for minute, alerts, _ in seen
        for metric in ("ALERTS", "ALERTS_FOR_STATE")
    ]


def input_series(series: Sequence[Drawn]) -> Json:
    return [
        {
            "series": "probe{" + ",".join(f'{name}="{value}"' for name, value in one.labels) + "}",
            "values": " ".join(map(str, one.samples)),
        }
        for one in series
    ]


def judged(folder: Path, series: Sequence[Drawn], seen: Sequence[Seen]) -> str:
    """What promtool complains of; empty when every state is as we said."""
    tests: Json = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{STEP_SECONDS}s",
        "tests": [
            {
                "interval": f"{STEP_SECONDS}s",
                "input_series": input_series(series),
                "promql_expr_test": expectations(seen),
            }
        ],
    }
    done = promtool.test_rules(folder, written(RULES), tests)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[:4_000] or "failed"


@pytest.fixture(scope="module")
def shorter() -> int:
    return 0 if promtool.major_version() == 2 else 1


@needs_promtool
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_every_alert_is_in_the_state_that_prometheus_gives_it_at_every_evaluation(
    tmp_path: Path, shorter: int, seed: int
) -> None:
    series = a_world(seed)
    seen = ours(series, RULES, shorter)
    happened = {transition.change for one in seen for transition in one.transitions}

    assert happened == set(Change) - {Change.withdrawn}  # what can happen without an edit of a rule does happen
    assert judged(tmp_path, series, seen) == ""


@needs_promtool
@pytest.mark.slow
def test_one_wrong_state_among_thousands_would_be_found(tmp_path: Path, shorter: int) -> None:
    series = a_world(1)
    seen = ours(series, RULES, shorter)
    wrong = next(i for i, one in enumerate(seen) if any(a.state is AlertState.pending for a in one.alerts))
    seen[wrong] = seen[wrong]._replace(alerts=[a._replace(state=AlertState.firing) for a in seen[wrong].alerts])

    assert "ALERTS" in judged(tmp_path, series, seen)
