"""Mail through Mailtrap's API against its simulator, and both against Mailtrap's published specification."""

import json
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from jsonschema import Draft202012Validator

from ops_mcp import channels
from ops_mcp.channels.mailtrap import MailtrapChannel, MailtrapTerms, request_of, words_of
from ops_mcp.errors import Code, NotConfigured, OpsError
from ops_mcp.values import Secret
from tests.channels.mailing import TOKEN, mailtrap
from tests.channels.receiving import START, Receiver, notice

pytestmark = pytest.mark.anyio

SPECS = Path(__file__).parents[3] / "shared" / "specs"
FILES = ("mailtrap-email-sending-transactional.json", "mailtrap-sandbox-sending.json", "mailtrap-email-sending-bulk.json")
TABLE: dict[str, Any] = {"kind": "mailtrap", "sender": "Ops <ops@example.com>", "to": ["ada@example.org"], "token": "mail-token"}


@pytest.fixture(scope="module")
def running() -> Generator[Receiver]:
    with mailtrap() as one:
        yield one


@pytest.fixture
def there(running: Receiver) -> Receiver:
    running.plan()
    return running


def terms(url: str, **more: Any) -> MailtrapTerms:
    fields = {key: value for key, value in TABLE.items() if key != "kind"}
    return MailtrapTerms.model_validate({**fields, "api": url, **more})


def channel(url: str, *, token: str = TOKEN, **more: Any) -> MailtrapChannel:
    return MailtrapChannel(terms(url, **more), lambda _: Secret(token), lambda: datetime.now(UTC))


async def test_a_mail_is_taken_with_the_notices_id_and_named(there: Receiver) -> None:
    outside = await channel(there.url, to=["ada@example.org", "Bob <bob@example.org>"]).send(notice("ntc_whole", untrusted="☃"))
    assert len(outside) == 36
    (mail,) = [row for row in there.told()["received"] if row["id"] == "ntc_whole"]
    assert mail["from"] == {"email": "ops@example.com", "name": "Ops"}
    assert mail["to"] == [{"email": "ada@example.org"}, {"email": "bob@example.org", "name": "Bob"}]
    assert mail["subject"] == "🟠 [high] 1 firing in production: HighErrorRate"
    assert mail["custom_variables"] == {"notification_id": "ntc_whole"}
    assert mail["category"] == "ops-mcp"
    assert "> ☃" in mail["text"]


@pytest.mark.parametrize(
    ("fault", "code", "again", "wait"),
    [
        ("429:7", Code.rate_limited, True, 7.0),
        ("429", Code.rate_limited, True, 30.0),
        ("500", Code.provider_error, True, None),
        ("503:3", Code.provider_error, True, 3.0),
        ("400", Code.invalid_arguments, False, None),
        ("401", Code.not_permitted, False, None),
        ("403", Code.not_permitted, False, None),
        ("edge", Code.not_permitted, False, None),
        ("404", Code.not_found, False, None),
        ("redirect", Code.not_found, False, None),
        # These may have been taken: they are not sent again.
        ("reset", Code.provider_error, False, None),
        ("taken-reset", Code.provider_error, False, None),
        ("hang:1", Code.provider_error, False, None),
        ("taken-hang:1", Code.provider_error, False, None),
        ("drip:1", Code.provider_error, False, None),
        ("gateway", Code.provider_error, False, None),
        ("empty", Code.provider_error, False, None),
        ("chatty", Code.provider_error, False, None),
    ],
)
async def test_what_an_answer_means(there: Receiver, fault: str, code: Code, again: bool, wait: float | None) -> None:
    there.plan(fault)
    with pytest.raises(OpsError) as caught:
        await channel(there.url, timeout_seconds=0.5).send(notice("ntc_fault"))
    assert (caught.value.code, caught.value.may_be_retried, caught.value.retry_after_seconds) == (code, again, wait)
    assert TOKEN not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("fault", ["reset", "taken-hang:1", "empty"])
async def test_an_operator_may_have_what_is_in_doubt_sent_again(there: Receiver, fault: str) -> None:
    there.plan(fault)
    with pytest.raises(OpsError) as caught:
        await channel(there.url, timeout_seconds=0.5, again_in_doubt=True).send(notice("ntc_doubt"))
    assert caught.value.may_be_retried
    way = channels.load({"mail": {**TABLE, "again_in_doubt": True}}, secret=Secret, clock=lambda: START)["mail"]
    assert (way.channel.kind, way.knows_repeats) == ("mailtrap", True)


async def test_nobody_listening_is_tried_again(there: Receiver) -> None:
    with pytest.raises(OpsError) as caught:
        await channel("http://127.0.0.1:9").send(notice())
    assert caught.value.may_be_retried


async def test_another_token_is_refused_without_being_told(there: Receiver) -> None:
    with pytest.raises(OpsError) as caught:
        await channel(there.url, token="a-wrong-token").send(notice())
    assert caught.value.code is Code.not_permitted
    assert caught.value.message == "Mailtrap refused it (HTTP 401): Unauthorized"


async def test_mailtraps_words_are_told_and_bounded(there: Receiver) -> None:
    with pytest.raises(OpsError) as caught:
        await channel(there.url, sender="ops@nowhere").send(notice())
    assert caught.value.message == "Mailtrap refused it (HTTP 400): 'from' address is invalid"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"errors": ["a", "b"]}, "a; b"),
        ({"errors": "Not Found"}, "Not Found"),
        ({"errors": {"base": ["is wrong"]}}, "base is wrong"),
        ({"error": "Access\r\ndenied\x1b[2J"}, "Access denied [2J"),
        ({"errors": 7}, ""),
        ({}, ""),
        ({"error": "x" * 300}, "x" * 199 + "…"),
    ],
)
def test_every_shape_of_an_error_is_read(said: dict[str, Any], words: str) -> None:
    assert words_of(said) == words


async def test_a_sandbox_has_its_inbox_in_the_path(there: Receiver) -> None:
    assert await channel(there.url, inbox=42).send(notice("ntc_inbox"))
    assert "ntc_inbox" in there.ids()


async def test_doctor_asks_for_the_token_alone(there: Receiver) -> None:
    before = there.told()["requests"]
    assert await channel(there.url).ready() == (
        "mailtrap: to ada@example.org with the secret mail-token; whether Mailtrap takes it is not asked."
    )
    assert there.told()["requests"] == before


@pytest.mark.parametrize("api", ["http://send.api.mailtrap.io", "https://user@x.org", "https://x.org?a=b", "ftp://127.0.0.1"])
async def test_an_address_that_would_give_the_token_away_is_refused(api: str) -> None:
    way = channels.load({"mail": {**TABLE, "api": api}}, secret=Secret, clock=lambda: START)["mail"]
    with pytest.raises(NotConfigured, match=r"\[channels.mail\] api"):
        await way.channel.send(notice())


@pytest.mark.parametrize("name", FILES)
def test_what_is_asked_and_answered_is_what_mailtrap_publishes(there: Receiver, name: str) -> None:
    if not (SPECS / name).exists():
        pytest.skip("the published specifications (../shared/specs) are not here")
    spec = json.loads((SPECS / name).read_text())
    schemas = spec["components"]["schemas"]
    body = request_of(notice("ntc_spec", parent="x"), terms(there.url, to=["ada@example.org", "Bob <bob@example.org>"]))
    whole = next(title for title, schema in schemas.items() if {"text", "html"} <= _fields(schema, schemas, required=True))
    assert set(body) <= _fields(schemas[whole], schemas)
    _validator(spec, whole).validate(body)
    path = next(path for path in spec["paths"] if path.startswith("/api/send"))
    responses = spec["paths"][path]["post"]["responses"]
    for asked, status in ((body, 200), ({**body, "from": {"email": "x"}}, 400)):
        found, answer = _post(there.url + path.replace("{sandbox_id}", "7").replace("{inbox_id}", "7"), asked)
        assert found == status
        schema = _followed(responses[str(status)], spec)["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": spec["components"]}).validate(answer)
        assert set(answer) <= _fields(schema, schemas)


def _fields(schema: dict[str, Any], schemas: dict[str, Any], *, required: bool = False) -> set[str]:
    if "$ref" in schema:
        return _fields(schemas[schema["$ref"].rpartition("/")[2]], schemas, required=required)
    own = set(schema.get("required", [])) if required else set(schema.get("properties", {}))
    return own.union(*(_fields(part, schemas, required=required) for part in schema.get("allOf", [])))


def _validator(spec: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": spec["components"]})


def _followed(response: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return spec["components"]["responses"][response["$ref"].rpartition("/")[2]] if "$ref" in response else response


def _post(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", "user-agent": "test"}
    try:
        with urlopen(Request(url, data=json.dumps(body).encode(), headers=headers, method="POST"), timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)
