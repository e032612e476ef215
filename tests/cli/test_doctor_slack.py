"""What the doctor finds in Slack, asked of the simulated workspace: scopes, membership, and whether people can answer."""

import pytest

from ops_mcp.secrets import Secrets
from ops_mcp.values import Secret
from sandbox.slack.world import BOT_TOKEN, SCOPES, Channel, Workspace
from tests.channels.slacking import Served, slack
from tests.cli.conftest import Terminal
from tests.cli.test_doctor import configure, findings

OURS = ("channel team", "channel hook", "slack")
ANSWERED = '[slack]\nsigning_secret = "SLACK_SIGNING_SECRET"'


def put(terminal: Terminal, **values: str) -> None:
    for name, value in values.items():
        Secrets(terminal.config_dir).put(name, Secret(value))


def found(
    terminal: Terminal, served: Served, *, channel: str = "C0000SUPER", slack: str = ANSWERED
) -> list[tuple[str, str, str]]:
    put(terminal, SLACK_BOT_TOKEN=BOT_TOKEN, SLACK_SIGNING_SECRET="the-signing-secret")
    configure(terminal, f'[channels.team]\nkind = "slack"\nchannel = "{channel}"\napi = "{served.api}"\n{slack}')
    told = terminal("doctor", "--json")
    assert "the-signing-secret" not in told.out
    assert BOT_TOKEN not in told.out
    return [(each["what"], each["state"], each["says"]) for each in findings(told) if each["what"] in OURS]


def test_all_is_well_where_everything_is_granted(terminal: Terminal) -> None:
    with slack() as served:
        assert found(terminal, served, channel="#agent-supervisory") == [
            ("channel team", "ok", "slack: ops-mcp of Sandbox posts to #agent-supervisory (C0000SUPER)."),
            ("channel team", "ok", "The bot is in the channel, and has the scopes it needs there."),
            ("slack", "ok", "The signing secret is set: the routes are served."),
        ]
        assert served.world.thread("C0000SUPER") == []


@pytest.mark.parametrize(
    ("lacks", "channel", "state", "says"),
    [
        ("chat:write", "C0000SUPER", "fail", "The bot token lacks the scope chat:write: nothing can be posted."),
        (
            "channels:read",
            "#ops",
            "fail",
            "The bot token lacks the scope channels:read: give the channel's id (C...) in config.toml, or add it.",
        ),
        (
            "groups:read",
            "#ops",
            "fail",
            "The bot token lacks the scope groups:read: give the channel's id (C...) in config.toml, or add it.",
        ),
        ("channels:read", "C0000SUPER", "warn", "Whether the bot is in the channel is not told to it."),
        (
            "channels:history",
            "C0000SUPER",
            "warn",
            "The bot token lacks the scope channels:history: a message whose answer was lost cannot be looked for.",
        ),
    ],
)
def test_a_missing_scope_is_named_with_what_breaks(terminal: Terminal, lacks: str, channel: str, state: str, says: str) -> None:
    with slack(Workspace(scopes=tuple(scope for scope in SCOPES if scope != lacks))) as served:
        assert ("channel team", state, says) in found(terminal, served, channel=channel)


def test_an_optional_scope_is_not_missed_where_the_bot_is_in_the_channel(terminal: Terminal) -> None:
    with slack(Workspace(scopes=tuple(scope for scope in SCOPES if scope != "chat:write.public"))) as served:
        assert {state for _, state, _ in found(terminal, served)} == {"ok"}


def test_without_the_bot_in_a_public_channel_it_posts_only_by_the_scope_for_it(terminal: Terminal) -> None:
    free = Channel("C0000FREE", "free", members=set())
    with slack(Workspace(channels={free.id: free})) as served:
        reads = ("channel team", "warn", "The bot is not in the channel; it posts there, and reads nothing.")
        assert reads in found(terminal, served, channel=free.id)


def test_without_that_scope_the_bot_must_be_invited(terminal: Terminal) -> None:
    free = Channel("C0000FREE", "free", members=set())
    scopes = tuple(scope for scope in SCOPES if scope != "chat:write.public")
    with slack(Workspace(channels={free.id: free}, scopes=scopes)) as served:
        fails = ("channel team", "fail", "The bot is not in the channel, so it cannot post there.")
        assert fails in found(terminal, served, channel=free.id)


def test_a_private_channel_needs_its_own_scope_whatever_its_id_begins_with(terminal: Terminal) -> None:
    private = Channel("C0PRIVATE1", "war-room", private=True)
    scopes = tuple(scope for scope in SCOPES if scope != "groups:history")
    with slack(Workspace(channels={private.id: private}, scopes=scopes)) as served:
        lacks = "The bot token lacks the scope groups:history: a message whose answer was lost cannot be looked for."
        assert ("channel team", "warn", lacks) in found(terminal, served, channel=private.id)


@pytest.mark.parametrize(
    ("table", "state", "says"),
    [
        ("", "warn", "Nobody can answer in Slack: its routes are not served."),
        ('[slack]\nsigning_secret = "ABSENT"', "fail", "The secret 'ABSENT' is not set."),
        ("[slack]\nsocket_mode = true", "fail", "The secret 'SLACK_APP_TOKEN' is not set."),
        (
            '[slack]\nsocket_mode = true\napp_token = "SLACK_BOT_TOKEN"',
            "fail",
            "The secret SLACK_BOT_TOKEN does not begin with xapp-.",
        ),
        (
            '[slack]\napprovals = "pager"',
            "fail",
            "approvals names 'pager', which is no channel of kind slack, so nobody is asked there.",
        ),
    ],
)
def test_how_people_answer_is_looked_at_and_no_value_is_shown(terminal: Terminal, table: str, state: str, says: str) -> None:
    with slack() as served:
        assert ("slack", state, says) in found(terminal, served, slack=table)


@pytest.mark.parametrize("token", ["xapp-1-secret", "xoxp-1-secret"])
def test_another_kind_of_token_is_refused_with_the_reason(terminal: Terminal, token: str) -> None:
    with slack() as served:
        put(terminal, OTHER=token)
        configure(terminal, f'[channels.team]\nkind = "slack"\ntoken = "OTHER"\napi = "{served.api}"')
        told = terminal("doctor", "--json")
        (line,) = [each for each in findings(told) if each["what"] == "channel team"]
        assert (line["state"], line["says"], line["fix"]) == (
            "fail",
            "The secret OTHER is no bot token.",
            "A bot token begins with xoxb-.",
        )
        assert token not in told.out
        assert served.world.seen == []


def test_a_webhook_says_what_it_lacks(terminal: Terminal) -> None:
    put(terminal, SLACK_WEBHOOK_URL="https://hooks.slack.com/services/T/B/the-secret")
    configure(terminal, '[channels.hook]\nkind = "slack_webhook"')
    told = terminal("doctor", "--json")
    (line,) = [each for each in findings(told) if each["what"] == "channel hook"]
    assert (line["state"], "no threads, no buttons, no updates" in line["says"]) == ("ok", True)
    assert "the-secret" not in told.out
