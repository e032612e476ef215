"""When a rule would have fired, over samples that are there already."""

from ops_mcp.alerting.history import MOST_PERIODS, Period, QueryFailed, when_would_fire
from ops_mcp.alerting.labels import labels_of
from tests.alerting.makers import a_rule, after

WEB = labels_of({"instance": "web"})
API = labels_of({"instance": "api"})
RULE = a_rule(for_seconds=120, keep_firing_for_seconds=60)


def labels(instance: str) -> tuple[tuple[str, str], ...]:
    return labels_of({"alertname": "HighErrors", "environment": "production", "severity": "medium", "instance": instance})


def test_a_rehearsal_tells_each_time_that_the_rule_would_have_fired() -> None:
    seen = [
        [(WEB, 6.0)],
        [(WEB, 7.0)],
        [(WEB, 8.0), (API, 9.0)],  # web fires
        [],  # kept; api is dropped
        [],  # web ends
        [(WEB, 5.5)],
        [(WEB, 5.6)],
        [(WEB, 5.7), (API, 9.0)],  # web fires again, and api waits until the end
    ]
    found = when_would_fire(RULE, ((after(minutes=i), result) for i, result in enumerate(seen)))
    assert found.periods == (
        Period(labels("web"), after(), after(minutes=2), after(minutes=4), 8.0),
        Period(labels("web"), after(minutes=5), after(minutes=7), None, 5.7),
    )
    assert (found.fired, found.never_fired, found.evaluations, found.failures) == (2, 2, 8, 0)


def test_failed_queries_are_counted_and_end_nothing() -> None:
    found = when_would_fire(
        a_rule(), [(after(), [(WEB, 1.0)]), (after(minutes=1), QueryFailed("too many points")), (after(minutes=2), [(WEB, 1.0)])]
    )
    assert [(period.fired_at, period.resolved_at) for period in found.periods] == [(after(), None)]
    assert (found.failures, found.failure) == (1, "too many points")


def test_a_rule_that_flaps_for_ever_is_told_within_bounds() -> None:
    found = when_would_fire(a_rule(), ((after(minutes=i), [(WEB, 1.0)] if i % 2 else []) for i in range(3_000)))
    assert (len(found.periods), found.fired) == (MOST_PERIODS, 1_500)
    assert all(period.resolved_at is not None for period in found.periods)
