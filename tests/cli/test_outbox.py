"""What could not be delivered is seen, and tried again when an operator says so."""

from datetime import timedelta

import anyio

from ops_mcp.cli.desk import ledger_signer
from ops_mcp.config import load
from ops_mcp.errors import ProviderError
from ops_mcp.store import outbox
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.outbox import Delivered, GivenUp, State
from tests.channels.receiving import notice
from tests.cli.conftest import START, Terminal
from tests.cli.test_people import bodies


def filled(terminal: Terminal) -> None:
    """One dead, one delivered, one unknown, one that waits."""
    problem = ProviderError("The receiver answered HTTP 500.", hint="Look.").problem
    ends = (GivenUp(State.dead, problem), Delivered("m1"), GivenUp(State.unknown, problem))

    def unit(tx: Transaction) -> None:
        for number in range(4):
            outbox.enqueue(tx, notice(f"ntc_{number}", thread=f"t{number}", title="a\x1b[2Jb"), at=START)
        for posted, end in zip(outbox.claim(tx, "pager", fence=1, at=START, most=3), ends, strict=True):
            outbox.settle(tx, posted, end, fence=1, at=START + timedelta(seconds=5))

    async def fill() -> None:
        config = load({}, config_dir=terminal.config_dir, state_dir=terminal.state_dir)
        async with Database.open(config.database_path, signer=ledger_signer(config)) as database:
            await database.write(unit)

    anyio.run(fill)


def test_what_is_not_delivered_is_listed_with_its_reason(terminal: Terminal) -> None:
    assert terminal("outbox", "list").out.startswith("Nothing waits, and nothing failed.")
    filled(terminal)
    listed = terminal("outbox", "list", "--json").data
    assert [(row["id"], row["state"]) for row in listed["notices"]] == [
        ("ntc_3", "waiting"), ("ntc_2", "unknown"), ("ntc_0", "dead"),
    ]  # fmt: skip
    assert listed["notices"][2]["trouble"] == "The receiver answered HTTP 500. Look."
    assert listed["counts"] == {"dead": 1, "delivered": 1, "unknown": 1, "waiting": 1}
    assert [row["id"] for row in terminal("outbox", "list", "--only", "delivered", "--json").data["notices"]] == ["ntc_1"]
    assert len(terminal("outbox", "list", "--all", "--json").data["notices"]) == 4
    told = terminal("outbox", "list").out
    assert "\x1b" not in told
    assert "In the outbox: 1 dead, 1 delivered, 1 unknown, 1 waiting." in told


def test_a_dead_letter_is_tried_again_and_the_ledger_says_so(terminal: Terminal) -> None:
    filled(terminal)
    terminal.config_dir.joinpath("config.toml").write_text('worker = "external"\n')
    assert terminal("outbox", "retry", "ntc_0").code == 0
    row = next(r for r in terminal("outbox", "list", "--json").data["notices"] if r["id"] == "ntc_0")
    assert (row["state"], row["attempts"], row["settled_at"]) == ("waiting", 0, None)
    assert [b["kind"] for b in bodies(terminal)][-1] == "notice.repeated"


def test_only_what_failed_can_be_tried_again_and_no_agent_says_so(terminal: Terminal) -> None:
    filled(terminal)
    assert terminal("outbox", "retry", "ntc_9", "--json").problem["code"] == "not_found"
    problem = terminal("outbox", "retry", "ntc_1", "--json").problem
    assert (problem["code"], problem["message"]) == ("conflict", "This notice is delivered.")
    terminal.environ["OPS_MCP_TOKEN"] = "opsmcp_x"
    assert terminal("outbox", "retry", "ntc_0", "--json").problem["code"] == "not_permitted"
