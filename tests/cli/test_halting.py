"""Freeze, kill, budgets and the reset that only an operator can order."""

from collections.abc import Callable
from datetime import timedelta

import anyio

from ops_mcp.cli.desk import ledger_signer
from ops_mcp.config import load
from ops_mcp.domain.calls import Cost
from ops_mcp.store.counters import Charge, charge
from ops_mcp.store.database import Database, Transaction
from tests.cli.conftest import Terminal
from tests.cli.test_people import bodies, rows


def test_a_freeze_is_there_for_every_process_and_is_lifted_by_name(terminal: Terminal) -> None:
    assert terminal("freeze", "-e", "production", "--reason", "storm").code == 0
    assert rows(terminal, "SELECT environment, reason, by_whom FROM freezes") == [("production", "storm", "alice")]
    assert terminal("unfreeze", "--all", "--json").problem["hint"] == "Frozen: production."
    assert terminal("unfreeze", "-e", "production").code == 0
    assert rows(terminal, "SELECT * FROM freezes") == []
    assert [b["kind"] for b in bodies(terminal)][1:] == ["freeze.set", "freeze.lifted"]


def test_everything_is_only_stopped_when_it_is_said(terminal: Terminal) -> None:
    for line in (["freeze"], ["kill"], ["freeze", "-e", "production", "--all"]):
        assert terminal(*line, "--reason", "x").code == 2, line
    assert len(bodies(terminal)) == 1


def test_an_environment_that_does_not_exist_is_not_frozen(terminal: Terminal) -> None:
    told = terminal("freeze", "-e", "prod", "--reason", "x", "--json")
    assert (told.code, told.problem["hint"]) == (4, "Environments: production, sandbox, staging.")


def test_a_stop_needs_a_reason_that_is_one_line(terminal: Terminal) -> None:
    assert terminal("kill", "--everyone").code == 2
    for reason in ("", "a\nb", "\x1b[2J", "x" * 501):
        assert terminal("kill", "--everyone", "--reason", reason).code == 2, reason


def test_everyone_can_be_killed_and_let_go_again(terminal: Terminal) -> None:
    terminal("kill", "--everyone", "--reason", "breach")
    assert terminal("status", "--json").data["everyone_killed"] is True
    assert terminal("unkill", "--everyone").code == 0
    assert terminal("status", "--json").data["everyone_killed"] is False
    assert terminal("unkill", "--everyone").code == 1


def test_an_agent_that_was_killed_by_name_stays_so_when_everyone_is_let_go(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    terminal("kill", "--agent", "bot", "--reason", "x")
    terminal("kill", "--everyone", "--reason", "x")
    terminal("unkill", "--everyone")
    assert terminal("status", "--json").data["killed"] == ["bot"]
    assert terminal("unkill", "--agent", "bot").code == 0
    assert terminal("status", "--json").data["killed"] == []


def test_the_status_says_who_stopped_what_and_why(terminal: Terminal) -> None:
    terminal("freeze", "--all", "--reason", "storm")
    lines = terminal("status").out.splitlines()
    assert "Frozen: every environment, by alice since 2026-11-20 12:00 UTC: storm" in lines


def test_a_reset_credits_what_was_spent_keeps_what_is_held(terminal: Terminal) -> None:
    for name in ("bot", "bot2"):
        terminal("agent", "add", name)
    hour = "2026-11-20T12"
    with_unit(terminal, lambda t: _spend(t, hour))
    told = terminal("budget", "reset", "--agent", "bot", "--reason", "bad day", "--json")
    assert told.data["credits"] == [{"scope": "bot:staging:work", "window": hour, "calls": 6, "tokens": 600, "usd_micros": 60}]
    left = rows(terminal, "SELECT scope, win, calls, tokens, usd_micros FROM spend ORDER BY scope, win")
    assert left == [
        ("bot2:staging:work", hour, 5, 500, 50),
        ("bot:staging:work", "2026-11-20T11", 3, 300, 30),
        ("bot:staging:work", hour, 1, 100, 10),
    ]
    assert bodies(terminal)[-1]["kind"] == "agent.budget_reset"


def test_a_reset_of_one_tier_leaves_the_others(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    with_unit(terminal, lambda t: _spend(t, "2026-11-20T12"))
    assert terminal("budget", "reset", "--agent", "bot", "--tier", "prod", "--reason", "x", "--json").data["credits"] == []


def test_a_reset_needs_an_operator_and_a_reason(terminal: Terminal) -> None:
    terminal("agent", "add", "bot")
    assert terminal("budget", "reset", "--agent", "bot").code == 2
    terminal.environ["OPS_MCP_TOKEN"] = "opsmcp_token-0"
    assert terminal("budget", "reset", "--agent", "bot", "--reason", "x").code == 3


def test_what_is_spent_is_shown(terminal: Terminal) -> None:
    terminal("agent", "add", "bot", "--tier", "staging")
    with_unit(terminal, lambda t: _spend(t, "2026-11-20T12"))
    shown = terminal("budget", "show", "--agent", "bot", "--json").data["budgets"]
    assert [(b["scope"], b["currency"], b["limit"] - b["left"]) for b in shown] == [
        ("staging:work", "calls", 7),
        ("staging:work", "tokens", 700),
        ("staging:work", "usd_micros", 70),
    ]
    terminal.passes(timedelta(hours=1))
    assert terminal("budget", "show", "--agent", "bot", "--json").data["budgets"] == []


def test_counters_that_disagree_with_the_ledger_are_found_and_repaired(terminal: Terminal) -> None:
    with_unit(terminal, lambda t: charge(t, [Charge("bot:staging:work", "2026-11-20T12")], Cost(calls=4)))
    told = terminal("db", "check", "--json")
    assert (told.code, told.data["whole"]) == (5, False)
    assert terminal("db", "check", "--repair").code == 0
    assert terminal("db", "check", "--json").data["whole"] is True


def with_unit(terminal: Terminal, unit: Callable[[Transaction], None]) -> None:
    """Run a unit of work on the terminal's database."""
    anyio.run(_write, terminal, unit)


async def _write(terminal: Terminal, unit: Callable[[Transaction], None]) -> None:
    config = load({}, config_dir=terminal.config_dir, state_dir=terminal.state_dir)
    with anyio.fail_after(10):
        async with Database.open(config.database_path, signer=ledger_signer(config)) as database:
            await database.write(unit)


def _spend(t: Transaction, hour: str) -> None:
    """`bot` spent 7 calls in this hour, one of them still open, and 3 in the last; `bot2` spent 5."""
    charge(t, [Charge("bot:staging:work", hour)], Cost(calls=7, tokens=700, usd_micros=70))
    charge(t, [Charge("bot:staging:work", "2026-11-20T11")], Cost(calls=3, tokens=300, usd_micros=30))
    charge(t, [Charge("bot2:staging:work", hour)], Cost(calls=5, tokens=500, usd_micros=50))
    t.execute(
        "INSERT INTO reservations (call, caller, scopes, calls, tokens, usd_micros, admitted_at, holder)"
        " VALUES ('call_1', 'bot', ?, 1, 100, 10, '2026-11-20T12:00:00+00:00', 'here')",
        f'[["bot:staging:work", "{hour}"]]',
    )
