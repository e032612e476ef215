"""Operators and agents from the terminal."""

import hashlib
import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

from inline_snapshot import snapshot

from tests.cli.conftest import Terminal


def test_init_makes_private_directories_a_key_and_a_first_record(bare: Terminal) -> None:
    assert bare("init").code == 0
    for directory in (bare.config_dir, bare.config_dir / "secrets", bare.config_dir / "operators", bare.state_dir):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((bare.config_dir / "operators" / "alice.key").stat().st_mode) == 0o600
    [record] = bodies(bare)
    assert (record["kind"], record["caller"], record["data"]["operator"]) == ("operator.added", "operator:alice", "alice")


def test_init_says_that_a_key_without_passphrase_protects_nothing(bare: Terminal) -> None:
    told = bare("init")
    assert "no passphrase" in told.out
    assert bare("operator", "list", "--json").data["operators"][0]["protected"] is False


def test_a_second_init_is_refused_and_names_the_operators(terminal: Terminal) -> None:
    told = terminal("init", "--operator", "mallory", "--json")
    assert told.code == 1
    assert told.problem["message"] == "This installation has operators already: alice."
    assert not (terminal.config_dir / "operators" / "mallory.key").exists()


def test_a_protected_key_opens_only_with_its_passphrase(bare: Terminal) -> None:
    good, bad = passphrase(bare.root, "good", "correct horse"), passphrase(bare.root, "bad", "wrong")
    assert bare("init", "--passphrase-file", str(good)).code == 0
    assert bare("agent", "add", "bot", "--passphrase-file", str(good)).code == 0
    assert bare("agent", "add", "bot2", "--passphrase-file", str(bad)).code == 3
    told = bare("agent", "add", "bot2", "--json")
    assert (told.code, told.problem["code"]) == (3, "unauthenticated")
    assert "--passphrase-file" in told.problem["hint"]
    assert bare("operator", "list", "--json").data["operators"][0]["protected"] is True
    assert "correct horse" not in everything_written(bare)


def test_a_passphrase_file_that_others_can_read_is_refused(bare: Terminal) -> None:
    file = passphrase(bare.root, "open", "secret")
    file.chmod(0o644)
    told = bare("init", "--passphrase-file", str(file), "--json")
    assert told.code == 7
    assert "chmod 600" in told.problem["hint"]


def test_a_token_is_shown_once_and_only_its_hash_is_kept(terminal: Terminal) -> None:
    told = terminal("agent", "add", "bot", "--tier", "staging")
    assert told.out == snapshot("""\
Agent bot: tier staging, owner alice.
Its token, shown this once:

  opsmcp_token-0

The agent's client gives it as OPS_MCP_TOKEN.
""")
    assert "opsmcp_token-0" not in everything_written(terminal)
    assert hashlib.sha256(b"opsmcp_token-0").hexdigest() in everything_written(terminal)
    assert "opsmcp_" not in terminal("agent", "list", "--json").out


def test_a_token_can_go_straight_into_a_private_file(terminal: Terminal) -> None:
    file = terminal.root / "bot.token"
    told = terminal("agent", "add", "bot", "--token-file", str(file))
    assert "opsmcp_" not in told.out
    assert file.read_text(encoding="utf-8") == "opsmcp_token-0\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_rotated_token_replaces_the_old_hash(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    told = terminal("agent", "rotate", "bot", "--json")
    assert told.data["token"] == "opsmcp_token-1"
    hashes = rows(terminal, "SELECT token_hash FROM agents")
    assert hashes == [(hashlib.sha256(b"opsmcp_token-1").hexdigest(),)]


def test_agents_are_listed_as_a_plain_table_where_nobody_watches(terminal: Terminal) -> None:
    terminal("agent", "add", "bot", "--tier", "prod")
    terminal("agent", "add", "cron")
    terminal("kill", "--agent", "cron", "--reason", "runaway")
    assert terminal("agent", "list").out == snapshot("""\
agent  owner  tier     score  level    state
bot    alice  prod     100    staging  ok
cron   alice  sandbox  100    sandbox  killed
""")


def test_a_score_is_set_with_a_reason_and_recorded_with_both_states(terminal: Terminal) -> None:
    terminal("agent", "add", "bot", "--tier", "prod")
    assert terminal("agent", "set", "bot", "--score", "165").code == 2
    assert terminal("agent", "set", "bot", "--score", "165", "--reason", "proven elsewhere").code == 0
    record = bodies(terminal)[-1]
    assert record["kind"] == "agent.set"
    assert record["reason"] == "proven elsewhere"
    assert (record["data"]["before"]["score"], record["data"]["agent"]["score"]) == (100, 165)
    assert terminal("agent", "list", "--json").data["agents"][0]["level"] == "prod"


def test_unknown_names_are_answered_with_the_valid_ones(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    told = terminal("agent", "set", "bto", "--score", "1", "--reason", "x", "--json")
    assert told.code == 4
    assert told.problem == snapshot(
        {"code": "not_found", "message": "There is no agent 'bto'.", "hint": "Agents: bot.", "retryable": False, "details": {}}
    )
    assert terminal("agent", "add", "x", "--owner", "bob", "--json").problem["hint"] == "Operators: alice."


def test_names_that_could_be_paths_or_callers_are_refused(terminal: Terminal) -> None:
    for name in ("../x", "Bot", "a b", "anonymous", "unknown", "x" * 64, "bot\n"):
        assert terminal("agent", "add", name).code == 2, name
    assert terminal("operator", "add", "../../x", "--no-passphrase").code == 2
    assert [b["kind"] for b in bodies(terminal)] == ["operator.added"]


def test_a_revoked_operator_can_order_nothing_more(terminal: Terminal) -> None:
    assert terminal("operator", "add", "bob", "--no-passphrase").code == 0
    assert terminal("operator", "revoke", "alice", "--reason", "left", "--operator", "bob").code == 0
    told = terminal("agent", "add", "bot", "--operator", "alice", "--json")
    assert (told.code, told.problem["code"]) == (3, "not_permitted")
    assert terminal("agent", "add", "bot", "--operator", "bob").code == 0


def test_the_last_operator_cannot_be_revoked(terminal: Terminal) -> None:
    assert terminal("operator", "revoke", "alice", "--reason", "left", "--json").problem["code"] == "conflict"


def test_a_key_that_was_not_registered_orders_nothing(terminal: Terminal) -> None:
    terminal("operator", "add", "bob", "--no-passphrase")
    keys = terminal.config_dir / "operators"
    (keys / "alice.key").write_bytes((keys / "bob.key").read_bytes())
    told = terminal("freeze", "--all", "--reason", "x", "--operator", "alice", "--json")
    assert (told.code, told.problem["code"]) == (3, "not_permitted")
    assert "signature" in told.problem["message"]


def test_without_any_key_every_order_is_refused(terminal: Terminal) -> None:
    (terminal.config_dir / "operators" / "alice.key").unlink()
    told = terminal("kill", "--everyone", "--reason", "x", "--json")
    assert (told.code, told.problem["code"]) == (3, "not_permitted")


def test_a_process_with_an_agents_token_cannot_act_as_operator(terminal: Terminal) -> None:
    terminal.environ["OPS_MCP_TOKEN"] = "opsmcp_token-0"
    for line in (["agent", "add", "x"], ["approve", "apr_1"], ["freeze", "--all", "--reason", "x"], ["operator", "add", "x"]):
        told = terminal(*line, "--json")
        assert (told.code, told.problem["code"]) == (3, "not_permitted"), line
        assert "opsmcp_token-0" not in told.err
    assert len(bodies(terminal)) == 1


def test_every_order_is_recorded_with_its_signature_and_moves_the_governance_number(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    terminal("freeze", "-e", "production", "--reason", "storm")
    recorded = bodies(terminal)
    assert [b["kind"] for b in recorded] == ["operator.added", "agent.added", "freeze.set"]
    assert all(len(b["data"]["order"]["signature"]) == 128 for b in recorded)
    assert rows(terminal, "SELECT value FROM facts WHERE name = 'governance'") == [("3",)]


def bodies(terminal: Terminal) -> list[Any]:
    return [json.loads(body) for (body,) in rows(terminal, "SELECT body FROM ledger ORDER BY id")]


def rows(terminal: Terminal, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(terminal.database)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def everything_written(terminal: Terminal) -> str:
    """Every byte below the two directories, passphrases and tokens of the test's own making excepted."""
    found = [f for d in (terminal.config_dir, terminal.state_dir) for f in d.rglob("*") if f.is_file()]
    return "".join(f.read_bytes().decode("latin-1") for f in found)


def passphrase(root: Path, name: str, text: str) -> Path:
    file = root / name
    file.write_text(text + "\n", encoding="utf-8")
    file.chmod(0o600)
    return file


def test_a_token_for_reading_is_shown_once_and_only_its_hash_is_kept(terminal: Terminal) -> None:
    told = terminal("operator", "token", "alice")
    assert told.out == snapshot("""\
Operator alice has a token; one from before no longer works.
Its token, shown this once:

  opsmcp_token-0

It reads over HTTP, as `Authorization: Bearer TOKEN`, and can change nothing.
""")
    assert hashlib.sha256(b"opsmcp_token-0").hexdigest() in everything_written(terminal)
    assert "opsmcp_token-0" not in everything_written(terminal)
    assert bodies(terminal)[-1]["kind"] == "operator.token_given"


def test_a_token_for_reading_is_given_to_operators_only_and_taken_away_again(terminal: Terminal) -> None:
    told = terminal("operator", "token", "nobody", "--json")
    assert (told.code, told.problem["code"]) == (4, "not_found")
    assert terminal("operator", "token", "alice").code == 0
    assert terminal("operator", "token", "alice", "--remove").out == "alice has no token any more.\n"
    with sqlite3.connect(terminal.database) as database:
        assert database.execute("SELECT COUNT(*) FROM operator_tokens").fetchone() == (0,)
    database.close()
