"""Planted secrets: whatever way they come in, plain or encoded, they are found in no file, no log and no reply."""

import base64
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from ops_mcp import startup
from ops_mcp.call import call
from ops_mcp.config import load
from ops_mcp.domain.identity import Agent, AgentName, Client, Credential, Level, OperatorName
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Record
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content
from ops_mcp.errors import ProviderError
from ops_mcp.secrets import Secrets
from ops_mcp.store.database import Transaction
from ops_mcp.store.people import insert_agent, token_hash
from ops_mcp.values import Json, JsonObject, Secret
from tests.golden.scene import ROOMY
from tests.house import House, house
from tests.test_pipes import META, talking

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIGURED = "kQ7/vT2+xJ9 wL4&mZ8=pR6"
"""Has what encoders change: a slash, a plus, a space, an ampersand and an equals sign."""
NAME_LIKE = "zq4hhw7n2kp8xvd3"
"""Passes for a service's name."""
KNOWN_SHAPE = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
TOKEN = "opsmcp_" + "h7Jk2Lm9Np4Qr6St8Uv1Wx3Yz5Ab7Cd9"

PLANTED = (CONFIGURED, NAME_LIKE, KNOWN_SHAPE, TOKEN)


def writings(secret: str) -> list[str]:
    """A secret as it may be written: plain, in URLs, and in base64 at every alignment."""
    raw = secret.encode()
    found = [secret, quote(secret, safe=""), quote_plus(secret), "".join(f"%{byte:02x}" for byte in raw)]
    for before in range(3):
        framed = b"." * before + raw + b"." * (before % 2)
        found += [base64.b64encode(framed).decode(), base64.urlsafe_b64encode(framed).decode()]
    return found


def traces(secret: str) -> list[bytes]:
    """What must not be found anywhere: the writings, cut down in base64 to what depends on the secret alone."""
    raw = secret.encode()
    found = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        "".join(f"%{byte:02x}" for byte in raw),
    }
    for offset in range(3):
        encoded = base64.b64encode(b"." * offset + raw).decode().rstrip("=")
        core = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        found |= {core, core.replace("+", "-").replace("/", "_")}
    return [text.encode() for text in sorted(found)]


def assert_nowhere(place: Path, *texts: str) -> None:
    """In no file below `place`, and in none of `texts`."""
    held = {str(file): file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert any(name.endswith("ops.db") for name in held)
    held |= {f"text {number}": text.encode(errors="surrogatepass") for number, text in enumerate(texts)}
    leaks = [(where, trace) for where, data in held.items() for secret in PLANTED for trace in traces(secret) if trace in data]
    assert leaks == []


def configure(config_dir: Path) -> None:
    vault = Secrets(config_dir)
    vault.put("PAYMENT_KEY", Secret(CONFIGURED))
    vault.put("NAME_LIKE", Secret(NAME_LIKE))
    vault.put("BEARER", Secret(TOKEN))


def shown(outcome: Outcome) -> str:
    """Everything of an outcome that leaves."""
    match outcome:
        case Done():
            return outcome.text + json.dumps(outcome.result)
        case NeedsApproval():
            return outcome.problem.model_dump_json() + outcome.plan.model_dump_json() + outcome.approval.model_dump_json()
        case _:
            return outcome.problem.model_dump_json()


def every_argument(text: str) -> Iterator[tuple[str, JsonObject]]:
    """Calls of every tool with `text` in every argument, in an argument's name, and in the tool's name."""
    web: JsonObject = {"service": "web", "environment": "staging"}
    for tool in ("deploy", "rollback", "restart"):
        for name in ("service", "environment", "ref", "to", "expected_current", "reason", "idempotency_key"):
            for dry_run in (True, False):
                yield tool, {**web, "dry_run": dry_run, name: text}
        yield tool, {**web, text: "x"}
        yield tool, {**web, "deep": {"list": [{text: [text]}], "password": text}}
    yield "deploy", {"service": "web", "environment": "production", "reason": text}
    for tool, name in (("deployment", "id"), ("approval", "id"), ("deployment_cancel", "id"), ("services", "environment")):
        yield tool, {name: text}
    for name in ("tool", "environment", "deployment", "cursor"):
        yield "audit", {name: text}
    for name in ("service", "environment", "state", "cursor", "limit"):
        yield "deployments", {name: text}
    yield text, {}
    yield "whoami", {text: text}


class Leaky:
    """Replaces a place's `resolve`: says its secret in a result, in errors and in an exception, one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.turn = 0

    async def __call__(self, binding: Binding, ref: str | None) -> Content:
        self.turn += 1
        match self.turn % 4:
            case 0:
                raise ProviderError(
                    f"fatal: {self.text}", hint=f"see {self.text}", details={"untrusted_output": self.text, self.text: 1}
                )
            case 1:
                raise RuntimeError(self.text)
            case _:
                return Content(identity=f"{self.turn:040x}", ref=ref or self.text, summary=f"Use {self.text} for payments")


@pytest.mark.parametrize("secret", PLANTED, ids=["configured", "like a name", "known shape", "token"])
async def test_secrets_in_arguments_results_errors_and_exceptions_are_found_nowhere(
    tmp_path: Path, secret: str, caplog: pytest.LogCaptureFixture
):
    configure(tmp_path / "config")
    replies: list[str] = []
    with caplog.at_level(logging.DEBUG, logger="ops_mcp"):
        async with house(tmp_path, **ROOMY) as home:
            ada = await home.agent(score=900)
            for text in writings(secret):
                home.place.resolve = Leaky(text)  # type: ignore[method-assign]
                for tool, arguments in every_argument(text):
                    replies.append(await answered(home, ada, tool, arguments, client=text))
            replies.append(shown(await home.call(ada, "audit", limit=25)))
            replies.append(shown(await home.call(ada, "deployments", limit=25)))
            assert await home.count("operations") > 0
            await home.database.write(lambda _: None)
            assert_nowhere(tmp_path / "state", *replies, caplog.text)
        assert_nowhere(tmp_path / "state")


async def answered(home: House, ada: Credential, tool: str, arguments: JsonObject, *, client: str) -> str:
    home.advance(seconds=2)
    try:
        return shown(await call(home.app, ada, Client(name=client[:100], session=client[:64]), tool, arguments))
    except RuntimeError:  # Leaky's
        return ""  # the server answers "Internal error" and nothing else


async def test_what_a_provider_says_that_is_no_unicode_breaks_no_batch_and_does_not_vanish(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent()
        home.place.resolve = Leaky("\ud800 broken")  # type: ignore[method-assign]
        outcomes: list[Outcome] = []
        for _ in range(4):
            try:
                outcomes.append(await home.call(ada, "deploy", service="web", environment="staging"))
            except (ValueError, RuntimeError):
                continue
        assert isinstance(await home.call(ada, "services"), Done)
        settled = await home.records("call.settled")
        assert len([r for r in settled if r["tool"] == "deploy"]) == 4
        assert all(isinstance(outcome, Done | Failed) for outcome in outcomes)


async def test_a_record_that_cannot_be_canonical_is_written_by_digest_and_size_beside_the_others(tmp_path: Path):
    odd: dict[str, Json] = {"huge": 2**60, "nan": float("nan"), "text": "\ud800", "fine": [1, "x"]}

    async with house(tmp_path) as home:
        at = home.now[0]

        def unit(tx: Transaction) -> None:
            tx.record(Record(kind="operation.step", at=at, data=odd))
            tx.record(Record(kind="operation.step", at=at, data={"next": True}))

        await home.database.write(unit)
        first, second = await home.records("operation.step")
    assert isinstance(first["data"], dict)
    assert set(first["data"]) == set(odd)
    for name in ("huge", "nan"):
        kept = first["data"][name]
        assert isinstance(kept, dict)
        assert set(kept) == {"digest", "bytes"}
    assert (first["data"]["text"], first["data"]["fine"]) == ("\\ud800", [1, "x"])
    assert second["data"] == {"next": True}


ROOM = """\
[budgets.everyone]
[budgets.anonymous]
[rates.read]
per_minute = 100000
burst = 10000
[rates.change]
per_minute = 100000
burst = 10000
"""


@pytest.mark.parametrize("secret", PLANTED, ids=["configured", "like a name", "known shape", "token"])
async def test_secrets_planted_around_a_real_process_are_found_nowhere(tmp_path: Path, secret: str):
    """In its environment, its token, its configured secrets and everything that a client sends over stdio."""
    config, state = tmp_path / "config", tmp_path / "state"
    configure(config)
    (config / "config.toml").write_text(ROOM, encoding="utf-8")
    await register(config, state)
    env = {
        "OPS_MCP_CONFIG": str(config),
        "OPS_MCP_STATE": str(state),
        "OPS_MCP_TOKEN": TOKEN,
        "AWS_SECRET_ACCESS_KEY": CONFIGURED,
        "DATABASE_URL": f"postgres://ops:{quote(CONFIGURED, safe='')}@db/ops",
    }
    said = writings(secret)
    with talking(module="ops_mcp", env=env) as talk:
        for number in range(len(list(every_argument("")))):
            # Each call with another writing: one of each would be a flood, of which only the first sixty are kept.
            text = said[number % len(said)]
            tool, arguments = list(every_argument(text))[number]
            about: dict[str, Any] = {"io.modelcontextprotocol/clientInfo": {"name": text, "version": text}}
            params = {"name": tool, "arguments": arguments, "_meta": {**META, **about}}
            talk.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
            talk.reply(number)
        code, out, err = talk.end()
    assert (code, out) == (0, b"")
    with closing(sqlite3.connect(state / "ops.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM ledger WHERE caller = 'ada'").fetchone()[0] >= 60
    replies = [line.decode() for line in talk.lines]
    assert_nowhere(state, err.decode(), *replies)


async def register(config: Path, state: Path) -> None:
    """Make TOKEN the token of an agent."""
    found = load({}, config_dir=config, state_dir=state)
    ada = Agent(name=AgentName("ada"), owner=OperatorName("olga"), ceiling=Level.prod, score=200)
    async with startup.open_app(found, wake_worker=lambda: None) as opened:
        at = opened.app.clock()
        await opened.database.write(lambda tx: insert_agent(tx, ada, token_hash=token_hash(TOKEN), at=at))


def test_the_search_finds_what_it_looks_for(tmp_path: Path):
    """The assertion itself, shown to fail for every writing of every secret."""
    (tmp_path / "ops.db").touch()
    for secret in PLANTED:
        for text in writings(secret):
            with pytest.raises(AssertionError):
                assert_nowhere(tmp_path, f"before {text} after")
