"""The page on alerts says what is so: every block of it is run, and every table that holds code."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import Path

import pytest

from ops_mcp.alerting.burn import Subject, burn_rules
from ops_mcp.alerting.durations import duration_seconds
from ops_mcp.alerting.exchange import Defaults, export_rules, import_rules
from ops_mcp.alerting.inbound import ENDED, Source, read_alerts
from ops_mcp.alerting.labels import labels_of
from ops_mcp.alerting.lifecycle import NOTHING_YET, AlertState, Progress, evaluate, failed, watch
from ops_mcp.alerting.matchers import parse_matcher
from ops_mcp.alerting.muting import Silence, acknowledged
from ops_mcp.alerting.routing import Board, Mutings, Notification, Routes, due, notify, received
from ops_mcp.alerting.rules import Rule, parse_rule
from ops_mcp.alerting.severity import ALIASES, Severity
from ops_mcp.alerting.templates import expanded, parse_template
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.compiling import compiled
from tests.alerting.makers import NOON, a_rule, after, an_alert, matches

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "alerts.md").read_text(encoding="utf-8")
DEFAULTS = Defaults(EnvironmentName("staging"))


def blocks(kind: str) -> list[str]:
    """The paragraphs of every fenced block of that kind."""
    fenced = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert fenced
    return [paragraph for block in fenced for paragraph in block.strip("\n").split("\n\n")]


def table(first_column: str) -> list[list[str]]:
    """The rows of the table whose header begins with that word. A bar inside of code is not the end of a cell."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in re.findall(r"\|((?:[^|`]|`[^`]*`)*)", row)[:-1]] for row in rows]


def code(cell: str) -> str:
    return cell.strip("`")


def test_the_rule_of_the_page_is_one_and_every_field_is_explained() -> None:
    (block,) = blocks("rule")
    assert parse_rule(json.loads(block), check_expression=compiled).name == "HighErrorRate"
    assert [code(name) for name, _ in table("field")] == list(Rule.model_fields)


def test_every_word_for_a_severity_is_on_the_page() -> None:
    told = {code(step): [word.lower() for word in code(words).split("` `")] for step, words in table("severity")}
    assert told == {
        severity.value: [word for word, step in ALIASES.items() if step is severity and word != severity.value]
        for severity in Severity
    }


@pytest.mark.parametrize("paragraph", blocks("refused"))
def test_a_refusal_of_the_page_says_what_the_page_says(paragraph: str) -> None:
    fields, said = paragraph.splitlines()
    with pytest.raises(InvalidArguments) as refused:
        parse_rule(json.loads(fields), check_expression=compiled)
    assert said in refused.value.message


@pytest.mark.parametrize("paragraph", blocks("states"))
def test_the_states_of_the_page_are_the_states(paragraph: str) -> None:
    times, seen, states = paragraph.splitlines()
    hold, keep = re.findall(r"for (\w+)", times.replace("keep_firing_for", "for"))
    watched = watch(a_rule(for_seconds=duration_seconds(hold), keep_firing_for_seconds=duration_seconds(keep)))
    progress, found = NOTHING_YET, list[str]()
    for minute, what in enumerate(seen.split()):
        if what == "!":
            progress = failed(progress, "no answer")
        else:
            result = [(labels_of({"i": "1"}), 1.0)] if what == "+" else []
            progress = evaluate(watched, progress, result, after(minutes=minute)).progress
        found.append(sign(progress))
    assert " ".join(found) == states


def sign(progress: Progress) -> str:
    match list(progress.alerts.values()):
        case [alert] if alert.state is AlertState.firing:
            return "F" if alert.keep_firing_since is None else "K"
        case [alert] if alert.state is AlertState.pending:
            return "P"
        case _:
            return "."


@pytest.mark.parametrize(("template", "value", "text"), table("template"))
def test_a_template_of_the_page_shows_what_the_page_says(template: str, value: str, text: str) -> None:
    assert expanded(parse_template(code(template)), labels_of({"instance": "web-1"}), float(code(value))) == code(text)


def test_the_templates_that_the_page_calls_refused_are_refused() -> None:
    (sentence,) = re.findall(r"refused by name: (.*?)\. Values", PAGE, flags=re.DOTALL)
    for template in re.findall(r"`([^`]+)`", sentence):
        with pytest.raises(InvalidArguments):
            parse_template(template)


@pytest.mark.parametrize(("matcher", "holds"), table("matcher"))
def test_a_matcher_of_the_page_holds_as_the_page_says(matcher: str, holds: str) -> None:
    assert parse_matcher(code(matcher)).holds(labels_of({"service": "web", "severity": "high"}), matches) is (holds == "yes")


def clock(text: str) -> datetime:
    hours, minutes, seconds = map(int, text.split(":"))
    return NOON.replace(hour=hours, minute=minutes, second=seconds)


@pytest.mark.parametrize("paragraph", blocks("told"))
def test_a_story_of_the_page_is_told_as_the_page_says(paragraph: str) -> None:
    """Everything is quiet again half an hour after the last line of the story."""
    lines = paragraph.splitlines()
    events = [line.split(maxsplit=1) for line in lines if not line.startswith(">")]
    expected = [line.removeprefix("> ") for line in lines if line.startswith(">")]
    end = max(clock(line.removeprefix("> ").split()[0]) for line in lines) + timedelta(minutes=30)
    assert list(told(events, end)) == expected


def told(events: list[list[str]], end: datetime) -> Iterator[str]:
    board, mutings = Board(), Mutings()
    alerts = {name: an_alert(instance=name) for name in "ab"}
    moments = [(clock(when), what) for when, what in events] + [(end, "is over")]
    for at, what in moments:
        while (next_at := due(board)) is not None and next_at <= at:
            notified = notify(board, Routes(), mutings, at=next_at, matches=matches)
            board = notified.board
            yield from map(said, notified.notifications)
        name, _, deed = what.partition(" ")
        match deed.split():
            case ["fires"]:
                alerts[name] = alerts[name].evolve(starts_at=at, began_at=at)
                board = received(board, [alerts[name]], Routes(), at).board
            case ["ends"]:
                board = received(board, [alerts[name].evolve(ends_at=at)], Routes(), at).board
            case ["is", "silenced", "until", until]:
                one = Silence(
                    id="s",
                    environment=EnvironmentName("production"),
                    matchers=(parse_matcher(f"instance={name}"),),
                    starts_at=at,
                    ends_at=clock(until),
                    by="olga",
                )
                mutings = mutings._replace(silences=(one,))
            case ["is", "taken", "in", "hand"]:
                mutings = mutings._replace(acknowledgements=(acknowledged(alerts[name], by="olga", at=at),))
            case _:
                assert what == "is over"


def said(one: Notification) -> str:
    parts = [
        word + " " + " ".join(sorted(dict(alert.labels)["instance"] for alert in alerts))
        for word, alerts in (("firing", one.firing), ("ended", one.resolved))
        if alerts
    ]
    return f"{one.at:%H:%M:%S} {one.reason.value}: {', '.join(parts)}"


@pytest.mark.parametrize("paragraph", blocks("objective"))
def test_an_objective_of_the_page_becomes_the_rules_of_the_page(paragraph: str) -> None:
    line, *rules = paragraph.splitlines()
    subject = Subject(name="Shop", environment=EnvironmentName("production"))
    made = burn_rules(line, subject, check_expression=compiled)
    assert [f"{rule.severity.value} {rule.expression}" for rule in made.rules] == rules
    assert len(made.rules) + len(made.left_out) == 3


def test_the_file_of_the_page_is_read_and_written_back() -> None:
    ((fenced),) = re.findall(r"^```rules\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (rule,) = import_rules(fenced, DEFAULTS, check_expression=compiled).rules
    assert (rule.severity, rule.service, rule.environment, rule.for_seconds) == (Severity.critical, "shop", "staging", 600)
    assert import_rules(export_rules([rule]).text, DEFAULTS, check_expression=compiled).rules == (rule,)


@pytest.mark.parametrize("paragraph", blocks("refused-file"))
def test_a_file_that_the_page_calls_refused_is_refused(paragraph: str) -> None:
    text, named = paragraph.splitlines()
    with pytest.raises(InvalidArguments) as refused:
        import_rules(text, DEFAULTS, check_expression=compiled)
    assert named in refused.value.message


def test_the_plain_form_of_the_page_is_an_alert_and_its_last_words_end_it() -> None:
    (block,) = blocks("plain")
    source = Source(name="other", environment=EnvironmentName("production"))
    (alert,) = read_alerts(block.encode(), source, NOON).alerts
    assert (alert.name, alert.service, alert.severity) == ("error_rate", "shop", Severity.critical)

    (sentence,) = re.findall(r"such as `firing` or `down`; (.*?) end the alert", PAGE, flags=re.DOTALL)
    words = re.findall(r"`(\w+)`", sentence)
    assert set(words) <= ENDED
    for word in words:
        (over,) = read_alerts(json.dumps({**json.loads(block), "status": word}).encode(), source, NOON).alerts
        assert over.ends_at is not None
