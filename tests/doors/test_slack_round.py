"""The whole way round in Slack: asked there, pressed or written there, done here, and said there again."""

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.labels import labels_of
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.calls import Approval, ApprovalId, ApprovalState, CallId
from ops_mcp.domain.identity import Level
from ops_mcp.domain.notices import Button
from ops_mcp.domain.outcomes import Done
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import Plan
from ops_mcp.doors._slack_said import Other, Pressed, Wrote, command_in, event_in, press_in
from ops_mcp.doors.slack import ANSWER_SECONDS, MOST_BYTES, answered, is_slacks
from ops_mcp.observing import Notice
from ops_mcp.store import approval_notices, outbox
from ops_mcp.store.alerts import receive
from ops_mcp.store.database import Transaction
from ops_mcp.store.outbox import State
from ops_mcp.values import Secret
from sandbox.slack.world import BOT_USER, SIGNING_SECRET, as_form, buttons, signed
from tests import databases
from tests.doors.answering import CHANNEL, Round, alerting, round_trip
from tests.doors.entrance import Entrance
from tests.doors.test_slack import FORM, JSON, MALLORY, OLGA, OTTO
from tests.house import START

pytestmark = pytest.mark.anyio


async def asked(people: Round) -> tuple[str, dict[str, Any]]:
    """An open request, and its message in Slack."""
    agent = await people.home.agent(ceiling=Level.prod, score=170)
    approval = await people.asked(agent)
    await people.deliver()
    (message,) = people.messages
    return approval, message


async def test_a_request_is_posted_once_pressed_and_then_says_who_decided_without_buttons(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        assert [(b["action_id"], b["value"], "confirm" in b) for b in buttons(message)] == [
            ("approve", approval, True),
            ("deny", approval, False),
        ]
        assert await people.press_under(message, "approve") == 200
        assert people.whispered == [(OTTO, f"Approved: {approval}.")]
        await people.deliver()
        (answered,) = people.messages
        assert (answered["ts"], answered["replies"], buttons(answered)) == (message["ts"], [], [])
        assert answered["text"] == "✅ Approved by otto: ada in production"


async def test_the_message_of_a_request_shows_the_servers_plan_and_quotes_the_agent(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        (attachment,) = message["attachments"]
        plan, quoted, _ = attachment["blocks"]
        shown = plan["text"]["text"].replace(approval, "APPROVAL")
        lines = [line.partition(" (undo")[0] for line in shown.splitlines() if not line.startswith(("plan:", "now"))]
        assert "3. release" in shown
        assert "(undo: Stop what was started; the service is then down.)" in shown
        assert "\n".join(lines) == snapshot("""\
APPROVAL, to be answered by 2026-11-20 12:25:00 UTC
what: deploy: Deploy web next at bbbbbbbbbbbbbbbbbbb to production, replacing nothing.
who: ada
where: production / web
content: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
warning: There is no healthy release to go back to: if this one fails it is stopped and the service is down.
1. check: Check kill switch, freeze and lock once more.
2. snapshot: Note what serves now, and the way back.
3. release: Build and start next at bbbbbbbbbbbbbbbbbbb, ending nothing.
4. verify: Within 60 s: 2 healthy http probes in a row, answered by this release.
5. watch: For 300 s: undo on 2 failed probes in a row, an exit or a restart.
6. done: Report the release healthy.\
""")
        assert quoted["elements"][0]["elements"][0]["text"] == "The agent says: <!here> now"


async def test_a_request_that_is_asked_again_is_not_posted_again(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        first = await people.asked(agent)
        assert await people.asked(agent) == first
        await people.deliver()
        assert len(people.messages) == 1


@pytest.mark.parametrize("door", ["terminal", "command"])
async def test_an_answer_through_another_door_changes_the_message_as_well(tmp_path: Path, door: str) -> None:
    async with round_trip(tmp_path) as people:
        approval, _ = await asked(people)
        if door == "terminal":
            await people.home.answer(approval)
        else:
            await people.say("/ops", f"deny {approval} not today")
        await people.deliver()
        (answered,) = people.messages
        by, said = ("olga", "Approved") if door == "terminal" else ("otto", "Denied")
        assert answered["text"].endswith(f"{said} by {by}: ada in production")
        assert buttons(answered) == []


async def test_an_answer_before_the_request_was_posted_leaves_one_message_without_buttons(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)
        await people.home.answer(approval)
        await people.deliver()
        (answered,) = people.messages
        assert answered["text"].endswith("Approved by olga: ada in production")
        assert buttons(answered) == []


async def test_whoever_presses_second_is_told_that_it_is_decided_and_the_ledger_says_so(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        await people.press_under(message, "deny")
        await people.press_under(message, "approve", user=OLGA)
        assert people.whispered[1] == (
            OLGA,
            f"The approval {approval} is denied already. An answer is given once. The agent asks anew by repeating its call.",
        )
        assert await people.state(approval) == "denied"
        (record,) = await people.home.records("slack.refused")
        assert (record["caller"], record["data"]["user"], record["data"]["untrusted_about"]) == (  # type: ignore[index,call-overload]
            "operator:oskar",
            OLGA,
            approval,
        )


async def test_a_request_whose_time_is_over_is_not_approved_by_its_button(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        people.home.advance(minutes=16)
        await people.press_under(message, "approve")
        assert "is expired" in people.whispered[0][1]
        assert await people.state(approval) == "pending"
        assert await people.home.records("approval.granted") == []


async def test_words_in_the_thread_answer_for_an_operator_and_others_are_told_they_may_not(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        await people.write("approve", thread=message["ts"], user=MALLORY)
        assert people.whispered == [
            (
                MALLORY,
                "You are no operator of this ops-mcp. An operator adds you with: ops-mcp operator add NAME --slack YOUR-ID",
            )
        ]
        assert people.world.ephemerals[0]["thread_ts"] == message["ts"]
        for text in ("approve?", "do not approve", "approve if the tests pass", "ok"):
            await people.write(text, thread=message["ts"])
        await people.write("approve", thread="9.9")
        assert await people.state(approval) == "pending"
        await people.write("Deny", thread=message["ts"])
        assert (await people.state(approval), people.whispered[-1]) == ("denied", (OTTO, f"Denied: {approval}."))
        await people.write("fix", thread=message["ts"], user=OLGA)
        assert "is denied already" in people.whispered[-1][1]
        assert await people.refusals() == [
            "no operator",
            f"The approval {approval} is denied already.",
        ]


async def test_messages_that_answer_nothing_cost_no_write(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        _, message = await asked(people)
        before = await people.home.count("ledger")
        for text, thread in (("good morning", ""), ("approve", ""), ("hm", message["ts"]), ("approve", "8.8")):
            assert (await people.write(text, thread=thread)).status_code == 200
        assert (await people.home.count("door_events"), await people.home.count("ledger")) == (0, before)
        assert people.whispered == []


@pytest.mark.parametrize(
    "event",
    [
        {"user": BOT_USER},
        {"bot_id": "B0000BOT"},
        {"subtype": "message_changed"},
        {"subtype": "bot_message"},
        {"type": "reaction_added"},
        {"user": ""},
    ],
)
async def test_what_no_person_wrote_now_answers_nothing(tmp_path: Path, event: dict[str, str]) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        said = {"type": "message", "user": OTTO, "text": "approve", "channel": CHANNEL, "thread_ts": message["ts"], **event}
        answer = await people.post("/slack/events", json.dumps(people.world.event(said)).encode(), JSON)
        assert (answer.status_code, await people.state(approval), people.whispered) == (200, "pending", [])


async def test_who_mentions_the_app_is_told_what_it_does_once(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        event = people.world.event(
            {"type": "app_mention", "user": MALLORY, "text": f"<@{BOT_USER}> hi", "channel": CHANNEL, "ts": "2.2"}
        )
        for _ in range(2):
            await people.post("/slack/events", json.dumps(event).encode(), JSON)
        assert people.whispered == snapshot(
            [
                (
                    "U0000MALL",
                    """\
In the thread of a request for approval an operator answers with approve or deny, alone.
Usage: /agent-task list | show TASK | cancel TASK [reason]
Usage: /ops status | approve APPROVAL [note] | deny APPROVAL [note] | freeze ENVIRONMENT REASON\
""",
                )
            ]
        )


async def test_an_event_of_slacks_that_is_sent_again_answers_once(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        event = people.world.event(
            {"type": "message", "user": OTTO, "text": "approve", "channel": CHANNEL, "thread_ts": message["ts"]}
        )
        body = json.dumps(event).encode()
        answers = [await people.post("/slack/events", body, JSON, **{"x-slack-retry-num": str(n)}) for n in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 200], "Slack asks again for anything else"
        assert len(await people.home.records("approval.granted")) == 1
        assert (await people.state(approval), len(people.whispered)) == ("granted", 1)


async def test_an_event_that_cannot_be_taken_now_is_asked_for_again(tmp_path: Path) -> None:
    if databases.place(tmp_path, tmp_path) != tmp_path / "ops.db":
        pytest.skip("holds the lock of an embedded database")
    async with round_trip(tmp_path, ledger={"lock_seconds": 0.5}) as people:
        approval, message = await asked(people)
        event = people.world.event(
            {"type": "message", "user": OTTO, "text": "approve", "channel": CHANNEL, "thread_ts": message["ts"]}
        )
        body = json.dumps(event).encode()
        with sqlite3.connect(people.home.config.database_path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            assert (await people.post("/slack/events", body, JSON)).status_code == 503
            assert await people.press_under(message, "approve") == 503
            assert "the ledger" in (await people.say("/ops", f"approve {approval}")).lower()
            other.execute("ROLLBACK")
        other.close()
        assert await people.state(approval) == "pending"
        assert (await people.post("/slack/events", body, JSON)).status_code == 200
        assert await people.state(approval) == "granted"


async def test_a_message_that_nobody_can_be_told_of_stops_nothing(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        approval, message = await asked(people)
        people.world.channels[CHANNEL].archived = True
        assert await people.press_under(message, "approve") == 200
        assert (await people.state(approval), people.whispered) == ("granted", [])


async def test_alerts_are_taken_in_hand_and_silenced_by_the_buttons_of_their_message(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        message, alert = await _fired(people)
        assert [b["action_id"] for b in buttons(message)] == ["acknowledge", "silence"]
        await people.press_under(message, "acknowledge", user=MALLORY)
        assert people.whispered[-1][1].startswith("You are no operator")
        await people.press_under(message, "acknowledge")
        assert people.whispered[-1] == (OTTO, "In your hand: High in staging. It is not repeated until it ends.")
        found = await people.home.app.sights.alerts.alert(alert)
        assert found is not None
        assert found.acknowledgement is not None
        assert found.acknowledgement.by == "operator:otto"
        (record,) = await people.home.records("alerts.acknowledged")
        assert (record["caller"], record["environment"], record["data"]["alerts"]) == ("operator:otto", "staging", [alert])  # type: ignore[index,call-overload]
        await people.press_under(message, "silence")
        assert people.whispered[-1] == (OTTO, "High is silent in staging for an hour.")
        (silence,) = await people.home.app.sights.alerts.silences(tuple(people.home.config.environments))
        assert [str(matcher) for matcher in silence.matchers] == ['alertname="High"']
        assert (silence.ends_at - silence.starts_at).total_seconds() == 3600


async def _fired(people: Round) -> tuple[dict[str, Any], str]:
    """An alert that fires, and its message."""
    from tests.alerts.watching import Watched

    agent = await people.home.agent()
    watched = Watched(people.home, agent, alerting(people))
    await watched.rule(channels=["people"])
    (alert,) = await watched.round(9.0)
    people.home.advance(seconds=60)
    await watched.rounds.tell()
    await people.deliver()
    (message,) = people.messages
    return message, str(alert["id"])


async def told_of(people: Round, *names: str) -> str:
    """Alerts of these names that fire, and one message that told of them; its id."""
    alerts = [
        Alert(
            fingerprint=f"print-{name}", name=name, environment=EnvironmentName("staging"), severity=Severity.high,
            labels=labels_of({"alertname": name, "environment": "staging"}), began_at=START, starts_at=START, source="elsewhere",
        )
        for name in names
    ]  # fmt: skip
    body: Any = {"alerts": [{"status": "firing", "fingerprint": alert.fingerprint} for alert in alerts]}
    notice = Notice(id="ntc_1", channel="people", thread="alerts", severity="high", title="x", text="", body=body, at=START)

    def unit(tx: Transaction) -> None:
        receive(tx, alerts, at=START)
        outbox.enqueue(tx, notice, at=START)

    await people.home.database.write(unit)
    return notice.id


async def test_an_alert_is_silenced_by_its_own_name_whatever_that_is(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        name = 'Disk "full" \\ =~".*"'
        await people.press("silence", await told_of(people, name))
        (silence,) = await people.home.app.sights.alerts.silences(tuple(people.home.config.environments))
        assert [(m.name, m.operator.value, m.value) for m in silence.matchers] == [("alertname", "=", name)]


async def test_a_message_about_several_kinds_of_alerts_is_taken_in_hand_whole_and_not_silenced(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        notice = await told_of(people, "High", "Low")
        await people.press("silence", notice)
        assert await people.refusals() == ["This message is about 2 kinds of alerts."]
        await people.press("acknowledge", notice)
        (record,) = await people.home.records("alerts.acknowledged")
        assert len(record["data"]["alerts"]) == 2  # type: ignore[index,call-overload]
        await people.press("acknowledge", "ntc_unknown")
        assert (await people.refusals())[1:] == ["None of these alerts fires any more."]


async def test_a_message_that_only_offers_something_waits_for_the_morning_and_one_that_asks_does_not(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        await people.asked(await people.home.agent(ceiling=Level.prod, score=170))
        offers = tuple(Button(action=action, value="ntc_1", label=action) for action in ("acknowledge", "silence"))
        notice = Notice(
            id="ntc_1", channel="people", thread="t", severity="low", title="x", text="", at=START, buttons=offers
        )  # fmt: skip
        await people.home.database.write(lambda tx: outbox.enqueue(tx, notice, at=START))
        assert [one.asks for one in await outbox.queue(people.home.database, "people")] == [True, False]


async def test_an_id_that_is_no_tasks_is_said(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        assert await people.say("/agent-task", "cancel everything") == "This is no task's id. See: /agent-task list"
        assert await people.say("/agent-task", "cancel task_00000000") == (
            "There is no task with this id. List them with: ops-mcp task list"
        )


async def test_the_answer_to_a_request_is_kept_with_the_task_that_waits_for_it(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)
        waits = {"status": "waiting_approval", "action": "wait", "about": {"approval": approval}}
        for name, more in (("ship it", waits), ("something else", {"action": "go on"})):
            outcome = await people.home.call(agent, "checkpoint", environment="staging", name=name, **more)  # type: ignore[arg-type]
            assert isinstance(outcome, Done), outcome
        await people.press("approve", approval)
        rows = await people.home.database.fetch("SELECT body FROM interventions")
        assert [json.loads(row[0]) for row in rows] == [{"what": "approve", "by": "operator:otto", "reason": ""}]


def test_a_plan_too_long_for_a_message_cannot_be_approved_by_a_button() -> None:
    sent: list[Any] = []

    class Kept:
        def execute(self, sql: str, *params: Any) -> int:
            sent.append(params)
            return 1

    def asks(summary: str) -> Any:
        plan = Plan(tool="deploy", agent="ada", environment="production", summary=summary)  # type: ignore[arg-type]
        approval = Approval(
            id=ApprovalId("apr_1"), plan_digest=plan.digest, agent="ada", environment=plan.environment, service=None,
            call=CallId("call_1"), state=ApprovalState.pending, requested_at=START, answer_by=START,
        )  # fmt: skip
        approval_notices.tell_request(Kept(), approval, plan, channel="people", at=START)  # type: ignore[arg-type]
        return json.loads(sent[-1][4])

    short, long, entities = asks("x" * 2_000), asks("x" * 2_801), asks("<" * 700)
    assert [b["action"] for b in short["buttons"]] == ["approve", "deny"]
    for one in (long, entities):
        assert [b["action"] for b in one["buttons"]] == ["deny"]
        assert one["text"] == "This plan is too long to be shown here. Read it, and approve it there: ops-mcp approvals apr_1"
    steered = asks("Deploy\nwho: olga \u202edlrow\u200b")
    assert "what: deploy: Deploy\\u000awho: olga \\u202edlrow\\u200b" in steered["text"].splitlines()


FIELDS = (
    "type", "event", "user", "id", "actions", "channel", "thread_ts", "text", "value", "authorizations", "event_id", "trigger_id",
    "bot_id", "user_id",
)  # fmt: skip
SCALARS = st.sampled_from((None, True, 7, "", "U0000OTTO", "message", "block_actions", "event_callback", "\x00", "\ud800", "é"))
INNER = st.dictionaries(st.sampled_from(FIELDS), SCALARS, max_size=6)
SAID = st.dictionaries(st.sampled_from(FIELDS), SCALARS | INNER | st.lists(SCALARS | INNER, max_size=2), max_size=8)


@settings(deadline=None)
@given(said=SAID)
def test_whatever_is_signed_becomes_a_value_or_none(said: dict[str, Any]) -> None:
    for read in (event_in, command_in, press_in):
        with suppress(ValidationError):
            assert read(said, "otherwise").model_dump_json()


def test_ids_that_are_none_of_slacks_are_refused() -> None:
    def press(**more: str) -> Pressed | Other:
        user, action = {"id": more.get("user", OTTO)}, {"action_id": "approve", "value": "apr_1"}
        said = {"type": "block_actions", "user": user, "actions": [action], "trigger_id": more.get("id", "1.2.x")}
        return press_in(said, "otherwise")  # type: ignore[arg-type]

    assert isinstance(press(), Pressed)
    for wrong in ({"user": "U'; --"}, {"user": "U\x00OTTO"}, {"user": "otto"}, {"id": "a b"}, {"id": "\x00"}, {"id": "x" * 201}):
        with pytest.raises(ValueError, match="pattern"):
            press(**wrong)
    assert isinstance(event_in({"event": {"type": "message", "user": OTTO, "text": "hi"}}, "v0=1"), Wrote)


@pytest.mark.parametrize("stamp", ["²", "٣", "1" * 5_000, "-1", "1_000", " 1", "1.0", "nan", ""])
def test_a_timestamp_that_is_no_number_is_not_slacks(stamp: str) -> None:
    headers = Headers(raw=[(b"x-slack-request-timestamp", stamp.encode("latin-1", "replace")), (b"x-slack-signature", b"v0=00")])
    assert not is_slacks(Secret(SIGNING_SECRET), headers, b"", 1.0)


@pytest.mark.parametrize(
    "body",
    [
        as_form({"type": "block_actions", "user": {"id": "x y"}, "actions": [{"action_id": "approve"}]}),
        b'payload={"type": "block_actions", "user": {"id": "\\ud800"}, "actions": [{}]}',
        b"payload=null",
    ],
)
async def test_what_is_signed_and_none_of_slacks_is_a_bad_request(tmp_path: Path, body: bytes) -> None:
    async with round_trip(tmp_path) as people:
        assert (await people.post("/slack/interactive", body, FORM)).status_code == 400
        assert await outbox.listed(people.home.database, tuple(State), limit=10) == ()


async def test_strangers_at_the_door_are_counted_in_the_ledger_by_their_address(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        large = b"payload=" + b"x" * MOST_BYTES
        assert (await people.post("/slack/events", large, JSON)).status_code == 413
        assert (await people.post("/slack/commands", b"command=/ops&text=status", FORM, at=0)).status_code == 401
        people.visitors._write()  # what happens once a minute
        (record,) = await people.home.records("http.unauthenticated")
        assert record["data"] == {"requests": 2, "by_address": {"127.0.0.1": 2}}
        assert people.whispered == []


async def test_what_takes_longer_than_slack_waits_is_answered_in_time() -> None:
    async def never(_: dict[str, Any], __: str) -> Response:
        await anyio.sleep_forever()
        return Response()

    shown = await answered(never, {"command": "/ops"}, "1", seconds=0.01)
    assert b"This takes longer than Slack waits. Look with /ops status." in bytes(shown.body)
    for said in ({"event": {}}, {"type": "block_actions"}):
        assert (await answered(never, said, "1", seconds=0.01)).status_code == 503  # type: ignore[arg-type]
    assert ANSWER_SECONDS < 3


async def test_the_door_is_part_of_what_is_served_and_a_foreign_host_does_not_reach_it(tmp_path: Path) -> None:
    async with round_trip(tmp_path) as people:
        body = json.dumps({"type": "url_verification", "challenge": "abc"}).encode()
        headers = {"content-type": JSON, **signed(SIGNING_SECRET, body, people.home.now[0].timestamp())}
        async with Entrance(people.home).http() as http:
            answer = await http.post("/slack/events", content=body, headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"challenge": "abc"})
            foreign = await http.post("/slack/events", content=body, headers={**headers, "host": "evil.example"})
            assert foreign.status_code == 421
            assert (await http.get("/slack/events")).status_code == 405
