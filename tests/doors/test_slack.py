"""Slack's requests through the real door into a real database: who is let in, what they may do, and what leaves no effect."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from slack_sdk.signature import SignatureVerifier
from starlette.applications import Starlette
from starlette.datastructures import Headers

from ops_mcp.call import call
from ops_mcp.domain.identity import AgentName, Client, Credential, Level, OperatorName
from ops_mcp.domain.outcomes import Done, NeedsApproval, Refused
from ops_mcp.doors import slack
from ops_mcp.operator.verbs import AddOperator, RevokeOperator, SetAgent
from ops_mcp.secrets import Secrets
from ops_mcp.store import outbox
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.outbox import State
from ops_mcp.store.people import stored_approval
from ops_mcp.values import Secret
from ops_mcp.visitors import StoredVisitors
from sandbox.slack.world import SIGNING_SECRET, Workspace, as_form, signed
from tests.house import House, house

pytestmark = pytest.mark.anyio

OTTO, OLGA, MALLORY = "U0000OTTO", "U0000OLGA", "U0000MALL"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass
class InSlack:
    """A workspace whose people reach our door, and the house behind it."""

    home: House
    app: Starlette
    visitors: StoredVisitors
    world: Workspace = field(default_factory=Workspace)

    async def post(self, path: str, body: bytes, kind: str, *, at: float | None = None, **headers: str) -> httpx2.Response:
        sent = signed(SIGNING_SECRET, body, self.home.now[0].timestamp() if at is None else at) | headers
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url="http://ops") as http:
            return await http.post(path, content=body, headers={"content-type": kind, **sent})

    async def press(self, action: str, value: str, *, user: str = OTTO) -> httpx2.Response:
        payload = self.world.pressed({"ts": "1.1"}, action, user=user, value=value)
        return await self.post("/slack/interactive", as_form(payload), FORM)

    async def say(self, command: str, text: str, *, user: str = OTTO) -> str:
        form = urlencode(self.world.command(command, text, user=user)).encode()
        answer = await self.post("/slack/commands", form, FORM)
        assert answer.status_code == 200
        assert answer.json()["response_type"] == "ephemeral"
        return str(answer.json()["text"])

    async def write(self, text: str, *, user: str = OTTO, thread: str = "") -> httpx2.Response:
        event = {"type": "message", "user": user, "text": text, "channel": "C0000SUPER", "ts": "2.2", "thread_ts": thread}
        return await self.post("/slack/events", json.dumps(self.world.event(event)).encode(), JSON)

    async def asked(self, agent: Credential) -> str:
        outcome = await self.home.call(agent, "deploy", service="web", environment="production", ref="next", reason="<!here> now")
        assert isinstance(outcome, NeedsApproval), outcome
        return outcome.approval.id

    async def state(self, approval: str) -> str:
        stored = await stored_approval(self.home.database, approval)
        assert stored is not None
        return stored.approval.state.value

    async def refusals(self) -> list[str]:
        return [str(record["reason"]) for record in await self.home.records("slack.refused")]


@asynccontextmanager
async def in_slack(tmp_path: Path, *, socket: str = "", **settings: Any) -> AsyncGenerator[InSlack]:
    """Otto is an operator with an id in Slack, and so is Olga, who owns the agents; Mallory is none."""
    told: dict[str, Any] = {"signing_secret": "slack-signing", "approvals": "people"}
    if socket:
        told |= {"socket_mode": True, "api": socket}
    channels = {"people": {"kind": "file", "path": "/nowhere/people.jsonl"}}
    async with house(tmp_path, slack=told, channels=channels, **settings) as home:
        Secrets(home.config.config_dir).put("slack-signing", Secret(SIGNING_SECRET))
        for name, id in (("otto", OTTO), ("oskar", OLGA)):
            key = SigningKey.generate()
            await home.order(AddOperator(name=OperatorName(name), public_key=key.public, slack_id=id, protected=False))
        visitors = StoredVisitors(home.database, home.app.clock)
        yield InSlack(home, Starlette(routes=list(slack.routes(home.opened, visitors))), visitors)


async def test_a_button_approves_exactly_the_plan_that_was_told_and_the_message_says_who_did(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)
        (request,) = await outbox.listed(people.home.database, tuple(State), limit=10)
        assert [(b.action, b.value) for b in request.notice.buttons] == [("approve", approval), ("deny", approval)]
        assert "what: deploy" in request.notice.text
        assert "<!here>" not in request.notice.text, "the agent's words are quoted"
        answered = await people.press("approve", approval)
        assert (answered.status_code, answered.json()["text"]) == (200, f"Approved: {approval}.")
        update, _ = await outbox.listed(people.home.database, tuple(State), limit=10)
        assert update.notice.title == "Approved by otto: ada in production"
        assert (update.notice.replaces, update.notice.buttons) == ("first", ())
        assert update.notice.thread == request.notice.thread
        outcome = await people.home.call(agent, "deploy", service="web", environment="production", ref="next")
        assert isinstance(outcome, Done), outcome
        (granted,) = await people.home.records("approval.granted")
        assert granted["caller"] == "operator:otto"
        assert granted["data"]["order"]["attested"]["door"] == "slack"  # type: ignore[index,call-overload]
        assert granted["data"]["order"]["attested"]["evidence"] == OTTO  # type: ignore[index,call-overload]


async def test_a_button_denies_and_the_agent_is_refused(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)
        assert (await people.press("deny", approval)).json()["text"] == f"Denied: {approval}."
        assert await people.state(approval) == "denied"


async def test_of_two_who_press_at_once_the_first_decides(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)
        await people.press("deny", approval)
        late = await people.press("approve", approval, user=OLGA)
        assert "already" in late.json()["text"]
        assert await people.state(approval) == "denied"
        assert len(await people.refusals()) == 1


async def test_a_word_in_the_thread_of_a_request_answers_it_for_an_operator_only(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)

        def delivered(tx: Any) -> None:
            tx.execute(
                "INSERT INTO outbox_threads (channel, thread, outside, used_at) VALUES (?, ?, ?, ?)",
                "people", f"approval {approval}", "C0000SUPER:1.000001", "2026-11-20T12:00:00+00:00",
            )  # fmt: skip

        await people.home.database.write(delivered)
        await people.write("approve", thread="1.000001", user=MALLORY)
        assert await people.state(approval) == "pending"
        assert await people.refusals() == ["no operator"]
        await people.write("looks good to me", thread="1.000001")
        assert await people.state(approval) == "pending"
        await people.write(" Proceed ", thread="1.000001")
        assert await people.state(approval) == "granted"


async def test_the_agents_owner_may_not_approve_under_four_eyes(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        places = people.home.config.environments
        strict = {**places, "production": places["production"].evolve(four_eyes=True)}  # type: ignore[index]
        opened = replace(people.home.opened, config=people.home.config.model_copy(update={"environments": strict}))
        people.app = Starlette(routes=list(slack.routes(opened, people.visitors)))
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        await people.home.order(SetAgent(name=AgentName("ada"), owner=OperatorName("otto"), reason="moved"))
        approval = await people.asked(agent)
        assert "somebody else" in (await people.press("approve", approval)).json()["text"]
        assert await people.state(approval) == "pending"
        assert len(await people.refusals()) == 1
        assert (await people.press("approve", approval, user=OLGA)).json()["text"] == f"Approved: {approval}."


async def _reached(people: InSlack) -> tuple[str, dict[str, int]]:
    """An open approval, and how often each kind of record is there."""
    agent = await people.home.agent(ceiling=Level.prod, score=170)
    approval = await people.asked(agent)
    return approval, await _kinds(people)


async def _kinds(people: InSlack) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in await people.home.records():
        found[str(record["kind"])] = found.get(str(record["kind"]), 0) + 1
    return found


async def test_what_slack_did_not_sign_is_refused_counted_and_has_no_effect(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        approval, before = await _reached(people)
        body = as_form(people.world.pressed({"ts": "1.1"}, "approve", user=OTTO, value=approval))
        now = people.home.now[0].timestamp()
        right = signed(SIGNING_SECRET, body, now)
        cases: list[dict[str, str]] = [
            {"x-slack-signature": ""},
            {"x-slack-signature": "v0=" + "0" * 64},
            {"x-slack-signature": right["x-slack-signature"].upper()},
            {"x-slack-request-timestamp": ""},
            {"x-slack-request-timestamp": "soon"},
            {"x-slack-request-timestamp": "9" * 30},
            {"x-slack-request-timestamp": str(int(now) + 1)},
            signed("another secret", body, now),
            signed(SIGNING_SECRET, body + b" ", now),
            signed(SIGNING_SECRET, body, now - 301),
            signed(SIGNING_SECRET, body, now + 301),
        ]
        for case in cases:
            assert (await people.post("/slack/interactive", body, FORM, **case)).status_code == 401, case
        assert await people.state(approval) == "pending"
        assert await _kinds(people) == before
        people.visitors._write()  # what happens once a minute
        (counted,) = await people.home.records("http.unauthenticated")
        assert counted["data"]["requests"] == len(cases)  # type: ignore[index,call-overload]


async def test_a_request_that_is_sent_again_has_no_effect(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        approval, _ = await _reached(people)
        body = as_form(people.world.pressed({"ts": "1.1"}, "deny", user=OTTO, value=approval))
        first = await people.post("/slack/interactive", body, FORM)
        again = await people.post("/slack/interactive", body, FORM)
        assert (first.status_code, again.status_code) == (200, 409)
        assert len(await people.home.records("approval.denied")) == 1
        assert await people.refusals() == ["sent before"]


async def test_a_body_that_is_too_large_is_not_looked_into(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        body = b"payload=" + b"x" * slack.MOST_BYTES
        assert (await people.post("/slack/interactive", body, FORM)).status_code == 413


@pytest.mark.parametrize("body", [b"", b"payload={", b"payload=[1]", b"\xff\xfe", b"payload=" + b"[" * 5_000])
async def test_a_signed_body_that_is_not_what_slack_sends_does_nothing(tmp_path: Path, body: bytes) -> None:
    async with in_slack(tmp_path) as people:
        answered = await people.post("/slack/interactive", body, FORM)
        assert answered.status_code in (200, 400)
        assert await people.home.records("slack.refused") == []


async def test_somebody_who_is_no_operator_is_told_and_recorded(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        approval, _ = await _reached(people)
        pressed = await people.press("approve", approval, user=MALLORY)
        assert "You are no operator" in pressed.json()["text"]
        assert "You are no operator" in await people.say("/ops", f"approve {approval}", user=MALLORY)
        assert await people.state(approval) == "pending"
        assert await people.refusals() == ["no operator", "no operator"]


async def test_an_operator_who_was_revoked_is_none(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        approval, _ = await _reached(people)
        await people.home.order(RevokeOperator(name="otto", reason="left"))
        assert "You are no operator" in (await people.press("approve", approval)).json()["text"]
        assert await people.state(approval) == "pending"


async def test_a_grant_of_an_operator_who_is_revoked_afterwards_is_worth_nothing(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent(ceiling=Level.prod, score=170)
        approval = await people.asked(agent)
        await people.press("approve", approval)
        await people.home.order(RevokeOperator(name="otto", reason="left"))
        outcome = await people.home.call(agent, "deploy", service="web", environment="production", ref="next")
        assert isinstance(outcome, NeedsApproval | Refused)


async def test_an_unknown_approval_is_said_and_recorded(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        answered = await people.press("approve", "apr_00000000")
        assert "no such approval" in answered.json()["text"]
        assert len(await people.refusals()) == 1


async def test_a_flood_of_refusals_is_counted(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        for _ in range(slack.MOST_RECORDED + 20):
            await people.press("approve", "apr_00000000", user=MALLORY)
        assert len(await people.refusals()) == slack.MOST_RECORDED
        people.visitors._write()  # what happens once a minute
        (counted,) = await people.home.records("http.unauthenticated")
        assert counted["data"]["by_address"] == {"slack": 20}  # type: ignore[index,call-overload]


async def test_slacks_first_question_is_answered_where_it_is_signed(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        body = json.dumps({"type": "url_verification", "challenge": "abc"}).encode()
        assert (await people.post("/slack/events", body, JSON)).json() == {"challenge": "abc"}
        assert (await people.post("/slack/events", body, JSON, **{"x-slack-signature": "v0=0"})).status_code == 401


async def test_tasks_are_listed_shown_and_cancelled_by_command(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent()
        opened = await _opened(people, agent)
        listed = await people.say("/agent-task", "list")
        assert opened in listed
        assert "&lt;Ship&gt; it" in listed
        assert "Progress: ▓▓▓▓▓░░░░░ 50%" in await people.say("/agent-task", f"show {opened}")
        assert "asked to stop" in await people.say("/agent-task", f"cancel {opened} wrong branch")
        shown = await people.home.call(agent, "task", task=opened)
        assert isinstance(shown, Done)
        assert (shown.result["cancel_by"], shown.result["untrusted_cancel_reason"]) == ("operator:otto", "wrong branch")


async def _opened(people: InSlack, agent: Credential) -> str:
    arguments = {"environment": "staging", "name": "<Ship> it", "action": "began", "progress": 50}
    outcome = await call(people.home.app, agent, Client(), "checkpoint", arguments)
    assert isinstance(outcome, Done), outcome
    return str(outcome.result["task"])


async def test_a_task_is_cancelled_by_its_button(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent()
        task = await _opened(people, agent)
        assert "asked to stop" in (await people.press("cancel_task", task)).json()["text"]
        assert "already" in (await people.press("cancel_task", task)).json()["text"]


async def test_a_freeze_by_command_stops_the_next_change_and_needs_a_reason(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        agent = await people.home.agent()
        assert "needs a reason" in await people.say("/ops", "freeze staging")
        assert "no such environment" in await people.say("/ops", "freeze moon stocktaking")
        assert "Frozen: staging" in await people.say("/ops", "freeze staging stocktaking now")
        frozen = await people.home.call(agent, "deploy", service="web", environment="staging")
        assert isinstance(frozen, Refused)
        assert frozen.problem.code == "frozen"


@pytest.mark.parametrize("text", ["", "   ", "hire otto", "show", "cancel"])
async def test_a_command_that_is_none_is_answered_with_its_usage(tmp_path: Path, text: str) -> None:
    async with in_slack(tmp_path) as people:
        assert (await people.say("/agent-task", text)).startswith("Usage: /agent-task")
        assert "Usage: /ops" in await people.say("/ops", "dance")


async def test_the_status_names_what_waits(tmp_path: Path) -> None:
    async with in_slack(tmp_path) as people:
        assert "Nothing waits" in await people.say("/ops", "status")
        approval, _ = await _reached(people)
        assert approval in await people.say("/ops", "status")
        assert f"Approved: {approval}" in await people.say("/ops", f"approve {approval} go")


async def test_without_a_signing_secret_there_is_no_door(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        assert slack.routes(home.opened, StoredVisitors(home.database, home.app.clock)) == ()
    async with house(tmp_path / "unset", slack={"signing_secret": "nowhere"}) as home:
        assert slack.routes(home.opened, StoredVisitors(home.database, home.app.clock)) == ()


async def test_the_sdks_verifier_agrees_with_ours() -> None:
    body = b'{"type":"event_callback"}'
    at = 1_763_000_000.0
    headers = signed(SIGNING_SECRET, body, at)

    class Fixed:
        def now(self) -> float:
            return at

    assert SignatureVerifier(SIGNING_SECRET, clock=Fixed()).is_valid_request(body, headers)  # type: ignore[arg-type]
    assert slack.is_slacks(Secret(SIGNING_SECRET), Headers(headers), body, at)
    assert not SignatureVerifier("other", clock=Fixed()).is_valid_request(body, headers)  # type: ignore[arg-type]
