"""Doctor, audit, policy and database from the terminal."""

import gzip
import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.cli.checks import file_system
from ops_mcp.store.schema import SCHEMA_VERSION
from tests.cli.conftest import Terminal


def test_a_ledger_is_plainly_intact_only_with_an_anchor(terminal: Terminal) -> None:
    told = terminal("audit", "verify", "--json")
    assert (told.code, told.data["verdict"]) == (8, "IntactUpTo")
    anchor = str(terminal.root / "anchors.txt")
    assert terminal("audit", "anchor", anchor).code == 0
    told = terminal("audit", "verify", "--anchor", anchor, "--json")
    assert (told.code, told.data["verdict"]) == (0, "Intact")


def test_an_edited_record_is_found_and_named(terminal: Terminal) -> None:
    for name in ("a", "b", "c"):
        terminal("agent", "add", name)
    terminal("audit", "anchor", str(terminal.root / "anchors.txt"))
    connection = sqlite3.connect(terminal.database)
    connection.executescript(
        "DROP TRIGGER ledger_no_update; UPDATE ledger SET body = replace(body, '\"b\"', '\"x\"') WHERE id = 3"
    )
    connection.close()
    told = terminal("audit", "verify", "--anchor", str(terminal.root / "anchors.txt"), "--json")
    assert (told.code, told.data["verdict"], told.data["record"]) == (5, "Broken", 3)


@pytest.mark.parametrize("name", ["export.jsonl", "export.jsonl.gz"])
def test_an_export_is_checked_far_from_here(terminal: Terminal, name: str) -> None:
    terminal("agent", "add", "bot")
    file, anchor = terminal.root / name, terminal.root / "anchors.txt"
    told = terminal("audit", "export", str(file), "--json")
    terminal("audit", "anchor", str(anchor))
    raw = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    assert all(json.loads(line) for line in raw.splitlines())
    elsewhere = ["--state", str(terminal.root / "nowhere"), "--public-key", told.data["public_key"], "--anchor", str(anchor)]
    assert terminal("audit", "verify", str(file), *elsewhere).code == 0


def test_what_is_no_anchor_gives_no_verdict(terminal: Terminal) -> None:
    file = terminal.root / "anchors.txt"
    file.write_text("nothing here\n", encoding="utf-8")
    assert terminal("audit", "verify", "--anchor", str(file)).code == 2
    assert terminal("audit", "verify", "--public-key", "short").code == 2


def test_records_are_searched_by_kind_and_caller(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    found = terminal("audit", "search", "--kind", "agent.added", "--json").data["records"]
    assert [r["body"]["data"]["agent"]["name"] for r in found] == ["bot"]
    assert terminal("audit", "search", "--agent", "ghost").out == "No such record.\n"


def test_old_records_move_out_by_an_operators_order_and_the_rest_still_verifies(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    terminal.passes(timedelta(days=100))
    old = terminal.root / "old"
    told = terminal("audit", "retain", str(old), "--dry-run", "--json")
    assert (told.data["written"], old.exists()) == (False, False)
    told = terminal("audit", "retain", str(old), "--json")
    assert (told.code, told.data["retained"]) == (0, 2)
    anchor = str(terminal.root / "anchors.txt")
    terminal("audit", "anchor", anchor)
    assert terminal("audit", "verify", "--anchor", anchor, "--json").data["first"] == 3
    assert terminal("audit", "retain", str(old), "--keep-days", "30").code == 2


def test_retention_anchors_the_rest_at_once_where_anchors_are_configured(terminal: Terminal) -> None:
    place = terminal.root / "elsewhere.jsonl"
    (terminal.config_dir / "config.toml").write_text(f'[ledger]\nanchors = ["{place}"]\nanchor_every = 1000\n', encoding="utf-8")
    terminal("agent", "add", "bot")
    terminal.passes(timedelta(days=100))
    told = terminal("audit", "retain", str(terminal.root / "old"), "--json")
    assert (told.code, [p["state"] for p in told.data["places"]]) == (0, ["ok"])
    verified = terminal("audit", "verify", "--anchor", str(place), "--json")
    assert (verified.code, verified.data["verdict"], verified.data["first"]) == (0, "Intact", 3)


def test_retention_says_which_anchor_did_not_take_the_rest(terminal: Terminal) -> None:
    (terminal.config_dir / "config.toml").write_text('[ledger]\nanchors = ["/proc/nowhere/anchors"]\n', encoding="utf-8")
    terminal("agent", "add", "bot")
    terminal.passes(timedelta(days=100))
    told = terminal("audit", "retain", str(terminal.root / "old"), "--json")
    assert (told.code, told.data["written"], [p["state"] for p in told.data["places"]]) == (1, True, ["fail"])


def test_retention_is_refused_without_an_operators_key(terminal: Terminal) -> None:
    terminal.passes(timedelta(days=100))
    (terminal.config_dir / "operators" / "alice.key").unlink()
    assert terminal("audit", "retain", str(terminal.root / "old")).code == 3


def test_a_reviewed_table_of_decisions_is_compared(terminal: Terminal) -> None:
    cases = terminal.root / "cases.toml"
    cases.write_text(
        "\n".join(
            f'[[case]]\ntool = "deploy"\nenvironment = "{environment}"\ntier = "{tier}"\nscore = {score}\nexpect = "{expect}"'
            for environment, tier, score, expect in (
                ("sandbox", "sandbox", 100, "allow"),
                ("staging", "sandbox", 100, "deny"),
                ("staging", "staging", 100, "allow"),
                ("staging", "staging", 50, "ask"),
                ("production", "staging", 200, "deny"),
                ("production", "prod", 100, "ask"),
                ("production", "prod", 160, "allow"),
            )
        ),
        encoding="utf-8",
    )
    assert terminal("policy", "test", str(cases), "--json").data["wrong"] == []
    (terminal.config_dir / "policies" / "own.cedar").write_text(
        '@id("no-deploys")\nforbid(principal, action == Action::"deploy", resource);\n', encoding="utf-8"
    )
    told = terminal("policy", "test", str(cases), "--json")
    assert told.code == 1
    assert {c["decided"] for c in told.data["wrong"]} == {"deny"}
    assert "no-deploys" in terminal("policy", "explain", "deploy", "-e", "sandbox", "--tier", "sandbox").out


def test_a_policy_that_cannot_be_used_is_named(terminal: Terminal) -> None:
    (terminal.config_dir / "policies" / "own.cedar").write_text("permit(", encoding="utf-8")
    told = terminal("policy", "show", "--json")
    assert (told.code, "own.cedar" in told.problem["message"]) == (7, True)


def test_a_healthy_installation_gets_no_failing_line(terminal: Terminal) -> None:
    told = terminal("doctor", "--json")
    assert [f for f in told.data["findings"] if f["state"] == "fail"] == []
    assert told.code == 0


def test_the_doctor_names_what_is_missing_and_how_to_get_it(terminal: Terminal) -> None:
    terminal("service", "add", "sample", "-e", "production", "--secret", "TOKEN=prod-token")
    (terminal.config_dir / "operators" / "alice.key").chmod(0o644)
    terminal.environ |= {"OPS_MCP_TOKEN": "${OPS_MCP_TOKEN}", "DATABASE_URL": "postgres://x:secret@y/z"}
    told = terminal("doctor", "--json")
    assert told.code == 1
    found = findings(told.data)
    assert found["secrets"][0]["fix"] == "ops-mcp secret set prod-token"
    assert "chmod 600" in found["keys"][0]["fix"]
    assert "placeholder" in found["token"][0]["says"]
    assert "Credentials for prod" in found["boundary"][1]["says"]
    assert "DATABASE_URL" in found["configuration"][1]["says"]
    assert "postgres://x" not in told.out


def test_the_doctor_looks_without_creating_anything(bare: Terminal) -> None:
    told = bare("doctor", "--json")
    assert findings(told.data)["database"][0]["fix"] == "ops-mcp init"
    assert not bare.state_dir.exists()
    assert not bare.config_dir.exists()


def test_the_doctor_reads_a_damaged_and_a_newer_database(terminal: Terminal) -> None:
    connection = sqlite3.connect(terminal.database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "Upgrade" in findings(terminal("doctor", "--json").data)["database"][0]["fix"]
    terminal.database.write_bytes(b"no database at all" * 1000)
    assert findings(terminal("doctor", "--json").data)["database"][0]["state"] == "fail"
    assert terminal("db", "check").code in (5, 6)


def test_a_missing_ledger_key_fails_closed_and_is_named(terminal: Terminal) -> None:
    (terminal.state_dir / "keys" / "ledger.key").unlink()
    assert terminal("agent", "add", "bot").code == 6
    assert "missing" in findings(terminal("doctor", "--json").data)["keys"][0]["says"]


def test_the_file_system_is_that_of_the_longest_mount_point() -> None:
    mounts = [("/", "ext4"), ("/run", "tmpfs"), ("/run/user/1/disk", "xfs")]
    assert [file_system(Path(p), mounts) for p in ("/home", "/run/x", "/run/user/1/disk/a", "/running")] == [
        "ext4",
        "tmpfs",
        "xfs",
        "ext4",
    ]


def test_the_database_is_whole_and_counted(terminal: Terminal) -> None:
    told = terminal("db", "check", "--json")
    assert (told.code, told.data["whole"], told.data["rows"]["ledger"]) == (0, True, 1)
    assert terminal("db", "migrate", "--json").data == {"before": SCHEMA_VERSION, "schema": SCHEMA_VERSION}


def findings(data: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for finding in data["findings"]:
        found.setdefault(finding["what"], []).append(finding)
    return found
