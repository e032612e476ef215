"""Commands of the operator: no shell, nothing of our environment, and nothing left when their time is over."""

import os
import sys
from pathlib import Path

import anyio
import psutil
import pytest

from ops_mcp.domain.inventory import CommandAsked, HealthState
from tests.operations.probes.servers import found

pytestmark = pytest.mark.anyio
H, U, Q = HealthState.healthy, HealthState.unhealthy, HealthState.unknown


def python(code: str, **terms: object) -> CommandAsked:
    return CommandAsked.model_validate({"argv": [sys.executable, "-c", code], **terms})


async def test_the_exit_code_says_whether_it_is_well() -> None:
    good = await found(python("pass"))
    bad = await found(python("raise SystemExit(3)"))
    killed = await found(python("import os; os.kill(os.getpid(), 9)"))
    missing = await found(CommandAsked(argv=("no-such-program-anywhere",)))
    assert [one.state for one in (good, bad, killed, missing)] == [H, U, U, Q]
    assert [one.evidence for one in (good, bad, killed)] == [
        "the command succeeds",
        "the command exits with code 3",
        "the command was ended by signal 9",
    ]


async def test_arguments_are_words_and_no_shell_reads_them(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    assert (await found(CommandAsked(argv=("true", f"; touch {marker}", f"$(touch {marker})", "|")))).state is H
    assert not marker.exists()


async def test_it_gets_nothing_of_our_environment(tmp_path: Path) -> None:
    said = tmp_path / "environment"
    os.environ["A_TESTS_SECRET"] = "x"
    try:
        assert (await found(python(f"import os; open({str(said)!r}, 'w').write(' '.join(sorted(os.environ)))"))).state is H
    finally:
        del os.environ["A_TESTS_SECRET"]
    assert set(said.read_text().split()) <= {"LANG", "PATH", "LC_CTYPE"}


async def test_a_flood_of_output_is_not_kept() -> None:
    before = psutil.Process().memory_info().rss
    assert (await found(python("import sys; sys.stdout.write('x' * 300_000_000)", timeout_seconds=20))).state is H
    assert psutil.Process().memory_info().rss - before < 100_000_000


async def test_when_its_time_is_over_it_and_its_children_are_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    seen = await found(python(code, timeout_seconds=1))
    assert seen[:2] == (U, "the command did not end within 1 s")
    with anyio.fail_after(5):
        while any(psutil.pid_exists(int(pid)) and not _is_over(int(pid)) for pid in pids.read_text().split()):
            await anyio.sleep(0.01)


def _is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
