"""The signed webhook against a receiver that checks it: what is taken, what is sent again, what is refused."""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from ops_mcp import channels
from ops_mcp.channels._answers import retry_after
from ops_mcp.channels.webhook import WebhookChannel, WebhookTerms, key_of, signature
from ops_mcp.errors import Code, NotConfigured, OpsError
from ops_mcp.values import Secret
from tests.channels.receiving import KEY, START, Receiver, notice, receiver

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running() -> Generator[Receiver]:
    with receiver() as one:
        yield one


@pytest.fixture
def there(running: Receiver) -> Receiver:
    running.plan()
    return running


def channel(url: str, *, key: str = KEY, timeout: float = 5.0, at: datetime | None = None) -> WebhookChannel:
    terms = WebhookTerms(url=url, key="pager-key", timeout_seconds=timeout)
    return WebhookChannel(terms, lambda _: Secret(key), lambda: at or datetime.now(UTC))


async def test_a_signed_notice_is_taken_whole_and_a_repeat_is_told_by_its_id(there: Receiver) -> None:
    pager, sent = channel(there.notices), notice("ntc_whole", untrusted="naïve ☃ \x1b[2J", body={"a": [1, None, {"b": 0.5}]})
    assert await pager.send(sent) == ""
    await pager.send(sent)
    told = there.told()
    (taken,) = [row for row in told["received"] if row["id"] == "ntc_whole"]
    assert taken["untrusted"] == "naïve ☃ \x1b[2J"
    assert taken["body"] == {"a": [1, None, {"b": 0.5}]}
    assert taken["at"] == "2026-11-20T12:00:00Z"
    assert told["repeats"].count("ntc_whole") == 1


async def test_another_key_and_a_stale_moment_are_not_believed(there: Receiver) -> None:
    for wrong in (channel(there.notices, key="another key, long enough"), channel(there.notices, at=START - timedelta(days=1))):
        with pytest.raises(OpsError) as caught:
            await wrong.send(notice("ntc_wrong"))
        assert caught.value.code is Code.not_permitted
        assert not caught.value.may_be_retried
    assert "ntc_wrong" not in there.ids()
    assert {"the signature is wrong", "the timestamp is too old or too new"} <= set(there.told()["refused"])


@pytest.mark.parametrize(
    ("fault", "code", "again", "wait"),
    [
        ("429:7", Code.rate_limited, True, 7.0),
        ("429", Code.rate_limited, True, 30.0),
        ("500", Code.provider_error, True, None),
        ("503:3", Code.provider_error, True, 3.0),
        ("408", Code.provider_error, True, None),
        ("reset", Code.provider_error, True, None),
        ("taken-reset", Code.provider_error, True, None),
        ("hang:2", Code.timeout, True, None),
        ("taken-hang:2", Code.timeout, True, None),
        ("drip:2", Code.timeout, True, None),
        ("400", Code.invalid_arguments, False, None),
        ("413", Code.invalid_arguments, False, None),
        ("401", Code.not_permitted, False, None),
        ("403", Code.not_permitted, False, None),
        ("404", Code.not_found, False, None),
        ("410", Code.not_found, False, None),
        ("redirect", Code.not_found, False, None),
    ],
)
async def test_every_failure_says_whether_another_attempt_is_worth_it(
    there: Receiver, fault: str, code: Code, again: bool, wait: float | None
) -> None:
    there.plan(fault)
    before = there.told()["requests"]
    with pytest.raises(OpsError) as caught:
        await channel(there.notices, timeout=0.3 if ":" in fault else 5.0).send(notice(f"ntc_{fault}"))
    problem = caught.value.problem
    assert (problem.code, problem.retryable, problem.retry_after_seconds) == (code, again, wait)
    assert there.told()["requests"] == before + 1
    assert "planned" not in problem.message + problem.hint


async def test_a_receiver_that_talks_without_end_is_not_listened_to(there: Receiver) -> None:
    there.plan("chatty")
    with anyio.fail_after(5):
        await channel(there.notices).send(notice("ntc_chatty"))
    assert "ntc_chatty" in there.ids()


async def test_a_receiver_that_is_not_there_is_worth_another_attempt() -> None:
    with pytest.raises(OpsError) as caught:
        await channel("http://127.0.0.1:9/none").send(notice())
    assert caught.value.may_be_retried
    assert "ConnectError" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "http://127.0.0.1.example.com/hook",
        "http://localhost@example.com/",
        "https://user:pass@example.com/",
        "ftp://127.0.0.1/",
        "https:///nowhere",
        "/relative",
        "https://example.com/#part",
    ],
)
async def test_an_address_that_is_not_safe_is_refused_when_it_is_read(url: str) -> None:
    way = channels.load({"pager": {"kind": "webhook", "url": url, "key": "k"}}, secret=Secret, clock=lambda: START)["pager"]
    with pytest.raises(NotConfigured, match=r"\[channels.pager\] url"):
        await way.channel.send(notice())


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"kind": "pigeon"}, "kind is none"),
        ({}, "kind is none"),
        ({"kind": "_parsing"}, "kind is none"),
        ({"kind": "webhook", "url": "https://x.example"}, "key: Field required"),
        ({"kind": "webhook", "url": "https://x.example", "key": "k", "token": "abc"}, "token: Extra"),
        ({"kind": "file", "path": "relative"}, "path"),
    ],
)
async def test_a_channel_that_cannot_be_used_says_why_and_stops_no_other(table: dict[str, Any], says: str) -> None:
    ways = channels.load({"bad": table, "good": {"kind": "file", "path": "/var/log/none"}}, secret=Secret, clock=lambda: START)
    with pytest.raises(NotConfigured) as caught:
        await ways["bad"].channel.send(notice())
    assert says in caught.value.message
    assert "abc" not in caught.value.message
    assert ways["good"].channel.kind == "file"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of its specification's reference libraries."""
    key = key_of(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    signed = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', key)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["short", "whsec_AAAA", "whsec_not base64!"])
def test_a_weak_key_is_refused(secret: str) -> None:
    with pytest.raises(NotConfigured):
        key_of(Secret(secret))


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Fri, 20 Nov 2026 12:01:00 GMT", 60.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 400, 999999999999.0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(text: str, wait: float | None) -> None:
    assert retry_after(text, START) == wait
