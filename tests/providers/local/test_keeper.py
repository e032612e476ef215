"""The keeper's own promises: bounded logs, no words of ours, nothing started for a starter that died."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops_mcp.domain.releases import DeploymentId, Presence
from ops_mcp.providers.local import keeper
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.lines import tail
from tests.providers.local.fakes import World

pytestmark = pytest.mark.anyio

ONE = DeploymentId("dep_1")
KEEPER = Path(keeper.__file__).parent


async def test_output_is_rotated_long_lines_are_cut_and_the_tail_spans_files(plain: World) -> None:
    code = "import sys\nfor n in range(60000): print('line', n, 'x' * 200)\nprint('y' * 100000)\nsys.stdout.write('no newline')\n"
    binding = plain.binding(plain.repository({"app.py": code}), port=None)
    await plain.deploy(binding, ONE)
    await plain.seen(binding, ONE, lambda o: o.presence is Presence.exited)
    logs = list((plain.root / "state/local/web/sandbox/deployments/dep_1/logs").iterdir())
    assert 1 < len(logs) <= 5
    assert all(log.stat().st_size < (2 << 20) + 40_000 for log in logs)
    newest = tail(plain.logs(ONE), 12_000)
    assert len(newest) == 12_000
    assert newest[-1] == "no newline"
    assert newest[-2].startswith("yyy")
    assert len(newest[-2]) <= 2000
    assert newest[0].startswith("line ")
    numbers = [int(line.split()[1]) for line in newest[:-2]]
    assert numbers == list(range(60_000 - len(numbers), 60_000))


async def test_bytes_that_are_no_text_do_not_break_the_tail(plain: World) -> None:
    code = "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\x00 odd\\n')\n"
    binding = plain.binding(plain.repository({"app.py": code}), port=None)
    await plain.deploy(binding, ONE)
    observed = await plain.seen(binding, ONE, lambda o: o.presence is Presence.exited)
    assert observed.untrusted_tail[0].endswith(" odd")


def test_an_order_cut_short_by_the_death_of_its_writer_starts_nothing(tmp_path: Path) -> None:
    order = json.dumps({"argv": ["touch", str(tmp_path / "ran")]}).encode()
    for mode in ("keep", "run"):
        done = subprocess.run(
            [sys.executable, "-I", "-S", KEEPER, mode], check=False, input=order[:-3], capture_output=True, timeout=10
        )
        assert (done.returncode, done.stdout) == (125, b"")
    assert not (tmp_path / "ran").exists()


def kept(directory: Path, *, nonce: str, run: list[str]) -> bytes:
    """What the keeper answers to an order given to it directly."""
    order = {
        "argv": run,
        "options": [],
        "env": {"PATH": os.defpath},
        "start_in": "/",
        "uid": None,
        "depth": 0,
        "directory": str(directory),
        "deployment": "dep_1",
        "nonce": nonce,
        "grace_seconds": 1,
        "deadline_seconds": 1,
        "log_bytes": 1000,
        "log_files": 2,
    }
    line = json.dumps(order).encode() + b"\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", KEEPER, "keep"], check=True, input=line, capture_output=True, timeout=15
    ).stdout


def test_a_late_keeper_that_is_no_longer_wanted_starts_nothing(tmp_path: Path) -> None:
    run = ["touch", str(tmp_path / "ran")]
    assert kept(tmp_path, nonce="withdrawn", run=run) == b"superseded"
    (tmp_path / "wanted").write_text("newer", encoding="ascii")
    assert kept(tmp_path, nonce="older", run=run) == b"superseded"
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "process.json").exists()


def test_a_second_keeper_of_a_deployment_that_runs_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "wanted").write_text("same", encoding="ascii")
    try:
        assert kept(tmp_path, nonce="same", run=["sleep", "61237"]) == b"started"
        assert kept(tmp_path, nonce="same", run=["touch", str(tmp_path / "ran")]) == b"superseded"
        assert not (tmp_path / "ran").exists()
    finally:
        started = Desk(tmp_path).started()
        assert started is not None
        os.kill(started.keeper.pid, signal.SIGTERM)


async def test_the_keeper_carries_no_environment_and_no_word_of_the_service_in_its_arguments(plain: World) -> None:
    binding = plain.binding("sample", run=[], env={"SAMPLE_GREETING": "planted-greeting"})
    await plain.up(binding, ONE)
    (pid,) = plain.living()
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert arguments[1:] == [b"-I", b"-S", os.fsencode(KEEPER), b"keep", b""]


async def test_a_keeper_imports_nothing_of_ops_mcp_and_stays_small(plain: World) -> None:
    binding = plain.binding("sample", run=[])
    await plain.up(binding, ONE)
    (pid,) = plain.living()
    fields = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    private = next(int(line.split()[1]) for line in fields if line.startswith("RssAnon"))
    assert private < 16_000
