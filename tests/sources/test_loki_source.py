"""Loki as a source: what is asked of it, how answers are paged, and every way in which it can fail."""

from datetime import timedelta
from typing import Any

import pytest

from ops_mcp.domain.observations import Severity
from ops_mcp.errors import Code, InvalidArguments, NotConfigured, OpsError
from ops_mcp.sources._logql import query
from sandbox.loki import logql
from sandbox.loki.world import World
from tests.sources.asked import TABLE, Asked, asked
from tests.sources.filed import NOON, texts, wanted

pytestmark = pytest.mark.anyio


async def pages(loki: Asked, **said: Any) -> list[str]:
    told: list[str] = []
    search = wanted(**said)
    while True:
        found = await loki.search(search)
        told += texts(found)
        if found.next_cursor is None:
            return told
        search = search.evolve(cursor=found.next_cursor)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ["c", "b", "a disk"]),
        ({"oldest_first": True}, ["a disk", "b", "c"]),
        ({"since": NOON - timedelta(minutes=15)}, ["c", "b"]),
        ({"until": NOON - timedelta(minutes=7)}, ["a disk"]),
        ({"text": "DISK"}, ["a disk"]),
        ({"text": "d.sk"}, []),
        ({"pattern": "d.sk"}, ["a disk"]),
        ({"severity": Severity.warning}, ["c", "b"]),
        ({"fields": {"pod": "web-2"}}, ["c"]),
        ({"service": None}, ["c", "b", "other", "a disk"]),
        ({"deployment": "dep_12345678"}, ["b"]),
    ],
)
async def test_only_what_was_asked_for_is_found(said: dict[str, Any], expected: list[str]) -> None:
    loki = asked()
    loki.put("INFO a disk", minutes_ago=50)
    loki.put("WARN b", minutes_ago=7, deployment="dep_12345678")
    loki.put("c", minutes_ago=1, pod="web-2", level="error")
    loki.put("other", minutes_ago=9, service="docs")
    loki.put("private", minutes_ago=2, env="prod")
    assert texts(await loki.search(wanted(**said))) == expected


async def test_a_record_has_loki_s_time_and_labels_as_fields(tmp_path: Any) -> None:
    loki = asked()
    loki.put('{"time":"2020-01-01T00:00:00Z","level":"warn","msg":"slow","ms":900}', minutes_ago=2, pod="web-1")
    [record] = (await loki.search(wanted())).records
    assert (record.time, record.severity, record.message) == (NOON - timedelta(minutes=2), Severity.warning, "slow")
    assert record.fields == {"env": "staging", "pod": "web-1", "service": "web", "ms": 900}
    assert (record.service, record.environment, record.deployment) == ("web", "staging", "")


@pytest.mark.parametrize(("limit", "oldest_first"), [(170, False), (170, True), (2500, False), (2500, True)])
async def test_pages_tell_each_record_once_also_where_many_have_the_same_nanosecond(limit: int, oldest_first: bool) -> None:
    loki = asked()
    start = int(NOON.timestamp()) * 10**9 - 10**12
    for number in range(3000):
        loki.world.put({"env": "staging", "service": "web", "pod": f"p{number % 3}"}, start + number // 700, f"n{number:04}")
    told = await pages(loki, limit=limit, oldest_first=oldest_first)
    assert sorted(told) == [f"n{number:04}" for number in range(3000)]
    nanoseconds = [int(text[1:]) // 700 for text in told]
    assert nanoseconds == sorted(nanoseconds, reverse=not oldest_first)


async def test_pages_hold_while_new_lines_arrive() -> None:
    loki = asked()
    loki.put(*(f"n{number}" for number in range(20)), minutes_ago=5)
    first = await loki.search(wanted(limit=8))
    loki.put("new", minutes_ago=0.5)
    rest = await pages(loki, limit=8, cursor=first.next_cursor)
    assert texts(first) + rest == [f"n{number}" for number in range(19, -1, -1)]
    assert first.matched == 9  # at least
    assert not first.counted


async def test_a_limit_that_loki_does_not_grant_is_lowered() -> None:
    loki = asked(world=World(lambda: NOON, most_entries=300))
    loki.put(*(f"n{number}" for number in range(1000)), minutes_ago=5)
    assert len(await pages(loki, limit=200)) == 1000


HOSTILE = (
    '"} |= "x',
    "`} or {env=`prod`}",
    'a"b\\c`d',
    "\\",
    ".*",
    "(?i)",
    "a\nb\tc\x00\x7f",
    "\U0001f600 ß é",
    "$^()[]{}|+?",
    '{env="prod"}',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_caller_s_text_is_never_syntax(text: str) -> None:
    """Held by the simulator's own reading of Go's strings and Loki's filters."""
    found = logql.parse(query({"env": "staging", "service": text}, text=text, pattern=None))
    assert found.streams({"env": "staging", "service": text})
    assert not found.streams({"env": "prod", "service": text})
    assert found.line(f"before {text} after")
    assert not found.line("something else")


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_text_finds_nothing_of_another_environment(text: str) -> None:
    loki = asked()
    loki.put("private x", env="prod")
    assert (await loki.search(wanted(text=text))).records == ()


async def test_what_is_hidden_can_be_found_neither_by_text_nor_pattern_nor_count_nor_cursor() -> None:
    loki = asked()
    loki.put(*("login with password=opensesame4711 done" for _ in range(5)), "opened the door", minutes_ago=3)
    nothing = await loki.search(wanted(text="no such text", limit=1))
    for said in ({"text": "opensesame"}, {"text": "4711"}, {"pattern": "opens.same"}, {"pattern": "47+1"}):
        assert await loki.search(wanted(**said, limit=1)) == nothing
    assert texts(await loki.search(wanted(text="OPENED"))) == ["opened the door"]


async def test_the_tenant_and_the_token_are_sent_and_no_others() -> None:
    world = World(lambda: NOON, tenants=frozenset({"acme"}), credentials=frozenset({"Bearer s3cret"}))
    loki = asked({"loki-token": "s3cret"}, world, tenant="acme", token="loki-token")
    world.put({"env": "staging", "service": "web"}, int(NOON.timestamp() - 60) * 10**9, "ours", tenant="acme")
    world.put({"env": "staging", "service": "web"}, int(NOON.timestamp() - 60) * 10**9, "theirs", tenant="other")
    assert texts(await loki.search(wanted())) == ["ours"]
    basic = World(lambda: NOON, credentials=frozenset({"Basic dXNlcjpzM2NyZXQ="}))
    assert texts(await asked({"t": "s3cret"}, basic, token="t", user="user").search(wanted())) == []
    with pytest.raises(NotConfigured, match="refuses our credential"):
        await asked({"t": "wrong"}, basic, token="t", user="user").search(wanted())
    with pytest.raises(NotConfigured, match="'t' is not set"):
        await asked({}, basic, token="t").search(wanted())


FAULTS: tuple[tuple[dict[str, Any], Code, bool, str], ...] = (
    ({"kind": "status", "status": 500}, Code.provider_error, True, "answered HTTP 500"),
    ({"kind": "status", "status": 503}, Code.provider_error, True, "answered HTTP 503"),
    ({"kind": "status", "status": 429}, Code.provider_error, True, "limits the rate"),
    ({"kind": "status", "status": 401, "extra": {"text": "no org id"}}, Code.not_configured, False, "credential or tenant"),
    ({"kind": "status", "status": 403}, Code.not_configured, False, "credential or tenant"),
    ({"kind": "status", "status": 302, "extra": {"headers": {"location": "http://else/"}}}, Code.provider_error, False, "302"),
    ({"kind": "status", "status": 404}, Code.provider_error, False, "404"),
    ({"kind": "status", "status": 400, "extra": {"text": "parse error"}}, Code.invalid_arguments, False, "cannot read the query"),
    ({"kind": "status", "status": 200, "extra": {"text": "<html>"}}, Code.provider_error, False, "something else"),
    ({"kind": "status", "status": 200, "extra": {"text": "[" * 5000}}, Code.provider_error, False, "something else"),
    ({"kind": "status", "status": 200, "extra": {"text": '{"data":{"result":[{}]}}'}}, Code.provider_error, False, "something"),
    ({"kind": "status", "status": 200, "extra": {"text": "x" * (33 * 2**20)}}, Code.provider_error, False, "too much"),
    ({"kind": "timeout"}, Code.provider_error, True, "did not answer in time"),
    ({"kind": "reset"}, Code.provider_error, True, "cannot be reached: ReadError"),
)


@pytest.mark.parametrize(("fault", "code", "retryable", "said"), FAULTS, ids=[case[3] for case in FAULTS])
async def test_a_failure_is_told_in_our_words(fault: dict[str, Any], code: Code, retryable: bool, said: str) -> None:
    loki = asked()
    loki.app.trouble.add("query_range", **fault)
    with pytest.raises(OpsError) as failed:
        await loki.search(wanted())
    assert (failed.value.problem.code, failed.value.problem.retryable) == (code, retryable)
    assert said in failed.value.message
    assert failed.value.hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999"}, 3600.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry-after": "soon"}, 60.0),
        ({}, 60.0),
    ],
)
async def test_a_wait_that_is_asked_for_is_told(headers: dict[str, str], seconds: float) -> None:
    loki = asked()
    loki.app.trouble.add("query_range", "status", status=429, extra={"headers": headers})
    with pytest.raises(OpsError) as failed:
        await loki.search(wanted())
    assert failed.value.retry_after_seconds == seconds


async def test_a_time_that_is_too_long_for_loki_is_said() -> None:
    with pytest.raises(InvalidArguments) as refused:
        await asked().search(wanted(since=NOON - timedelta(days=60)))
    assert refused.value.details == {"fields": ["since"]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "ftp://loki"}, "url is no address"),
        ({"url": "http://user:pw@loki"}, "url is no address"),
        ({"url": "http://loki.example.org", "token": "t"}, "in clear"),
        ({"environments": {}}, "environments"),
        ({"environments": {"staging": {}}}, "no label with a value"),
        ({"environments": {"staging": {"a b": "x"}}}, "environments"),
        ({"service_label": 'x"'}, "service_label"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_field(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(NotConfigured) as refused:
        asked(**changed)
    assert said in refused.value.message
    assert TABLE["url"] not in refused.value.message  # type: ignore[operator]


async def test_hostile_lines_are_cleaned_redacted_and_bounded() -> None:
    loki = asked()
    token = "ghp_" + "a1B2" * 9
    loki.put("\x1b[31mred\x1b[0m \x00" + token, "y " * 2_000_000, minutes_ago=2, note="\x1b[2J" + token)
    found = await loki.search(wanted())
    [long, red] = found.records
    assert len(long.raw) <= 65_536
    assert red.raw.startswith("red [REDACTED:github:")
    assert str(red.fields["note"]).startswith("[REDACTED:github:")
