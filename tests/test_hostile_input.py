"""Hostile input: whatever a client sends to any tool, the answer is a typed error that names the field, and nothing happens."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ops_mcp.domain.identity import Credential
from ops_mcp.domain.outcomes import Done, Outcome
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content
from ops_mcp.errors import Code, NotFound
from ops_mcp.values import canonical
from tests.golden.scene import ROOMY
from tests.hostile import ODD, OPTIONAL, PARTS, VALID, Sent, calls, harmless, line, nested, texts
from tests.house import House, house
from tests.test_pipes import META, Talk, talking

EFFECTS = ("operations", "deployments", "approvals", "locks", "idempotency")
"""Tables that a call with an effect writes to."""

CHANGING = ("deploy", "rollback", "restart", "deployment_cancel")

HELD: dict[str, Any] = {"max_examples": 300, "deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


class Bench:
    """One house for many examples, on an event loop of its own."""

    def __init__(self, portal: BlockingPortal, home: House, ada: Credential) -> None:
        self.portal, self.home, self.ada = portal, home, ada
        self.sent = 0

    def call(self, tool: str, arguments: Any) -> Outcome:
        self.home.advance(seconds=2)
        self.sent += 1
        return self.portal.call(self._call, tool, arguments)

    async def _call(self, tool: str, arguments: Any) -> Outcome:
        from ops_mcp.call import call
        from ops_mcp.domain.identity import Client

        return await call(self.home.app, self.ada, Client(), tool, arguments)

    def effects(self) -> dict[str, int]:
        return {table: self.portal.call(self.home.count, table) for table in EFFECTS}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(house(tmp_path_factory.mktemp("house"), **ROOMY)) as home,
    ):
        inner = home.place.resolve

        async def resolve(binding: Binding, ref: str | None) -> Content:
            if ref is not None and ref not in home.place.refs:
                raise NotFound("There is no such ref.", hint="Name a branch or tag.")
            return await inner(binding, ref)

        home.place.resolve = resolve  # type: ignore[method-assign]
        yield Bench(portal, home, portal.call(home.agent))


def assert_harmless(bench: Bench, sent: Sent, outcome: Outcome) -> None:
    if isinstance(outcome, Done):
        assert sent.tool not in CHANGING, (sent.tool, sent.arguments, outcome)
        assert json.loads(outcome.text.encode()) == outcome.result
        return
    problem = outcome.problem
    said = canonical(problem.json_value()).decode()
    assert len(said) < 4096
    if problem.code is Code.invalid_arguments:
        named = problem.details.get("fields") or ["cursor" if "cursor" in problem.message else "arguments"]
        assert isinstance(named, list)
        assert all(str(field) in problem.message for field in named), problem
        assert problem.hint or "environment" in named, problem
        for value in sent.arguments.values():
            if isinstance(value, str) and len(value) > 20 and value not in sent.arguments:
                assert value not in said, "the rejected value is never repeated"
    assert not [a for a in bench.home.place.asked if not a.startswith("resolve")]


@pytest.mark.parametrize("tool", sorted(VALID))
def test_every_argument_of_every_tool_refuses_odd_values_by_name_and_nothing_happens(bench: Bench, tool: str):
    before = bench.effects()
    for name in (*VALID[tool], *OPTIONAL.get(tool, ()), "unknown_argument"):
        for value in (*PARTS, *ODD, nested(150), nested(5000), 10**5000):
            arguments = harmless(tool, {**VALID[tool], name: value})
            assert_harmless(bench, Sent(tool, arguments), bench.call(tool, arguments))
    assert bench.effects() == before == dict.fromkeys(EFFECTS, 0)


@settings(**HELD)
@given(sent=calls())
@example(sent=Sent("services", {"environment": 2**60}))
@example(sent=Sent("deploy", {"service": "\ud800", "environment": "sandbox"}))
@example(sent=Sent("deploy", {"\ud800": "x"}))
def test_arbitrary_calls_are_answered_by_type_and_have_no_effect(bench: Bench, sent: Sent):
    assert_harmless(bench, sent, bench.call(sent.tool, sent.arguments))


@settings(**{**HELD, "max_examples": 100})
@given(name=texts, arguments=st.dictionaries(texts, texts, max_size=2))
@example(name="\ud800", arguments={})
@example(name="x" * 1_000_000, arguments={})
def test_a_tool_of_any_other_name_is_unknown_and_recorded(bench: Bench, name: str, arguments: Any):
    outcome = bench.call(name, arguments)
    assert not isinstance(outcome, Done)
    assert outcome.problem.code is Code.unknown_tool
    assert len(canonical(outcome.problem.json_value())) < 4096


def test_nothing_that_was_sent_vanished_or_had_an_effect(bench: Bench):
    """Runs last in this module: every call above is a decision in the ledger."""
    records = bench.portal.call(bench.home.records)
    decided = {str(r["call"]) for r in records if r["kind"] in ("call.admitted", "call.refused")}
    assert not [r for r in records if r["kind"] == "call.refused_many"]
    assert len(decided) == bench.sent
    assert bench.effects() == dict.fromkeys(EFFECTS, 0)


def test_what_cannot_be_canonical_json_is_recorded_by_digest_and_size_and_breaks_no_batch(bench: Bench):
    outcome = bench.call("services", {"environment": "\ud800" * 3})
    beside = bench.call("services", {})
    assert not isinstance(outcome, Done)
    assert isinstance(beside, Done)
    (record,) = [r for r in bench.portal.call(bench.home.records) if r.get("call") == outcome.call]
    assert isinstance(record["data"], dict)
    kept = record["data"]["arguments"]
    assert isinstance(kept, dict)
    assert set(kept) == {"arguments_digest", "arguments_bytes"}


# Over a real process.

ROOM = """\
[budgets.anonymous]
[budgets.everyone]
[rates.read]
per_minute = 1000000
burst = 100000
[rates.change]
per_minute = 1000000
burst = 100000
"""


class Served:
    """`ops-mcp` as a client starts it, with raw lines in and out."""

    def __init__(self, talk: Talk, state: Path) -> None:
        self.talk, self.state, self.request = talk, state, 0

    def answer(self, sent: Sent) -> Any:
        self.request += 1
        self.talk.send_bytes(line(self.request, sent, dict(META)))
        return self.told()

    def told(self) -> Any:
        message = self.talk.next()
        assert message["jsonrpc"] == "2.0"
        assert message.get("id") in (self.request, None)
        assert ("result" in message) != ("error" in message)
        return message


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(ROOM, encoding="utf-8")
    env = {"OPS_MCP_CONFIG": str(home / "config"), "OPS_MCP_STATE": str(home / "state")}
    with talking(module="ops_mcp", env=env) as talk:
        yield Served(talk, home / "state")
        code, out, err = talk.end()
        assert (code, out) == (0, b"")
        assert b"Traceback" not in err
        assert b"internal error" not in err
        with closing(sqlite3.connect(home / "state" / "ops.db")) as database:
            for table in EFFECTS:
                assert database.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)


def assert_typed(message: Any, sent: Sent) -> None:
    if "error" in message:
        assert message["error"]["code"] in (-32700, -32600, -32602), (message, sent)
        return
    result = message["result"]
    if not result.get("isError"):
        assert sent.tool not in CHANGING, sent
        return
    problem = result["_meta"]["dev.ops-mcp/problem"]
    assert problem["code"] in set(Code)
    assert "Traceback" not in json.dumps(result)


@settings(**{**HELD, "max_examples": 150})
@given(sent=calls())
@example(sent=Sent("services", {"environment": 2**60}))
@example(sent=Sent("services", {"environment": float("nan")}))
@example(sent=Sent("deploy", {"service": "\ud800"}))
@example(sent=Sent("deploy", {"service": nested(400)}))
@example(sent=Sent("deploy", ["a", "list"]))
@example(sent=Sent("deploy", "text"))
@example(sent=Sent("deploy", {"service": "x" * 5_000_000}))
def test_raw_lines_to_a_real_server_get_one_typed_answer_each(served: Served, sent: Sent):
    assert_typed(served.answer(sent), sent)


@settings(**{**HELD, "max_examples": 100})
@given(data=st.binary(min_size=1, max_size=200).filter(lambda b: b"\n" not in b and not b.isspace()))
@example(data=b"\xff\xfe")
@example(data=b"[" * 100_000)
@example(data=b'{"jsonrpc":"2.0","id":1e999,"method":"tools/call"}')
@example(data=b'{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{"name":"deploy"}}')
def test_lines_that_are_no_message_do_not_disturb_the_next_call(served: Served, data: bytes):
    served.talk.send_bytes(data + b"\n")
    served.request += 1
    who = Sent("whoami", {})
    served.talk.send_bytes(line(served.request, who, dict(META)))
    while (message := served.told()).get("id") is None:
        assert message["error"]["code"] in (-32700, -32600), message
    assert message["result"]["structuredContent"]["caller"] == "anonymous"
