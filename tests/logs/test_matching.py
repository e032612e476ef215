"""Which lines are among those asked for, and what time a line states."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.observations import LogLine, LogQuery, Severity
from ops_mcp.logs.matching import matches, time_of

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2001, 9, 10), datetime(2100, 1, 1), timezones=st.just(UTC))
LINES = st.builds(LogLine, at=MOMENTS | st.none(), severity=st.sampled_from(Severity), text=st.text(max_size=40))


def line(text: str = "x", *, at: datetime | None = NOON, severity: Severity = Severity.unknown) -> LogLine:
    return LogLine(at=at, severity=severity, text=text)


def test_since_is_inside_and_until_is_outside() -> None:
    assert matches(line(), LogQuery(since=NOON))
    assert not matches(line(), LogQuery(until=NOON))
    assert not matches(line(), LogQuery(since=NOON + timedelta(microseconds=1)))
    assert matches(line(), LogQuery(until=NOON + timedelta(microseconds=1)))


def test_a_line_without_a_time_is_in_no_range() -> None:
    assert matches(line(at=None), LogQuery())
    assert not matches(line(at=None), LogQuery(since=NOON))
    assert not matches(line(at=None), LogQuery(until=NOON))


def test_text_is_found_in_any_case_and_taken_literally() -> None:
    assert matches(line("Connection REFUSED"), LogQuery(text="connection refused"))
    assert matches(line("Größe STRASSE"), LogQuery(text="grösse straße".replace("ö", "Ö")))
    assert not matches(line("abc"), LogQuery(text="a.c"))


def test_severity_is_a_minimum_that_unknown_lines_do_not_reach() -> None:
    asked = LogQuery(severity=Severity.warning)
    passed = [s for s in Severity if matches(line(severity=s), asked)]
    assert passed == [Severity.warning, Severity.error, Severity.critical]
    assert all(matches(line(severity=s), LogQuery()) for s in Severity)


@given(LINES)
def test_a_query_that_asks_nothing_takes_every_line(found: LogLine) -> None:
    assert matches(found, LogQuery())


@given(LINES, MOMENTS, MOMENTS, st.sampled_from(Severity), st.text(max_size=3))
def test_every_condition_has_to_hold(found: LogLine, since: datetime, until: datetime, severity: Severity, text: str) -> None:
    alone = (LogQuery(since=since), LogQuery(until=until), LogQuery(severity=severity), LogQuery(text=text))
    together = LogQuery(since=since, until=until, severity=severity, text=text)
    assert matches(found, together) == all(matches(found, query) for query in alone)


TIMES = (
    # RFC 3339, and what is near it
    ("2026-11-20T12:00:00Z x", "2026-11-20T12:00:00+00:00"),
    ("2026-11-20T12:00:00.123456789Z x", "2026-11-20T12:00:00.123456+00:00"),  # nanoseconds are cut
    ("2026-11-20T13:00:00+01:00 x", "2026-11-20T12:00:00+00:00"),
    ("2026-11-20 13:00:00 +0100 x", "2026-11-20T12:00:00+00:00"),
    ("2026-11-20 07:00:00-05 x", "2026-11-20T12:00:00+00:00"),  # as PostgreSQL writes it
    ("2026-11-20 12:00:00,123 WARN x", "2026-11-20T12:00:00.123000+00:00"),  # without a zone: UTC
    ("2026-11-20 12:00:00 - WARN x", "2026-11-20T12:00:00+00:00"),
    ("2026/11/20 12:00:00 [error] 1#0: x", "2026-11-20T12:00:00+00:00"),  # nginx, Go
    ("[2026-11-20 12:00:00] x", "2026-11-20T12:00:00+00:00"),
    ("<165>1 2026-11-20T12:00:00Z host app - - - x", "2026-11-20T12:00:00+00:00"),  # RFC 5424
    # Access and error logs
    ('1.2.3.4 - ada [20/Nov/2026:13:00:00 +0100] "GET / HTTP/1.1" 200 1', "2026-11-20T12:00:00+00:00"),
    ("[Fri Nov 20 12:00:00.5 2026] [notice] x", "2026-11-20T12:00:00.500000+00:00"),
    # JSON
    ('{"time":"2026-11-20T12:00:00Z"}', "2026-11-20T12:00:00+00:00"),
    ('{"ts":1795176000}', "2026-11-20T12:00:00+00:00"),
    ('{"ts":1795176000.25}', "2026-11-20T12:00:00.250000+00:00"),
    ('{"timestamp":1795176000000}', "2026-11-20T12:00:00+00:00"),  # milliseconds
    ('{"time":1795176000000000000}', "2026-11-20T12:00:00+00:00"),  # nanoseconds
    ('2026-11-20T12:00:00Z {"msg":"x"}', "2026-11-20T12:00:00+00:00"),  # in front of JSON that has none
    # No time
    ("x 2026-11-20T12:00:00Z", None),  # in the middle
    ("2026-02-31T12:00:00Z x", None),  # no such day
    ("9999-12-31T23:59:59-10:00 x", None),  # out of the calendar
    ("2026-11-20 x", None),
    ("Nov 20 12:00:00 host app: x", None),  # no year
    ('{"ts":12}', None),  # a moment in 1970 is a duration
    ('{"ts":true,"time":"soon"}', None),
    ('{"ts":' + "9" * 4000 + "}", None),
    ("", None),
)


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_a_line_states_its_time(text: str, expected: str | None) -> None:
    assert time_of(text) == (datetime.fromisoformat(expected) if expected else None)


def test_a_line_without_a_year_takes_the_one_that_is_nearest() -> None:
    new_year = datetime(2027, 1, 1, 0, 5, tzinfo=UTC)
    assert time_of("Dec 31 23:59:59 host app: x", near=new_year) == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert time_of("<11>Jan  1 00:00:01 host app: x", near=new_year) == datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert time_of("Feb 29 12:00:00 host app: x", near=datetime(2026, 3, 1, tzinfo=UTC)) is None


@given(MOMENTS)
def test_every_moment_is_read_back_from_each_way_to_write_it(at: datetime) -> None:
    whole = at.replace(microsecond=0)
    assert time_of(f"{at.isoformat()} x") == at
    assert time_of(f'{{"time":"{at.isoformat()}"}}') == at
    assert time_of(f'h - - [{whole:%d/%b/%Y:%H:%M:%S %z}] "GET /"') == whole
    assert time_of(f'{{"ts":{int(whole.timestamp())}}}') == whole
    assert time_of(f"{whole:%b %e %H:%M:%S} h app: x", near=whole) == whole


@given(st.text(max_size=200) | st.text(alphabet='{}[]":<>-/+.,TZ0123456789 tsimeNov', max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    found = time_of(text, near=NOON)
    assert found is None or found.tzinfo is UTC
