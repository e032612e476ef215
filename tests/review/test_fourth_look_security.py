"""What a reviewer found about who may do what with all that is seen and told: names of nothing, strangers' rules, and floods."""

import stat
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.calls import Answer
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.outcomes import Done, Failed, Refused
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import Code, Conflict, InvalidArguments
from ops_mcp.metrics.asking import near
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.exposition import Family
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.matchers import Match, Matcher
from ops_mcp.metrics.regexes import Pattern, pattern_of
from ops_mcp.observing import Observation
from ops_mcp.operations import evaluate
from ops_mcp.operator.verbs import AssignRemedy
from ops_mcp.store import guard
from ops_mcp.store.alerts import lives, silences, writes
from ops_mcp.store.database import Transaction
from ops_mcp.store.logs import schema
from ops_mcp.store.metrics.known import Known, KnownSeries
from ops_mcp.store.metrics.store import MetricStore
from tests.alerts.watching import Watched, watched
from tests.governance.world import call as a_call
from tests.governance.world import history, policy_with
from tests.house import NOBODY, house
from tests.test_inbound import PLAIN, TOKEN, opened, posted, webhook

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("metrics_record", {"name": "jobs_failed", "value": 7.0}),
        ("metrics_query", {"query": "jobs_failed"}),
        ("metrics_list", {}),
        ("alert_rule_set", {"name": "X", "expression": "up == 0"}),
        ("alert_silence", {"matchers": ['a="b"']}),
        ("alerts", {}),
    ],
)
async def test_an_environment_without_a_name_is_none_that_there_is(tmp_path: Path, tool: str, arguments: dict[str, Any]) -> None:
    """It was judged as no environment at all, and a sample recorded there was seen in every one, the private ones too."""
    async with house(tmp_path) as home:
        told = await home.call(await home.agent(), tool, environment="", **arguments)
        assert isinstance(told, Refused)
        assert told.problem.code is Code.invalid_arguments
        assert told.problem.details["fields"] == ["environment"]


async def test_without_a_token_no_alert_rule_is_set_not_even_about_the_sample(tmp_path: Path) -> None:
    """It could have named the operator's channels, and replaced any other rule of the sandbox."""
    async with house(tmp_path) as home:
        rule = {"name": "Down", "environment": "sandbox", "service": "hello", "expression": "vector(1)"}
        told = await home.call(NOBODY, "alert_rule_set", **rule)
        assert isinstance(told, Refused)
        assert told.problem.code is Code.not_permitted
        assert isinstance(await home.call(NOBODY, "deploy", service="hello", environment="sandbox", dry_run=True), Done)


async def test_assigning_a_remedy_makes_an_agents_rule_no_operators_rule(tmp_path: Path) -> None:
    """Else its label `incident` would lift the load guard's concurrency."""
    async with watched(tmp_path) as world:
        done = await world.rule(service="web", labels={"incident": "yes"}, remediation="restart")
        await world.home.order(
            AssignRemedy(
                environment=EnvironmentName("staging"),
                rule="High",
                agent=AgentName("ada"),
                replaces=done["written"][0]["current"],
            )
        )
        (firing,) = await world.round(9)
        assert (firing["state"], firing["service"]) == ("firing", "web")
        assert not await world.home.database.write(lambda tx: guard.in_incident(tx, "staging", "web"))


async def test_what_an_operator_forbids_in_an_environment_is_not_shown_by_a_list_of_all_environments(tmp_path: Path) -> None:
    policies = tmp_path / "config" / "policies"
    policies.mkdir(parents=True)
    forbidden = 'forbid (principal, action == Action::"alert_rules", resource == Environment::"staging");'
    (policies / "own.cedar").write_text(forbidden)
    async with house(tmp_path) as home:
        ada = await home.agent()
        rule = {"name": "Secret", "environment": "staging", "expression": "vector(1)"}
        assert isinstance(await home.call(ada, "alert_rule_set", **rule), Done)
        assert isinstance(await home.call(ada, "alert_rules", environment="staging"), Refused)
        told = await home.call(ada, "alert_rules")
        assert isinstance(told, Done)
        assert told.result["rules"] == []


@pytest.mark.parametrize("minutes", [121, 121.0, 121.5, 1e300])
async def test_a_policy_that_bounds_a_number_sees_it_however_it_is_written(minutes: float) -> None:
    policy = policy_with(
        long="""@id("long") forbid (principal, action, resource)
        when { context.numbers.hasTag("minutes") && context.numbers.getTag("minutes") > 120 };"""
    )
    for tried, answer in ((minutes, Answer.deny), (120.0, Answer.allow)):
        asked = a_call(arguments={"minutes": tried})
        assert policy.rule(asked, history()).answer is answer


def test_the_regular_expressions_of_one_query_are_bounded_together() -> None:
    """Four hundred that are written out to thousands of states each held up everybody's calls for a second."""
    large = ",".join(f'a=~"(b{{50}}){{{40 + number}}}"' for number in range(20))
    many = ",".join(f'a=~"b+{number}"' for number in range(60))
    for matchers in (large, many):
        with pytest.raises(InvalidArguments, match="regular expressions"):
            compiled(f"{{{matchers}}}")
    compiled("up{" + ",".join(f'a!~"word{number}|other"' for number in range(60)) + "}")


def test_what_a_pattern_remembers_of_its_steps_is_bounded() -> None:
    """It was forty megabytes of one pattern, and two thousand patterns were kept."""
    pattern = pattern_of("(?:a|b)*a(?:a|b){200}c")
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArguments, match="too many steps"):
            _try_ever_new_values(pattern)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 15 * 2**20


async def test_series_remembered_for_selectors_are_bounded_by_how_many_they_are() -> None:
    known = KnownSeries()
    series = [Known(number, labels_of({"i": str(number)}, name="m"), "staging") for number in range(2_000)]
    known._add(series)  # pyright: ignore[reportPrivateUsage]  as reading the file does
    for number in range(2_200):
        found = known.matching("staging", (Matcher("none", Match.unequal, str(number)),))
        assert len(found) == 2_000
        if number % 500 == 0:
            held = sum(map(len, known._found.values()))  # pyright: ignore[reportPrivateUsage]
            assert held <= 4_100_000


async def test_an_alert_that_comes_and_goes_without_end_fills_no_disk(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await _series(world, 3_000)
        await world.rule(expression="queue_depth > 0 and on() (vector(time() % 30) < 15)")
        for _ in range(6):
            await world.round()
        ended = await world.home.database.fetch("SELECT COUNT(*) FROM alerts WHERE state = 'resolved'")
        assert 0 < ended[0][0] <= evaluate.MOST_ENDED_OF_A_RULE
        kept = "SELECT COUNT(*) FROM alert_events WHERE alert NOT IN (SELECT id FROM alerts)"
        assert (await world.home.database.fetch(kept))[0][0] == 0


async def test_the_rules_of_an_environment_have_no_more_alerts_than_it_has_room_for(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await _series(world, 9_000)
        for number in range(4):
            await world.rule(f"R{number}", expression="queue_depth > 0")
        await world.round()
        firing = await world.home.database.fetch("SELECT COUNT(*) FROM alerts WHERE state = 'firing'")
        assert firing[0][0] == 27_000
        rules = (await world.done("alert_rules", environment="staging"))["rules"]
        assert ["alerts already" in rule["untrusted_error"] for rule in rules].count(True) == 1


async def test_silences_of_one_environment_leave_room_in_every_other(tmp_path: Path) -> None:
    async with house(tmp_path) as home:

        def silence(tx: Transaction, environment: str, seconds: float) -> None:
            by, at = "ada", home.now[0]
            writes.begin_silence(tx, environment, ('a="b"',), seconds=seconds, comment="", by=by, at=at)

        def fill(tx: Transaction) -> None:
            for number in range(silences.MOST_SILENCES):
                silence(tx, "sandbox", 60 + number)
            silence(tx, "staging", 60)

        await home.database.write(fill)
        with pytest.raises(Conflict, match="in sandbox already"):
            await home.database.write(lambda tx: silence(tx, "sandbox", 30))


async def test_forgetting_what_ended_first_leaves_the_newest(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.rule()
        for value in (9, 1, 9, 1, 9, 1):
            await world.round(value)
        before = await world.home.database.fetch("SELECT id FROM alerts ORDER BY resolved_at")
        await world.home.database.write(lambda tx: lives.forget_beyond(tx, 2, "staging", "High"))
        assert await world.home.database.fetch("SELECT id FROM alerts ORDER BY resolved_at") == before[1:]


async def test_a_page_that_speaks_of_ever_new_metrics_without_samples_fills_no_disk(tmp_path: Path) -> None:
    """The code behind a page may be an agent's."""
    async with house(tmp_path) as home:
        store = MetricStore(tmp_path / "metrics.db", home.config.settings.metrics, home.app.clock)
        await store.keep([Observation(labels_of({"environment": "staging"}, name="seconds_sum"), store.now_ms(), 1.0)])
        for number in range(3):
            names = ["seconds", *(f"m{number}_{one}" for one in range(100))]
            await store.describe("staging", [Family(name, help="h" * 500) for name in names])
        assert list((await store.seen("staging", ())).families) == ["seconds"]
        await store.aclose()


async def test_names_that_strangers_chose_are_compared_beside_the_event_loop_and_only_some(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        at_ms = round(world.home.now[0].timestamp() * 1000)
        names = ["ab" * 48 + f"{number:03d}" for number in range(100)]
        labels = [labels_of({"environment": "staging"}, name=name) for name in names]
        await world.home.app.sights.metrics.keep([Observation(one, at_ms, 1.0) for one in labels])
        query = " + ".join("ba" * 40 + f"{number:03d}" for number in range(60))
        asked = await world.done("metrics_query", environment="staging", query=query)
        assert asked["note"].count("Nothing is recorded as") <= 5
    recorded = [f"m{number}" for number in range(5)]
    assert near([f"x{number}" for number in range(60)], recorded).endswith("Nor are 55 others.")


def _try_ever_new_values(pattern: Pattern) -> None:
    for number in range(1, 100_000):
        pattern.matches(format(number * 2_654_435_761, "0300b").translate({48: "a", 49: "b"}))


async def _series(world: Watched, count: int) -> None:
    at_ms = round(world.home.now[0].timestamp() * 1000)
    labels = [labels_of({"environment": "staging", "i": str(number)}, name="queue_depth") for number in range(count)]
    await world.home.app.sights.metrics.keep([Observation(one, at_ms, 1.0) for one in labels])


async def test_the_log_store_and_what_sqlite_puts_beside_it_are_their_owners_alone(tmp_path: Path) -> None:
    connection = schema.opened(tmp_path / "logs.db")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    connection.close()
    assert modes == dict.fromkeys(("logs.db", "logs.db-wal", "logs.db-shm"), 0o600)


async def test_a_secret_that_is_named_as_a_service_from_outside_is_stored_nowhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as outside:
        assert (await outside.post(webhook(posted(service=TOKEN)))).status_code == 200
        rows = await outside.home.database.fetch("SELECT COALESCE(service, ''), body FROM alerts")
        assert [TOKEN in text for row in rows for text in row] == [False, False]


async def test_an_alert_in_the_plain_form_has_the_label_of_its_severity_so_that_a_silence_can_ask_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as outside:
        await outside.post({**PLAIN, "status": "P1"})
        [(body,)] = await outside.home.database.fetch("SELECT body FROM alerts")
        alert = Alert.model_validate_json(body)
        assert (alert.severity, dict(alert.labels)["severity"]) == (Severity.high, "high")


async def test_a_length_of_thousands_of_digits_is_too_large(tmp_path: Path) -> None:
    async with opened(tmp_path) as outside:
        reply = await outside.post(b"{}", **{"content-length": "9" * 5_000})
        assert reply.status_code == 413


async def test_what_an_operator_forbids_on_a_service_keeps_its_alert_rules_too(tmp_path: Path) -> None:
    policies = tmp_path / "config" / "policies"
    policies.mkdir(parents=True)
    async with house(tmp_path) as home:
        ada = await home.agent()
        rule = {"name": "Down", "environment": "staging", "expression": "up == 0"}
        assert isinstance(await home.call(ada, "alert_rule_set", **rule, service="web"), Done)
        (policies / "own.cedar").write_text(
            '@id("hands-off") forbid (principal, action in [Action::"change"], resource == Service::"staging/web");'
        )
        deleted = await home.call(ada, "alert_rule_delete", name="Down", environment="staging")
        assert isinstance(deleted, Refused)
        assert "hands-off" in str(deleted.verdict)
        replaced = await home.call(ada, "alert_rule_set", **rule, service="docs")
        assert isinstance(replaced, Failed)
        assert replaced.problem.code is Code.conflict
        assert isinstance(await home.call(ada, "alert_rule_set", **(rule | {"name": "Other"}), service="docs"), Done)
