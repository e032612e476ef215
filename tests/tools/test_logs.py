"""Searching logs through the one path: which deployment, which lines, how they are cleaned, bounded and paged."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.domain.identity import Credential, Level
from ops_mcp.domain.observations import LogLine, Severity
from ops_mcp.domain.outcomes import Done, Failed, Outcome, Refused
from ops_mcp.domain.releases import DeploymentState
from ops_mcp.errors import Code, Problem
from ops_mcp.logs.severity import severity_of
from ops_mcp.values import Json, JsonObject
from tests.house import NOBODY, START, House, house
from tests.tools.capable import CapablePlace, capable_house, furnish

pytestmark = pytest.mark.anyio

WEB: JsonObject = {"service": "web", "environment": "staging"}


def done(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done), outcome
    return outcome.result


def problem(outcome: Outcome) -> Problem:
    assert isinstance(outcome, Refused | Failed), outcome
    return outcome.problem


def line(text: str, *, minutes_ago: float = 1, origin: str = "stdout") -> LogLine:
    return LogLine(at=START - timedelta(minutes=minutes_ago), severity=severity_of(text), text=text, origin=origin)


async def deploy(home: House, agent: Credential, environment: str = "staging", ref: str = "main") -> str:
    return done(await home.call(agent, "deploy", service="web", environment=environment, ref=ref))["deployment"]["id"]


async def search(home: House, agent: Credential, **asked: Json) -> dict[str, Any]:
    return done(await home.call(agent, "logs_search", **{**WEB, **asked}))


def texts(found: dict[str, Any]) -> list[str]:
    return [line["untrusted_text"] for line in found["lines"]]


async def test_lines_are_told_newest_first_with_what_is_known_of_them(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        id = await deploy(home, agent)
        place.lines += [line("ERROR old", minutes_ago=2), LogLine(at=None, severity=Severity.unknown, text="new")]
        assert await search(home, agent) == {
            "source": "place",
            "deployment": id,
            "lines": [
                {"severity": "unknown", "origin": "", "untrusted_text": "new"},
                {"at": "2026-11-20T12:08:00Z", "severity": "error", "origin": "stdout", "untrusted_text": "ERROR old"},
            ],
            "matched": 2,
            "counted": True,
            "cut": False,
            "note": "Nothing of it is collected yet: these are its place's own lines.",
        }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["c ERROR", "b WARN", "a INFO"]),
        ({"since": "15m"}, ["c ERROR", "b WARN"]),
        ({"since": "1h"}, ["c ERROR", "b WARN", "a INFO"]),
        ({"since": "1d", "until": "5m"}, ["b WARN", "a INFO"]),
        ({"since": "2026-11-20T12:00:00Z"}, ["c ERROR", "b WARN"]),
        ({"since": "2026-11-20T13:00:00+01:00"}, ["c ERROR", "b WARN"]),
        ({"since": "2026-11-20T12:00:00"}, ["c ERROR", "b WARN"]),  # UTC where no zone is named
        ({"severity": "warning"}, ["c ERROR", "b WARN"]),
        ({"severity": "critical"}, []),
        ({"text": "warn"}, ["b WARN"]),
        ({"text": ".*"}, []),
        ({"text": "e", "severity": "error", "since": "15m"}, ["c ERROR"]),
        ({"limit": 2}, ["c ERROR", "b WARN"]),
    ],
)
async def test_only_what_was_asked_for_is_told(tmp_path: Path, asked: JsonObject, expected: list[str]) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        await deploy(home, agent)
        place.lines += [line("a INFO", minutes_ago=50), line("b WARN", minutes_ago=7), line("c ERROR", minutes_ago=1)]
        assert texts(await search(home, agent, **asked)) == expected


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": "1hxyz"}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"until": "-5m"}, "until"),
        ({"since": "2026-02-31T00:00:00Z"}, "since"),
        ({"since": "5m", "until": "15m"}, "since"),
        ({"severity": "loud"}, "severity"),
        ({"limit": 201}, "limit"),
        ({"limit": 0}, "limit"),
        ({"text": ""}, "text"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "dep_00000000~soon~~1"}, "cursor"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_name(tmp_path: Path, asked: JsonObject, field: str) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        await deploy(home, agent)
        found = problem(await home.call(agent, "logs_search", **{**WEB, **asked}))
        assert found.code is Code.invalid_arguments
        assert field in found.details["fields"]  # type: ignore[operator]
        assert len(str(asked[field])) < 4 or str(asked[field]) not in found.message


async def test_a_stranger_s_text_is_made_plain_and_secrets_are_not_in_it(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        await deploy(home, agent)
        place.lines.append(line("\x1b[31mred\x1b[0m \u202eevil\u200b\x07\x00 key ghp_" + "a1B2" * 9, origin="std\x1b[1merr"))
        [found] = (await search(home, agent))["lines"]
        assert found["untrusted_text"].startswith("red evil key [REDACTED:github:")
        assert found["origin"] == "stderr"


async def test_a_long_line_is_redacted_before_it_is_cut_so_that_no_half_of_a_secret_remains(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        await deploy(home, agent)
        token = "ghp_" + "a1B2" * 9
        place.lines.append(line("word " * 98 + token + " more" * 100))
        [text] = texts(await search(home, agent))
        assert len(text) <= 501
        assert text.endswith("…")
        assert "ghp_" not in text
        assert "[REDACTED" in text


async def test_pages_go_on_with_older_lines_while_new_ones_arrive(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        await deploy(home, agent)
        place.lines += [line(f"n{number}", minutes_ago=14.5 - number) for number in range(10)]
        told: list[str] = []
        cursor: JsonObject = {}
        while True:
            found = await search(home, agent, since="15m", limit=3, **cursor)
            told += texts(found)
            if "next_cursor" not in found:
                break
            cursor = {"cursor": found["next_cursor"]}
            place.lines.append(line("new"))
            home.advance(minutes=2)  # the range stays that of the first page
        assert told == [f"n{number}" for number in range(9, -1, -1)]


async def test_a_cursor_keeps_to_its_deployment_when_another_one_serves_by_then(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        first = await deploy(home, agent)
        place.lines += [line("one"), line("two")]
        page = await search(home, agent, limit=1)
        second = await deploy(home, agent, ref="next")
        older = await search(home, agent, limit=1, cursor=page["next_cursor"])
        assert (page["deployment"], older["deployment"], texts(older)) == (first, first, ["one"])
        mixed = await home.call(agent, "logs_search", **WEB, deployment=second, cursor=page["next_cursor"])
        assert problem(mixed).details == {"fields": ["cursor"]}


async def test_a_reply_that_would_be_too_large_is_cut_says_so_and_can_go_on(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        await deploy(home, agent)
        place.lines += [line(f"n{number} " + "wide \U0001f600 " * 200) for number in range(200)]
        told: list[str] = []
        cursor: JsonObject = {}
        for page in range(200):
            answer = await home.call(agent, "logs_search", **WEB, limit=200, **cursor)
            found = done(answer)
            assert isinstance(answer, Done)
            assert len(answer.text.encode()) <= 40_000
            assert found["cut"] or page
            told += [text.split()[0] for text in texts(found)]
            if "next_cursor" not in found:
                break
            cursor = {"cursor": found["next_cursor"]}
        assert told == [f"n{number}" for number in range(199, -1, -1)]


async def test_another_place_s_deployment_is_not_there(tmp_path: Path) -> None:
    """The gate has judged the environment that is named, so nothing of another one may come out by an id."""
    async with capable_house(tmp_path) as (home, place):
        agent, boss = await home.agent(), await home.agent("bob", ceiling=Level.prod, score=200)
        waiting = await home.call(boss, "deploy", service="web", environment="production", ref="main")
        await home.answer(waiting.approval.id)  # type: ignore[union-attr]
        foreign = await deploy(home, boss, "production")
        place.lines.append(line("private"))
        for environment, code in (("staging", Code.not_found), ("production", Code.not_permitted)):
            outcome = await home.call(agent, "logs_search", service="web", environment=environment, deployment=foreign)
            assert problem(outcome).code is code
        cursor = f"{foreign}~~~1"
        assert problem(await home.call(agent, "logs_search", **WEB, cursor=cursor)).code is Code.not_found
        assert not [asked for asked in place.asked if asked.startswith("logs")]


async def test_where_nothing_serves_the_newest_deployment_is_searched_for_why(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        nothing = problem(await home.call(agent, "logs_search", **WEB))
        assert (nothing.code, "Nothing was ever deployed" in nothing.message) == (Code.not_found, True)
        home.finish[:] = [DeploymentState.down]
        failed = await deploy(home, agent)
        assert (await search(home, agent))["deployment"] == failed


async def test_an_earlier_deployment_can_be_named(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        first = await deploy(home, agent)
        await deploy(home, agent, ref="next")
        assert (await search(home, agent, deployment=first))["deployment"] == first


async def test_a_place_without_logs_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, toolsets=["core", "observe"]) as home:
        agent = await home.agent()
        await deploy(home, agent)
        found = problem(await home.call(agent, "logs_search", **WEB))
        assert (found.code, found.message) == (Code.unsupported, "memory keeps no logs.")


async def test_a_caller_without_a_token_reads_logs_of_the_sandbox_alone(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        for environment in ("sandbox", "staging"):
            await deploy(home, agent, environment)
        place.lines.append(line("hello"))
        assert texts(done(await home.call(NOBODY, "logs_search", service="web", environment="sandbox"))) == ["hello"]
        assert problem(await home.call(NOBODY, "logs_search", **WEB)).code is Code.not_permitted


async def test_a_place_that_gives_more_than_was_asked_for_does_not_overflow_the_reply(tmp_path: Path) -> None:
    class Generous(CapablePlace):
        async def logs(self, placement: Any, query: Any) -> Any:
            return await super().logs(placement, query.evolve(limit=1000, cursor=None))

    async with house(tmp_path, toolsets=["core", "observe"]) as home:
        place = Generous()
        furnish(home, {"memory": place})
        agent = await home.agent()
        await deploy(home, agent)
        place.lines += [line("x " * 240) for _ in range(300)]
        assert len((await search(home, agent, limit=5))["lines"]) <= 5
