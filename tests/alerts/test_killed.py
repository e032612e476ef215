"""A worker that is killed at any moment, again and again, leaves exactly what one leaves that never was."""

import contextlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.killable import evaluate
from tests.alerts.watching import watched

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LAST, KILLS = 100, 12
ROOT = Path(__file__).parents[2]


async def stored(directory: Path) -> dict[str, Any]:
    """Everything that a round writes."""
    async with watched(directory) as world:
        fetch = world.home.database.fetch
        return {
            "alerts": await fetch("SELECT * FROM alerts ORDER BY id"),
            "events": await fetch("SELECT * FROM alert_events ORDER BY alert, sequence"),
            "progress": await fetch("SELECT * FROM alert_progress ORDER BY environment, name"),
            "groups": await fetch("SELECT * FROM alert_groups ORDER BY channel, labels"),
            "notices": await fetch("SELECT id, channel, body FROM outbox ORDER BY position"),
        }


def killed_run(directory: Path, first: int, rng: random.Random) -> int:
    """Evaluate from `first` on until killed a random moment later; the first round that is not known to be over."""
    command = [sys.executable, "-m", "tests.alerts.killable", str(directory), str(first), str(LAST)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(rng.randint(1, 4)):
            line = process.stdout.readline()
            if not line:
                break
            first = int(line) + 1
        with contextlib.suppress(subprocess.TimeoutExpired):  # some moment of the round that goes on now
            process.wait(rng.random() * 0.04)
        process.kill()
        for line in process.stdout:
            first = int(line) + 1
    return first


async def test_kills_change_no_state_no_history_and_no_message(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    await evaluate(undisturbed, 1, LAST)
    rng, first = random.Random(4), 1
    for _ in range(KILLS):
        first = killed_run(killed, first, rng)
    assert 1 < first < LAST
    await evaluate(killed, first, LAST)
    expected, found = await stored(undisturbed), await stored(killed)
    assert len(expected["events"]) > 100
    assert len(expected["notices"]) > 3
    for table, rows in expected.items():
        assert found[table] == rows, table
