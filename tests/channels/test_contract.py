"""What every channel must do, whatever is at its other end: the same tests for all, looked at from the other end."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp import channels
from ops_mcp.errors import OpsError
from ops_mcp.observing import Ready, Reconciles, Way
from ops_mcp.operations.deliver import SEND_SECONDS
from ops_mcp.values import Secret
from sandbox.slack.world import WEBHOOK, Fault, Workspace
from tests.channels.mailing import PASSWORD, TOKEN, USER, mailtrap, postbox
from tests.channels.receiving import KEY, notice, receiver
from tests.operations.test_deliver_faults import served

pytestmark = pytest.mark.anyio

SECRETS = {"key": KEY, "token": TOKEN, "password": PASSWORD, "bot": "xoxb-sandbox-bot"}
MAIL = {"sender": "ops@example.com", "to": ["ada@example.org"]}


@dataclass
class Stage:
    """A channel with its other end: what came there, and how it fails next: `refuses`, is `busy`, `limits`, or `loses` the answer
    to what it took."""

    table: dict[str, Any]
    came: Callable[[], list[str]]
    fail: dict[str, Callable[[], object]]

    @property
    def way(self) -> Way:
        made = channels.load({"it": self.table}, secret=lambda name: Secret(SECRETS[name]), clock=lambda: datetime.now(UTC))
        return made["it"]


def of_file(directory: Path, _stack: ExitStack) -> Stage:
    file = directory / "told.jsonl"

    def came() -> list[str]:
        return [line.split('"')[3] for line in file.read_text().splitlines()] if file.exists() else []

    return Stage({"kind": "file", "path": str(file)}, came, {})


def of_webhook(_directory: Path, stack: ExitStack) -> Stage:
    there = stack.enter_context(receiver())
    table = {"kind": "webhook", "url": there.notices, "key": "key", "timeout_seconds": 2.0}
    words = {"refuses": "400", "is busy": "503", "limits": "429:7", "loses": "taken-reset"}
    return Stage(table, there.ids, {what: lambda word=word: there.plan(word) for what, word in words.items()})


def of_mailtrap(_directory: Path, stack: ExitStack) -> Stage:
    there = stack.enter_context(mailtrap())
    table = {"kind": "mailtrap", **MAIL, "token": "token", "api": there.url, "timeout_seconds": 2.0}
    words = {"refuses": "400", "is busy": "503", "limits": "429:7", "loses": "taken-reset"}
    return Stage(table, there.ids, {what: lambda word=word: there.plan(word) for what, word in words.items()})


def of_smtp(directory: Path, stack: ExitStack) -> Stage:
    box = stack.enter_context(postbox(directory))
    table = {
        "kind": "smtp", **MAIL, "host": "127.0.0.1", "port": box.port, "ca_file": str(box.certificate), "user": USER,
        "password": "password",
    }  # fmt: skip
    words = {"refuses": "554 no", "is busy": "451 later", "loses": "lost"}
    fail = {what: lambda word=word: box.at_data.append(word) for what, word in words.items()}
    return Stage(table, lambda: [id.removeprefix("<").partition(".")[0] for id in box.ids], fail)


def of_slack(_directory: Path, stack: ExitStack) -> Stage:
    workspace = Workspace(now=datetime.now(UTC).timestamp())
    table = {"kind": "slack", "token": "bot", "channel": "C0000SUPER", "api": stack.enter_context(served(workspace))}
    faults = {
        "refuses": Fault(200, said="invalid_blocks"),
        "limits": Fault(429, retry_after=7),
        "loses": Fault(500, after_effect=True),
    }

    def came() -> list[str]:
        return [m["metadata"]["event_payload"]["notice"] for m in workspace.channels["C0000SUPER"].messages]

    return Stage(
        table, came, {what: lambda fault=fault: workspace.fail("chat.postMessage", fault) for what, fault in faults.items()}
    )


def of_slack_webhook(_directory: Path, stack: ExitStack) -> Stage:
    workspace = Workspace()
    url = stack.enter_context(served(workspace)).removesuffix("/api/") + WEBHOOK
    stack.enter_context(secret("hook", url))
    faults = {
        "refuses": Fault(400, said="invalid_payload"),
        "limits": Fault(429, retry_after=7),
        "loses": Fault(500, after_effect=True),
    }

    def came() -> list[str]:
        return ["ntc_1" for _ in workspace.channels["C0000SUPER"].messages]  # a webhook's messages carry no id

    fail = {what: lambda fault=fault: workspace.fail("webhook", fault) for what, fault in faults.items()}
    return Stage({"kind": "slack_webhook", "url": "hook"}, came, fail)


@contextmanager
def secret(name: str, value: str) -> Generator[None]:
    """A secret that is known for as long as its stage stands."""
    SECRETS[name] = value
    try:
        yield
    finally:
        del SECRETS[name]


STAGES = {
    "file": of_file,
    "webhook": of_webhook,
    "mailtrap": of_mailtrap,
    "smtp": of_smtp,
    "slack": of_slack,
    "slack_webhook": of_slack_webhook,
}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Stage]:
    with ExitStack() as stack:
        yield STAGES[request.param](tmp_path, stack)


def failing(stage: Stage, what: str) -> None:
    if what not in stage.fail:
        pytest.skip(f"a {stage.table['kind']} never {what}")
    stage.fail[what]()


async def caught(send: Callable[[], Awaitable[object]]) -> OpsError:
    with pytest.raises(OpsError) as found:
        await send()
    return found.value


async def test_a_notice_arrives_within_the_time_that_a_worker_gives_it(stage: Stage) -> None:
    with anyio.fail_after(SEND_SECONDS):
        outside = await stage.way.channel.send(notice("ntc_1", at=datetime.now(UTC)))
    assert stage.came() == ["ntc_1"]
    assert outside == outside.strip()


async def test_what_a_stranger_wrote_arrives_and_stops_nothing(stage: Stage) -> None:
    odd = "\x1b[2J \u202e <!channel> <script> \r\nBcc: eve@example.com\r\n.\r\n" + "x" * 20_000
    await stage.way.channel.send(notice("ntc_1", untrusted=odd, title=odd[:500], thread=odd[:80], at=datetime.now(UTC)))
    assert stage.came() == ["ntc_1"]


async def test_looking_at_it_tells_nobody(stage: Stage) -> None:
    channel = stage.way.channel
    assert isinstance(channel, Ready)
    assert (await channel.ready()).startswith(f"{stage.table['kind']}: ")
    assert stage.came() == []


async def test_a_refusal_is_not_tried_again(stage: Stage) -> None:
    failing(stage, "refuses")
    error = await caught(lambda: stage.way.channel.send(notice("ntc_1")))
    assert not error.may_be_retried
    assert error.code.value == "invalid_arguments"
    assert stage.came() == []


async def test_a_busy_end_is_tried_again_and_takes_it_once(stage: Stage) -> None:
    failing(stage, "is busy")
    way = stage.way
    assert (await caught(lambda: way.channel.send(notice("ntc_1")))).may_be_retried
    await way.channel.send(notice("ntc_1"))
    assert stage.came() == ["ntc_1"]


async def test_an_end_that_limits_says_when_it_takes_more(stage: Stage) -> None:
    failing(stage, "limits")
    error = await caught(lambda: stage.way.channel.send(notice("ntc_1")))
    assert (error.code.value, error.retry_after_seconds) == ("rate_limited", 7.0)


async def test_what_was_taken_and_not_answered_comes_twice_nowhere_where_that_can_be_told(stage: Stage) -> None:
    failing(stage, "loses")
    way, sent = stage.way, notice("ntc_1", at=datetime.now(UTC))
    error = await caught(lambda: way.channel.send(sent))
    assert error.may_be_retried is way.knows_repeats, "else the worker would send it again, or give up what it could repeat"
    if way.knows_repeats:
        await way.channel.send(sent)
    elif isinstance(way.channel, Reconciles):
        assert await way.channel.find(sent)
        assert await way.channel.find(notice("ntc_2", at=datetime.now(UTC))) is None
    assert stage.came() == ["ntc_1"]


async def test_no_error_tells_a_secret(stage: Stage) -> None:
    for what in ("refuses", "is busy", "limits", "loses"):
        if what in stage.fail:
            stage.fail[what]()
            error = await caught(lambda: stage.way.channel.send(notice("ntc_1")))
            assert not [value for value in SECRETS.values() if value in f"{error.message} {error.hint} {error.details}"]
