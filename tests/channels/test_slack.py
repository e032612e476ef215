"""The Slack channel against the simulated workspace, through the unmodified `slack_sdk`."""

import pytest
from inline_snapshot import snapshot
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from ops_mcp.channels._slack_blocks import cut, escaped, message_of
from ops_mcp.channels.slack import SlackTerms
from ops_mcp.domain.notices import Button
from ops_mcp.errors import Code, NotConfigured, OpsError
from ops_mcp.observing import Ready, Reconciles
from sandbox.slack.world import BOT_TOKEN, Channel, Fault, Workspace, buttons
from tests.channels.slacking import START, a_notice, slack

pytestmark = pytest.mark.anyio


async def test_a_notice_arrives_with_its_look_its_words_and_its_id() -> None:
    with slack() as served:
        outside = await served.way().channel.send(a_notice())
        (message,) = served.world.thread("C0000SUPER")
        assert outside == f"C0000SUPER:{message['ts']}"
        assert message["text"] == "🟠 Down"
        assert message["metadata"] == {"event_type": "ops_mcp_notice", "event_payload": {"notice": "n1"}}
        assert message["attachments"][0]["color"] == "#e07000"


async def test_later_notices_of_a_thread_answer_its_first_message() -> None:
    with slack() as served:
        channel = served.way().channel
        first = await channel.send(a_notice())
        await channel.send(a_notice(id="n2", parent=first, title="Still down"))
        (root,) = served.world.thread("C0000SUPER")
        assert [reply["text"] for reply in root["replies"]] == ["🟠 Still down"]


async def test_a_message_is_changed_and_loses_its_buttons() -> None:
    with slack() as served:
        channel = served.way().channel
        asked = a_notice(buttons=(Button(action="approve", value="apr_1", label="Approve", style="primary", confirm="Really?"),))
        outside = await channel.send(asked)
        (before,) = served.world.thread("C0000SUPER")
        assert [(b["action_id"], b["value"]) for b in buttons(before)] == [("approve", "apr_1")]
        assert await channel.send(a_notice(id="n2", replaces=outside, text="Approved by olga.")) == outside
        (after,) = served.world.thread("C0000SUPER")
        assert buttons(after) == []


async def test_a_channels_name_is_resolved_once_over_all_pages() -> None:
    world = Workspace()
    for number in range(450):
        world.channels[f"C{number:09d}"] = Channel(f"C{number:09d}", f"team-{number}")
    world.channels["C000000LAST"] = Channel("C000000LAST", "last")
    with slack(world) as served:
        channel = served.way(channel="#last").channel
        await channel.send(a_notice())
        await channel.send(a_notice(id="n2"))
        assert len(world.thread("C000000LAST")) == 2
        assert sum(method == "conversations.list" for method, _ in world.seen) == 3


async def test_a_message_whose_answer_was_lost_is_found_again() -> None:
    with slack() as served:
        channel = served.way().channel
        assert isinstance(channel, Reconciles)
        served.world.fail("chat.postMessage", Fault(status=500, after_effect=True))
        with pytest.raises(OpsError) as lost:
            await channel.send(a_notice())
        assert not lost.value.may_be_retried, "it may have arrived"
        (message,) = served.world.thread("C0000SUPER")
        assert await channel.find(a_notice()) == f"C0000SUPER:{message['ts']}"
        assert await channel.find(a_notice(id="n2")) is None


async def test_a_reply_whose_answer_was_lost_is_found_in_its_thread() -> None:
    with slack() as served:
        channel = served.way().channel
        assert isinstance(channel, Reconciles)
        first = await channel.send(a_notice())
        served.world.fail("chat.postMessage", Fault(status=500, after_effect=True))
        reply = a_notice(id="n2", parent=first)
        with pytest.raises(OpsError):
            await channel.send(reply)
        (root,) = served.world.thread("C0000SUPER")
        assert await channel.find(reply) == f"C0000SUPER:{root['replies'][0]['ts']}"


async def test_a_rate_limit_says_how_long_to_wait() -> None:
    with slack() as served:
        served.world.fail("chat.postMessage", Fault(status=429, retry_after=7))
        with pytest.raises(OpsError) as limited:
            await served.way().channel.send(a_notice())
        assert limited.value.code is Code.rate_limited
        assert limited.value.problem.retry_after_seconds == 7
        assert served.world.thread("C0000SUPER") == []


async def test_a_bot_that_was_not_invited_is_told_to_be() -> None:
    world = Workspace(channels={"C0PRIVATE1": Channel("C0PRIVATE1", "secret", private=True, members=set())})
    with slack(world) as served:
        with pytest.raises(OpsError) as refused:
            await served.way(channel="C0PRIVATE1").channel.send(a_notice())
        assert refused.value.code is Code.not_found, "Slack does not own up to a private channel"
        assert "/invite" in refused.value.problem.hint
        with pytest.raises(OpsError) as unseen:
            await served.way(channel="#secret").channel.send(a_notice())
        assert unseen.value.code is Code.not_found


async def test_a_public_channel_without_the_bot_says_to_invite_it() -> None:
    free = Channel("C0000FREE", "free", members=set())
    with slack(Workspace(scopes=("chat:write",), channels={free.id: free})) as served:
        with pytest.raises(OpsError) as refused:
            await served.way(channel=free.id).channel.send(a_notice())
        assert refused.value.code is Code.not_permitted
        assert "/invite" in refused.value.problem.hint
        assert free.messages == []


@pytest.mark.parametrize("taken", [False, True])
async def test_an_answer_that_breaks_off_is_in_doubt_and_looked_for(taken: bool) -> None:
    with slack() as served:
        channel = served.way().channel
        assert isinstance(channel, Reconciles)
        served.world.fail("chat.postMessage", Fault(cut=True, after_effect=taken))
        with pytest.raises(OpsError) as lost:
            await channel.send(a_notice())
        assert not lost.value.may_be_retried
        assert bool(await channel.find(a_notice())) is taken


async def test_a_missing_scope_is_named() -> None:
    with slack(Workspace(scopes=("channels:read", "groups:read"))) as served:
        with pytest.raises(OpsError) as refused:
            await served.way().channel.send(a_notice())
        assert "chat:write" in refused.value.problem.message


async def test_a_wrong_token_is_said_and_not_shown() -> None:
    with slack() as served:
        with pytest.raises(OpsError) as refused:
            await served.way(token="xoxb-somebody-elses").channel.send(a_notice())
        assert refused.value.code is Code.unauthenticated
        assert "somebody" not in repr(refused.value.problem)
        with pytest.raises(NotConfigured, match="no bot token"):
            await served.way(token="xoxp-a-persons").channel.send(a_notice())


async def test_nobody_listening_is_worth_another_attempt() -> None:
    with slack() as served:
        way = served.way()
    with pytest.raises(OpsError) as refused:
        await way.channel.send(a_notice())
    assert refused.value.may_be_retried


async def test_ready_tells_team_bot_and_channel() -> None:
    with slack() as served:
        channel = served.way().channel
        assert isinstance(channel, Ready)
        assert await channel.ready() == "slack: ops-mcp of Sandbox posts to #agent-supervisory (C0000SUPER)."
        assert served.world.thread("C0000SUPER") == []


async def test_hostile_words_mention_nobody_and_link_nowhere() -> None:
    hostile = "<!channel> <@U0000OLGA> <https://evil.example|your bank> *bold* `code` & more"
    with slack() as served:
        await served.way().channel.send(a_notice(title=hostile, text=hostile, untrusted=hostile))
        (message,) = served.world.thread("C0000SUPER")
        assert "<" not in message["text"]
        section, quoted = message["attachments"][0]["blocks"]
        assert "<" not in section["text"]["text"]
        assert quoted["elements"][0]["elements"] == [{"type": "text", "text": hostile}]


async def test_a_long_message_is_cut_within_slacks_limits_and_says_so() -> None:
    with slack() as served:
        await served.way().channel.send(a_notice(title="t" * 500, text="<" * 2_900, untrusted="x" * 20_000))
        (message,) = served.world.thread("C0000SUPER")
        quoted = message["attachments"][0]["blocks"][-1]["elements"][0]["elements"][0]["text"]
        assert quoted.endswith("[…]")
        assert sum(map(len, (message["text"], quoted))) < 10_000


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("C0123456789", "C0123456789"),
        ("D0123456789", "D0123456789"),
        ("https://team.slack.com/archives/C0123456789/p1763", "C0123456789"),
        ("#ops", "#ops"),
    ],
)
async def test_a_channel_is_given_by_id_link_or_name(given: str, kept: str) -> None:
    assert SlackTerms(channel=given).channel == kept


@pytest.mark.parametrize("given", ["ops", "", "# ops", "https://evil.example/archives/C0123456789", "U0123456789"])
async def test_anything_else_is_no_channel(given: str) -> None:
    with pytest.raises(ValueError, match="must be a channel"):
        SlackTerms(channel=given)


@pytest.mark.parametrize("api", ["http://slack.com/api/", "http://evil.example/", "ftp://127.0.0.1/"])
async def test_the_token_is_sent_by_https_only_but_to_this_machine(api: str) -> None:
    with pytest.raises(ValueError, match="https"):
        SlackTerms(api=api)


async def test_the_sdks_own_client_is_answered_as_by_slack() -> None:
    with slack(Workspace(most_a_second=True)) as served:
        client = WebClient(token=BOT_TOKEN, base_url=served.api, retry_handlers=[])
        assert client.auth_test()["team_id"] == "T0000TEAM"
        posted = client.chat_postMessage(channel="C00000OPS", text="hello")
        assert client.conversations_history(channel="C00000OPS")["messages"][0]["text"] == "hello"
        with pytest.raises(SlackApiError) as limited:
            client.chat_postMessage(channel="C00000OPS", text="too soon")
        assert limited.value.response.status_code == 429
        assert limited.value.response.headers["retry-after"] == "1"
        with pytest.raises(SlackApiError, match="message_not_found"):
            client.chat_update(channel="C00000OPS", ts="1.1", text="x")
        with pytest.raises(SlackApiError, match="channel_not_found"):
            client.conversations_info(channel="C9")
        assert client.conversations_replies(channel="C00000OPS", ts=str(posted["ts"]))["messages"]


def test_the_look_of_the_four_severities() -> None:
    shown = [message_of(a_notice(severity=s, title=f"[{s.upper()}] Down")).text for s in ("critical", "high", "medium", "low")]
    assert shown == snapshot(["🔴 [CRITICAL] Down", "🟠 [HIGH] Down", "🟡 [MEDIUM] Down", "🟢 [LOW] Down"])


def test_a_prefix_is_seen_and_its_absence_leaves_no_space() -> None:
    assert message_of(a_notice(), "[auto-ops]").text == "[auto-ops] 🟠 Down"
    assert message_of(a_notice(), "").text == "🟠 Down"


def test_only_slacks_own_three_characters_become_entities() -> None:
    assert escaped("<a href=\"x\">&amp; 'y'</a>") == "&lt;a href=\"x\"&gt;&amp;amp; 'y'&lt;/a&gt;"


def test_a_cut_is_no_longer_than_it_may_be() -> None:
    assert cut("x" * 11, 10) == "x" * 6 + " […]"
    assert cut("x" * 10, 10) == "x" * 10


def test_the_moment_of_the_notice_is_where_its_history_begins() -> None:
    assert START.timestamp() == Workspace().now
