"""The incoming webhook, against a receiver that answers as Slack's do."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from ops_mcp.channels.slack_webhook import connect
from ops_mcp.domain.notices import Button
from ops_mcp.errors import Code, NotConfigured, OpsError
from ops_mcp.observing import Ready, Way
from ops_mcp.values import Secret
from tests.channels.slacking import START, a_notice

pytestmark = pytest.mark.anyio


@contextmanager
def hook(status: int = 200, said: str = "ok", **headers: str) -> Generator[tuple[str, list[dict[str, Any]]]]:
    taken: list[dict[str, Any]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/T/B/x", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def way(url: str) -> Way:
    return connect("ops", {"kind": "slack_webhook"}, secret=lambda _: Secret(url), clock=lambda: START)


async def test_a_notice_is_posted_without_buttons() -> None:
    with hook() as (url, taken):
        assert await way(url).channel.send(a_notice(buttons=(Button(action="a", value="b", label="c"),))) == ""
        assert taken[0]["text"] == "🟠 Down"
        assert "actions" not in json.dumps(taken)


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (404, "no_service", Code.not_found),
        (410, "channel_is_archived", Code.not_found),
        (400, "invalid_blocks", Code.invalid_arguments),
        (403, "restricted_action", Code.not_permitted),
        (200, "something else", Code.not_configured),
        (500, "rollup_error", Code.provider_error),
    ],
)
async def test_anything_but_ok_is_said_in_slacks_word_and_never_with_the_address(status: int, said: str, code: Code) -> None:
    with hook(status, said) as (url, _):
        with pytest.raises(OpsError) as refused:
            await way(url).channel.send(a_notice())
        assert refused.value.code is code
        assert url not in repr(refused.value.problem)


async def test_a_rate_limit_says_how_long_to_wait() -> None:
    with hook(429, "", retry_after="9") as (url, _):
        with pytest.raises(OpsError) as limited:
            await way(url).channel.send(a_notice())
        assert limited.value.problem.retry_after_seconds == 9


@pytest.mark.parametrize("url", ["https://evil.example/services/T/B/x", "http://hooks.slack.com/x", "hooks.slack.com", ""])
async def test_only_slacks_own_hosts_are_posted_to(url: str) -> None:
    with pytest.raises(NotConfigured, match="no address of a Slack webhook"):
        await way(url).channel.send(a_notice())


async def test_ready_names_what_a_webhook_lacks() -> None:
    channel = way("https://hooks.slack.com/services/T/B/x").channel
    assert isinstance(channel, Ready)
    assert "no threads, no buttons, no updates" in await channel.ready()
