"""The demonstration, as a machine reads it."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ops_mcp.providers.local import keeper

ROOT = Path(__file__).parents[2]
KEEPER = str(Path(keeper.__file__).parent)


@pytest.mark.slow
def test_the_demonstration_checks_all_it_claims_and_leaves_nothing_running() -> None:
    before = keepers()
    ran = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert not keepers() - before
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["ok"]) == (0, True), told["failure"] + ran.stderr
    assert told["held"] == told["claims"] >= 20
    assert "anchored up to record" in told["verification"][-1]


def keepers() -> set[int]:
    """Processes that keep a service somewhere on this machine."""
    return {process.pid for process in psutil.process_iter(["cmdline"]) if KEEPER in (process.info["cmdline"] or ())}
