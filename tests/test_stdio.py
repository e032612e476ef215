"""`ops-mcp` itself over stdio: the real app behind the real transport, in both eras, and what it leaves in the ledger."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_fail_closed import fill, mounted
from tests.test_pipes import HELLO, META, WAIT, Talk, clean, talking

HERE = {"io.modelcontextprotocol/clientInfo": {"name": "test\u202eer", "version": "1"}}


def environment(home: Path) -> dict[str, str]:
    return {"OPS_MCP_CONFIG": str(home / "config"), "OPS_MCP_STATE": str(home / "state")}


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    with talking(module="ops_mcp", env=environment(tmp_path)) as talk:
        yield talk


def ask(talk: Talk, request: int, method: str, **params: Any) -> Any:
    talk.send({"jsonrpc": "2.0", "id": request, "method": method, "params": {**params, "_meta": META | HERE}})
    return talk.reply(request)


def ledger(home: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{home}/state/ops.db?mode=ro", uri=True) as database:
        return [json.loads(body) for (body,) in database.execute("SELECT body FROM ledger ORDER BY id")]


def test_the_first_minutes_of_a_2026_client(talk: Talk, tmp_path: Path):
    tools = [tool["name"] for tool in ask(talk, 1, "tools/list")["result"]["tools"]]
    assert {"whoami", "services", "deploy", "rollback", "deployment", "approval"} <= set(tools)
    who = ask(talk, 2, "tools/call", name="whoami")["result"]
    assert who["structuredContent"]["caller"] == "anonymous"
    assert json.loads(who["content"][0]["text"]) == who["structuredContent"]
    status = ask(talk, 3, "resources/read", uri="ops://status")["result"]["contents"][0]["text"]
    assert json.loads(status)["caller"]["caller"] == "anonymous"
    names = {"type": "ref/prompt", "name": "safe-deploy"}
    completed = ask(talk, 4, "completion/complete", ref=names, argument={"name": "environment", "value": "sand"})
    assert completed["result"]["completion"]["values"] == ["sandbox"]
    assert ask(talk, 5, "tools/call", name="no_such_tool")["error"]["code"] == -32602
    refused = ask(talk, 6, "tools/call", name="deploy", arguments={"service": "web", "sercive": 1})["result"]
    assert refused["isError"]
    assert refused["_meta"]["dev.ops-mcp/problem"]["code"] == "invalid_arguments"
    assert "structuredContent" not in refused
    code, out, err = talk.end()
    assert (code, out) == (0, b"")
    assert b"Traceback" not in err
    # One decision for each request that shows or changes something operational: whoami, three for the status page,
    # one for the completion, the unknown tool, the bad arguments.
    begun = [r for r in ledger(tmp_path) if r["kind"] in ("call.admitted", "call.refused")]
    assert [r.get("tool") for r in begun] == ["whoami", "whoami", "services", "health", "services", "no_such_tool", "deploy"]


def test_a_2025_client_is_served_by_the_same_process(talk: Talk):
    talk.send(HELLO, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert talk.reply(0)["result"]["serverInfo"]["name"] == "ops-mcp"
    talk.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}})
    assert talk.reply(1)["result"]["structuredContent"]["caller"] == "anonymous"


def test_a_call_that_was_answered_is_in_the_ledger_when_the_process_is_killed_by_signal(talk: Talk, tmp_path: Path):
    ask(talk, 1, "tools/call", name="whoami")
    talk.process.terminate()
    assert talk.process.wait(WAIT) == 0
    assert [r["kind"] for r in ledger(tmp_path) if r.get("tool") == "whoami"] == ["call.admitted", "call.settled"]


def test_files_instead_of_pipes_are_served_by_the_sdks_transport(tmp_path: Path):
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}, "_meta": META}},
    ]
    (tmp_path / "in").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with (tmp_path / "in").open("rb") as given, (tmp_path / "out").open("wb") as taken:
        done = subprocess.run(
            [sys.executable, "-m", "ops_mcp"], stdin=given, stdout=taken, stderr=subprocess.PIPE, timeout=60, check=False,
            env=clean() | environment(tmp_path),
        )  # fmt: skip
    answers = [json.loads(line) for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines()]
    assert done.returncode == 0, done.stderr
    # The SDK cancels what is open at the end of a file, so the answer may be that; it is JSON-RPC and nothing else.
    assert [answer["id"] for answer in answers] == [1]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_read_whose_record_cannot_be_made_durable_is_refused_instead_and_costs_nothing(tmp_path: Path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with mounted(state, "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"):
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "config.toml").write_text("[ledger]\nfree_space_floor_bytes = 0\n", encoding="utf-8")
        with talking(module="ops_mcp", env=environment(tmp_path)) as talk:
            for number in range(1, 4):
                assert not ask(talk, number, "tools/call", name="services")["result"].get("isError")
            filler = fill(state / "filler")
            refused = [ask(talk, number, "tools/call", name="services")["result"] for number in range(4, 8)]
            assert [reply["_meta"]["dev.ops-mcp/problem"]["code"] for reply in refused] == ["unavailable"] * 4
            assert all(reply["isError"] and "structuredContent" not in reply for reply in refused)
            assert "full" in refused[0]["content"][0]["text"]
            assert "full" in ask(talk, 8, "tools/call", name="whoami")["result"]["structuredContent"]["trouble"]
            filler.unlink()
            assert not ask(talk, 9, "tools/call", name="services")["result"].get("isError")
            talk.end()
        admitted, settled = (
            [r["call"] for r in ledger(tmp_path) if r["kind"] == f"call.{end}"] for end in ("admitted", "settled")
        )
        assert len(admitted) == len(set(admitted)) == 4
        assert len(settled) == len(set(settled))
        # Settlements that were waiting when the disk became full are written once it takes them.
        assert set(settled) == set(admitted)
