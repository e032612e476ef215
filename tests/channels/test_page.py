"""docs/languages/notices.md: every block and table with code is what the code does."""

import re
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp import channels
from ops_mcp.alerting.inbound import read_alerts
from ops_mcp.alerting.severity import Severity
from ops_mcp.channels._answers import refuse
from ops_mcp.channels.mailtrap import MailtrapTerms
from ops_mcp.channels.smtp import SmtpTerms
from ops_mcp.channels.webhook import WebhookTerms, body_of, headers_of, key_of
from ops_mcp.config import Settings
from ops_mcp.errors import OpsError, ProviderError
from ops_mcp.governance.pacing import ChannelTerms
from ops_mcp.observing import Notice
from ops_mcp.operations.deliver import MOST_ATTEMPTS, judged, pause_seconds
from ops_mcp.store.outbox import Again, GivenUp, Posted, State
from ops_mcp.values import Secret
from tests.channels.receiving import KEY, START, notice

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "notices.md").read_text()
NOW = START.timestamp()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose first heading this is."""
    table = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def is_genuine() -> Callable[[dict[str, str], bytes, bytes, float], bool]:
    (code,) = blocks("python")
    found: dict[str, Any] = {}
    exec(code, found)
    return found["is_genuine"]


def test_the_configurations_are_read() -> None:
    first, second = blocks("toml")
    ways = channels.load(Settings.model_validate(tomllib.loads(first)).channels, secret=Secret, clock=lambda: START)
    assert {name: (way.channel.kind, way.knows_repeats) for name, way in ways.items()} == {
        "log": ("file", True),
        "pager": ("webhook", True),
    }
    sources = Settings.model_validate(tomllib.loads(second)).alerts.sources
    assert [(s.name, s.environment, s.severity, s.burst) for s in sources.values()] == [
        ("alertmanager", "production", Severity.medium, 30),
        ("uptime", "staging", Severity.high, 10),
    ]


def test_the_fields_of_the_kinds_are_those_that_are_read() -> None:
    listed = {(kind.strip("`"), name.strip("`")) for kind, name, _ in rows("kind")}
    terms = {"webhook": WebhookTerms, "mailtrap": MailtrapTerms, "smtp": SmtpTerms}
    expected = {("file", "path"), *((kind, name) for kind, model in terms.items() for name in model.model_fields)}
    assert {one for one in listed if one[0] in {"file", *terms}} == expected


def test_the_fields_of_any_kind_are_those_that_are_read() -> None:
    assert {name.strip("`") for name, _ in rows("any kind")} == ChannelTerms.model_fields.keys()


def test_the_routes_are_read() -> None:
    (text,) = blocks("routes")
    routes = Settings.model_validate(tomllib.loads(text)).routes
    assert {name: (route.channels, route.floor) for name, route in routes.items()} == {
        "owner": (("log", "pager"), "info"),
        "nucleus": (("pager",), "critical"),
    }


def test_the_notice_is_one_and_has_every_field() -> None:
    (text,) = blocks("notice")
    assert Notice.model_validate_json(text).json_value().keys() == Notice.model_fields.keys()


def test_a_receiver_that_copies_the_check_believes_us_and_nobody_else() -> None:
    check = is_genuine()
    body, key = body_of(notice(untrusted="☃\x1b")), key_of(Secret(KEY))
    headers = headers_of("ntc_1", body, key, int(NOW))
    assert check(headers, body, key, NOW)
    assert check(headers | {"webhook-signature": f"v1,other {headers['webhook-signature']}"}, body, key, NOW + 300)
    assert not check(headers, body + b" ", key, NOW)
    assert not check(headers, body, key + b"x", NOW)
    assert not check(headers, body, key, NOW + 301)
    assert not check(headers, body, key, NOW - 301)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert not check({k: v for k, v in headers.items() if k != name}, body, key, NOW)
        assert not check(headers | {name: headers[name] + "1"}, body, key, NOW)


def test_the_headers_are_those_of_the_table() -> None:
    listed = {name.strip("`") for name, _ in rows("header")}
    assert listed | {"content-type", "user-agent"} == headers_of("ntc_1", b"{}", b"k" * 16, 0).keys()


@pytest.mark.parametrize(("said", "follows"), [(row[0], row[1]) for row in rows("the receiver answers")])
def test_what_follows_from_an_answer_is_what_the_table_says(said: str, follows: str) -> None:
    (word,) = re.findall(r"^`(\w+)`", follows)
    statuses = [200, 201, 299] if "to" in said else [int(number) for number in re.findall(r"\d{3}", said)]
    for status in statuses or [None]:
        assert what_follows(status) == word, status


def what_follows(status: int | None) -> str:
    posted = Posted(1, notice(), State.claimed, 1, START)
    try:
        if status is None:
            raise ProviderError("The receiver cannot be reached, or broke off.", temporary=True)
        refuse(status, {}, START)
    except OpsError as error:
        came = judged(posted, error, START)
        if isinstance(came, Again):
            assert came.whole_channel == (status == 429)
            assert came.due_at == START + timedelta(seconds=30 if status == 429 else 2)
            return "again"
        assert isinstance(came, GivenUp)
        return came.state.value
    return "delivered"


def test_the_pauses_are_those_of_the_table_and_come_to_what_is_said() -> None:
    for attempt, seconds in rows("after attempt"):
        assert pause_seconds(int(attempt)) == float(seconds)
    assert MOST_ATTEMPTS == 20
    assert round(sum(pause_seconds(n) for n in range(1, MOST_ATTEMPTS)) / 3600, 1) == 2.8


def test_the_plain_alert_is_taken() -> None:
    (text,) = blocks("alert")
    sources = Settings.model_validate(tomllib.loads(blocks("toml")[1])).alerts.sources
    (alert,) = read_alerts(text.encode(), sources["uptime"], START + timedelta(minutes=1)).alerts
    assert (alert.name, alert.service, alert.environment) == ("error_rate", "shop", "staging")
    assert alert.ends_at == START + timedelta(minutes=11)
