"""Eight server processes spend one agent's budget on one database: never more than it holds, and the counters can be rebuilt."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ops_mcp.domain.identity import Level, Token
from ops_mcp.store import keys, verify
from ops_mcp.store.rebuild import compare
from tests.house import house

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PROCESSES, CONNECTIONS = 8, 4


async def test_eight_processes_spend_exactly_five_hundred_calls(tmp_path: Path) -> None:
    limits = "[budgets.read]\ncalls_per_hour = 100000\ncalls_per_day = 500\n"
    reports = await _spend(tmp_path, limits + _NO_RATES, attempts=25, tools=("services",))
    assert sum(r["seen"].get("done", 0) for r in reports) == 500
    assert {code for r in reports for code in r["seen"]} == {"done", "over_budget"}
    await _assert_rebuilt_and_whole(tmp_path, calls=500)


async def test_unequal_prices_never_overspend_a_cent_and_settle_exactly(tmp_path: Path) -> None:
    limits = "[budgets.read]\nusd_micros_per_day = 100000\n[prices]\nservices = 700\naudit = 1100\ndeployments = 1300\n"
    reports = await _spend(tmp_path, limits + _NO_RATES, attempts=25, tools=("services", "audit", "deployments"))
    assert {code for r in reports for code in r["seen"]} == {"done", "over_budget"}
    async with house(tmp_path) as home:
        rows = await home.database.fetch("SELECT usd_micros FROM spend WHERE scope LIKE 'ada:%' AND length(win) = 10")
        settled = [r["data"] for r in await home.records("call.settled") if r["caller"] == "ada"]
        spent = sum(int(data["cost"][2]) for data in settled if isinstance(data, dict) and isinstance(data["cost"], list))
        assert sum(row[0] for row in rows) == spent
        assert 100_000 - 1300 < spent <= 100_000
    await _assert_rebuilt_and_whole(tmp_path)


_NO_RATES = "[budgets.everyone]\n[rates.read]\nper_minute = 1000000\nburst = 100000\n[ledger]\nfree_space_floor_bytes = 0\n"


async def _spend(tmp_path: Path, settings: str, *, attempts: int, tools: Sequence[str]) -> list[dict]:  # type: ignore[type-arg]
    async with house(tmp_path) as home:
        credential = await home.agent("ada", ceiling=Level.staging)
        assert isinstance(credential, Token)
    config = tmp_path / "config"
    config.mkdir(exist_ok=True)
    (config / "config.toml").write_text(settings, encoding="utf-8")
    argv = [sys.executable, "-m", "tests.races.spender", str(config), str(tmp_path / "state"),
            credential.secret.get_secret_value(), str(CONNECTIONS), str(attempts), *tools]  # fmt: skip
    processes = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()


async def _assert_rebuilt_and_whole(tmp_path: Path, calls: int | None = None) -> None:
    async with house(tmp_path) as home:
        assert await home.database.write(compare) == ()
        if calls is not None:
            rows = await home.database.fetch("SELECT calls FROM spend WHERE scope = 'ada:sandbox:read' AND length(win) = 10")
            assert rows == [(calls,)]
        assert await home.count("reservations") == 0
    finding = verify.verify(tmp_path / "state" / "ops.db", [_public_key(tmp_path)])
    assert isinstance(finding, verify.IntactUpTo), finding


def _public_key(tmp_path: Path) -> str:
    return keys.load_ledger_key(keys.ledger_key_path(tmp_path / "state")).public
