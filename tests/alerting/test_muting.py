"""Matchers, silences and acknowledgements as values; how they work on what is told is in test_routing."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops_mcp.alerting.labels import fingerprint, labels_of
from ops_mcp.alerting.matchers import Matcher, Operator, all_hold, parse_matcher
from ops_mcp.alerting.muting import Muting, Silence, SilenceState, acknowledged, checked_silence
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import Conflict, InvalidArguments
from tests.alerting.makers import NOON, after, an_alert, matches

LABELS = labels_of({"service": "web", "severity": "high"})

HOLDS = [
    ("service=web", True),
    ('service = "web"', True),
    ("service=api", False),
    ("service!=api", True),
    ("service!=web", False),
    ("severity=~high|low", True),
    ("severity=~hig", False),  # the whole value
    ("severity!~high|low", False),
    ("team=", True),  # no label is an empty one
    ("team!=", False),
    ("team=~.+", False),
    ("team!~.+", True),
]


@pytest.mark.parametrize(("text", "holds"), HOLDS)
def test_a_matcher_asks_something_of_one_label(text: str, holds: bool) -> None:
    assert parse_matcher(text).holds(LABELS, matches) is holds


@pytest.mark.parametrize(
    "text", ["", "service", "=web", "a b=c", "a-b=c", 'a="b', 'a="b" c', "a==b", "1a=b", 'a="' + "x" * 501 + '"']
)
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(InvalidArguments):
        parse_matcher(text)


@given(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.sampled_from(Operator), st.text(max_size=30))
def test_a_matcher_reads_back_as_it_is_written(name: str, operator: Operator, value: str) -> None:
    matcher = Matcher(name=name, operator=operator, value=value)
    assert parse_matcher(str(matcher)) == matcher


def silence(*texts: str, starts_at: datetime = NOON, ends_at: datetime = NOON + timedelta(hours=1)) -> Silence:
    parsed = tuple(map(parse_matcher, texts))
    return Silence(
        id="s", environment=EnvironmentName("production"), matchers=parsed, starts_at=starts_at, ends_at=ends_at, by="ada"
    )


def test_a_silence_holds_from_its_beginning_until_before_its_end() -> None:
    one = silence("service=web")
    moments = (after(seconds=-1), NOON, after(minutes=59), after(hours=1))
    assert [one.state(at) for at in moments] == [
        SilenceState.pending,
        SilenceState.active,
        SilenceState.active,
        SilenceState.expired,
    ]


@pytest.mark.parametrize("ends_at", [NOON, after(hours=-1), after(days=31)])
def test_a_silence_ends_within_thirty_days(ends_at: datetime) -> None:
    with pytest.raises(ValidationError, match="within 30 days"):
        silence("service=web", ends_at=ends_at)


@pytest.mark.parametrize("texts", [("service=~.*",), ("service!=web",), ("a=", "b!~x")])
def test_a_silence_of_everything_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArguments, match="every alert"):
        checked_silence(silence(*texts), matches=matches)
    assert checked_silence(silence(*texts, "service=web"), matches=matches)


def refuses(pattern: str, value: str) -> bool:
    raise InvalidArguments("too many steps")


def test_a_pattern_that_cannot_be_used_silences_nothing_and_is_refused_in_a_new_silence() -> None:
    one = silence("service=~(a+)+")
    assert not all_hold(one.matchers, LABELS, refuses)
    assert Muting([one], [], [], at=NOON, matches=refuses).of(an_alert()) is None
    with pytest.raises(InvalidArguments, match="too many steps"):
        checked_silence(one, matches=refuses)


def test_taking_an_alert_in_hand_twice_changes_nothing_and_an_ended_one_cannot_be_taken() -> None:
    alert = an_alert()
    first = acknowledged(alert, by="olga", at=NOON)
    assert acknowledged(alert, by="ada", at=after(minutes=5), known=first) == first
    assert acknowledged(alert.evolve(starts_at=after(hours=1)), by="ada", at=after(hours=1), known=first).by == "ada"
    expired = first.evolve(until=after(minutes=1))
    assert acknowledged(alert, by="ada", at=after(minutes=1), known=expired).by == "ada"
    with pytest.raises(Conflict):
        acknowledged(alert.evolve(ends_at=NOON), by="olga", at=NOON)


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
)
def test_different_labels_have_different_fingerprints(one: dict[str, str], other: dict[str, str]) -> None:
    first, second = labels_of(one), labels_of(other)
    assert (fingerprint(first) == fingerprint(second)) is (first == second)


def test_no_value_can_be_chosen_so_that_two_label_sets_read_the_same() -> None:
    sets = [{"a": "bc"}, {"ab": "c"}, {"a": "b", "c": "d"}, {"a": "bcd"}, {"a": "1:b"}, {"a": "b1:c1:d"}, {"a": "\ud800"}, {}]
    assert len({fingerprint(labels_of(one)) for one in sets}) == len(sets)
