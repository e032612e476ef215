"""The simulator through the unmodified `slack_sdk`: every answer as Slack publishes it, its limits, and its faults."""

import json
from collections.abc import Generator
from http.client import IncompleteRead
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from sandbox.slack.world import APP_TOKEN, BOT_TOKEN, BOT_USER, SCOPES, TIERS, WANTS, WEBHOOK, Channel, Fault, Workspace
from tests.channels.slacking import Served, slack
from tests.sandbox.slack.spec import mistakes, sample, tiers

ALL = (*SCOPES, "channels:join", "im:write", "reactions:write", "users:read")
OPS = "C00000OPS"


@pytest.fixture
def served() -> Generator[Served]:
    with slack(Workspace(scopes=ALL)) as served:
        yield served


def client(served: Served, token: str = BOT_TOKEN) -> WebClient:
    return WebClient(token=token, base_url=served.api, retry_handlers=[])


def refused(call: Any, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(SlackApiError) as no:
        call(**arguments)
    answer: dict[str, Any] = no.value.response.data
    return answer


def test_every_answer_is_as_slack_publishes_it(served: Served) -> None:
    web = client(served)
    ts = str(web.chat_postMessage(channel=OPS, text="hello")["ts"])
    other = str(web.chat_postMessage(channel=OPS, text="to be deleted")["ts"])
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "x"}}]
    view = {"type": "modal", "title": {"type": "plain_text", "text": "x"}, "blocks": blocks}
    answers = {
        "auth.test": web.auth_test(),
        "chat.postMessage": web.chat_postMessage(channel=OPS, text="again", thread_ts=ts),
        "chat.update": web.chat_update(channel=OPS, ts=ts, text="changed"),
        "chat.delete": web.chat_delete(channel=OPS, ts=other),
        "chat.postEphemeral": web.chat_postEphemeral(channel=OPS, user="U0000OLGA", text="psst"),
        "conversations.list": web.conversations_list(),
        "conversations.info": web.conversations_info(channel=OPS),
        "conversations.history": web.conversations_history(channel=OPS),
        "conversations.replies": web.conversations_replies(channel=OPS, ts=ts),
        "conversations.join": web.conversations_join(channel=OPS),
        "reactions.add": web.reactions_add(channel=OPS, timestamp=ts, name="eyes"),
        "users.info": web.users_info(user="U0000OLGA"),
        "views.open": web.views_open(trigger_id="1.1.trigger", view=view),
    }
    assert [mistake for method, answer in answers.items() for mistake in mistakes(method, answer.data)] == []  # type: ignore[arg-type]
    assert web.conversations_open(users="U0000OLGA")["channel"]["id"] == "D0000OLGA"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("chat.postMessage", {"channel": "C9", "text": "x"}),
        ("chat.postMessage", {"channel": OPS, "text": ""}),
        ("chat.postMessage", {"channel": OPS, "text": "x" * 40_001}),
        ("chat.update", {"channel": OPS, "ts": "1.1", "text": "x"}),
        ("chat.delete", {"channel": OPS, "ts": "1.1"}),
        ("conversations.info", {"channel": "C9"}),
        ("conversations.replies", {"channel": OPS, "ts": "1.1"}),
        ("users.info", {"user": "U9"}),
    ],
)
def test_every_refusal_is_in_slacks_own_words(served: Served, method: str, arguments: dict[str, str]) -> None:
    answer = refused(client(served).api_call, api_method=method, params=arguments)
    assert mistakes(method, answer) == []


def test_a_token_that_is_not_the_bots_is_refused(served: Served) -> None:
    assert refused(client(served, "xoxb-other").auth_test)["error"] == "invalid_auth"
    assert refused(client(served).apps_connections_open, app_token=BOT_TOKEN)["error"] == "not_allowed_token_type"
    assert client(served).apps_connections_open(app_token=APP_TOKEN)["url"].startswith("ws://127.0.0.1")


def test_scopes_are_told_with_each_answer_and_a_missing_one_is_named(served: Served) -> None:
    assert client(served).auth_test().headers["x-oauth-scopes"] == ",".join(ALL)
    served.world.scopes = ("chat:write",)
    answer = refused(client(served).conversations_list)
    assert (answer["error"], answer["needed"], answer["provided"]) == ("missing_scope", "channels:read", "chat:write")


def test_private_channels_need_scopes_of_their_own_and_hide_from_strangers(served: Served) -> None:
    served.world.channels["C0000WITH"] = Channel("C0000WITH", "with", private=True)
    served.world.channels["C0WITHOUT"] = Channel("C0WITHOUT", "without", private=True, members=set())
    web = client(served)
    assert refused(web.conversations_info, channel="C0WITHOUT")["error"] == "channel_not_found"
    assert refused(web.chat_postMessage, channel="C0WITHOUT", text="x")["error"] == "channel_not_found"
    assert "without" not in [c["name"] for c in web.conversations_list(types="public_channel,private_channel")["channels"]]
    served.world.scopes = ("channels:read", "channels:history")
    assert refused(web.conversations_list, types="private_channel")["needed"] == "groups:read"
    assert refused(web.conversations_info, channel="C0000WITH")["needed"] == "groups:read"
    assert refused(web.conversations_history, channel="C0000WITH")["needed"] == "groups:history"


def test_a_public_channel_is_posted_to_by_members_or_with_a_scope_for_it(served: Served) -> None:
    served.world.channels["C0000FREE"] = Channel("C0000FREE", "free", members=set())
    web = client(served)
    assert web.chat_postMessage(channel="C0000FREE", text="x")["ok"]
    served.world.scopes = ("chat:write", "channels:join")
    assert refused(web.chat_postMessage, channel="C0000FREE", text="x")["error"] == "not_in_channel"
    web.conversations_join(channel="C0000FREE")
    assert web.chat_postMessage(channel="C0000FREE", text="x")["ok"]


@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        ([{"type": "divider"}] * 51, "invalid_blocks"),
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "invalid_blocks"),
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_000}}] * 14, "msg_blocks_too_long"),
    ],
)
def test_blocks_beyond_slacks_limits_are_refused(served: Served, blocks: list[dict[str, Any]], error: str) -> None:
    assert refused(client(served).chat_postMessage, channel=OPS, text="x", blocks=blocks)["error"] == error
    assert served.world.thread(OPS) == []


def test_a_persons_message_is_changed_and_deleted_by_nobody_else(served: Served) -> None:
    ts = served.world.wrote("mine", user="U0000OLGA", channel=OPS)["event"]["ts"]
    assert refused(client(served).chat_update, channel=OPS, ts=ts, text="x")["error"] == "cant_update_message"
    assert refused(client(served).chat_delete, channel=OPS, ts=ts)["error"] == "cant_delete_message"
    assert [message["text"] for message in served.world.thread(OPS)] == ["mine"]


def test_pages_hold_every_message_once_newest_first_and_no_replies(served: Served) -> None:
    web = client(served)
    sent = [str(web.chat_postMessage(channel=OPS, text=f"{n}")["ts"]) for n in range(7)]
    web.chat_postMessage(channel=OPS, text="reply", thread_ts=sent[0])
    pages = [page["messages"] for page in web.conversations_history(channel=OPS, limit=3)]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [message["ts"] for page in pages for message in page] == sent[::-1]
    assert [message["text"] for message in web.conversations_replies(channel=OPS, ts=sent[0])["messages"]] == ["0", "reply"]


def test_the_limit_of_a_methods_tier_frees_itself_within_a_minute(served: Served) -> None:
    served.world.most_a_minute = TIERS
    web = client(served)
    for _ in range(20):
        web.conversations_list()
    with pytest.raises(SlackApiError, match="ratelimited") as limited:
        web.conversations_list()
    assert limited.value.response.headers["retry-after"] == "60"
    served.world.now += 60
    assert web.conversations_list()["ok"]


def test_the_limits_are_those_of_the_published_tiers() -> None:
    most = {"Tier1": 1, "Tier2": 20, "Tier3": 50, "Tier4": 100}
    assert {method: most[tiers()[method]] for method in TIERS} == TIERS
    assert {method for method in WANTS if tiers()[method] in most} <= TIERS.keys()


@pytest.mark.parametrize(("fault", "taken"), [(Fault(cut=True), 0), (Fault(cut=True, after_effect=True), 1)])
def test_an_answer_may_break_off_before_or_after_the_message_is_taken(served: Served, fault: Fault, taken: int) -> None:
    served.world.fail("chat.postMessage", fault)
    with pytest.raises(IncompleteRead):
        client(served).chat_postMessage(channel=OPS, text="x")
    assert len(served.world.thread(OPS)) == taken


def test_an_answer_may_be_given_at_its_address_five_times(served: Served) -> None:
    served.world.address = served.url
    url = served.world.command("/ops", "status", user="U0000OLGA")["response_url"]
    said = [_posted(url, {"text": f"{n}"}) for n in range(6)]
    assert said == [(200, "ok")] * 5 + [(404, "used_url")]
    assert _posted(f"{served.url}/response/never", {}) == (404, "expired_url")


def test_the_sdks_webhook_client_is_answered_ok_or_in_a_word(served: Served) -> None:
    hook = WebhookClient(served.url + WEBHOOK)
    answer = hook.send(text="hello")
    assert (answer.status_code, answer.body) == (200, "ok")
    served.world.fail("webhook", Fault(404, said="no_service"))
    answer = hook.send(text="gone")
    assert (answer.status_code, answer.body) == (404, "no_service")
    assert [message["text"] for message in served.world.thread("C0000SUPER")] == ["hello"]


def test_what_a_person_does_has_only_fields_that_slacks_has() -> None:
    world = Workspace()
    message = {"type": "message", "user": BOT_USER, "ts": world.ts(), "text": "x"}
    pressed = world.pressed(message, "approve", user="U0000OLGA", value="apr_1")
    assert pressed.keys() <= sample("app-backend_interactive-components_BlockActionPayload.json").keys()
    command = world.command("/ops", "status", user="U0000OLGA")
    assert command.keys() <= sample("app-backend_slash-commands_SlashCommandPayload.json").keys()
    event = world.wrote("hi", user="U0000OLGA")
    assert event.keys() <= sample("events_MessagePayload.json").keys()
    assert event["event"].keys() <= sample("events_MessagePayload.json")["event"].keys()


def _posted(url: str, body: dict[str, Any]) -> tuple[int, str]:
    request = Request(url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST")
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
