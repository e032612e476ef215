"""What this host really tells of its load."""

from datetime import UTC, datetime
from pathlib import Path

import anyio
import psutil
import pytest
from anyio import to_thread

from ops_mcp.governance.load import BOUNDS, Measure
from ops_mcp.sources.load import SHORT_SECONDS, SURE_SECONDS, HostLoad

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def test_a_reading_is_what_the_host_says_of_itself(tmp_path: Path):
    found = await HostLoad(tmp_path / "not" / "yet" / "made", lambda: NOON).read()
    assert found.at == NOON
    assert found.cpu is not None
    assert 0 <= found.cpu <= 100
    assert found.memory == pytest.approx(psutil.virtual_memory().percent, abs=25)
    disks = [psutil.disk_usage(str(path)).percent for path in (tmp_path, tmp_path.anchor)]
    assert found.disk == pytest.approx(max(disks), abs=2)


async def test_busy_cpus_are_seen_and_looked_at_for_longer_before_that_is_believed(tmp_path: Path):
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await to_thread.run_sync(spin, seconds)

    def spin(seconds: float) -> None:
        """Every CPU busy for that long."""
        with psutil.Popen(["sh", "-c", "while :; do :; done"]) as first:
            others = [psutil.Popen(["sh", "-c", "while :; do :; done"]) for _ in range((psutil.cpu_count() or 1) * 2)]
            try:
                first.wait(timeout=seconds)
            except psutil.TimeoutExpired:
                pass
            finally:
                for process in (first, *others):
                    process.kill()
                psutil.wait_procs(others, timeout=5)

    found = await HostLoad(tmp_path, lambda: NOON, sleep=sleep).read()
    assert found.cpu is not None
    assert found.cpu >= next(iter(BOUNDS[Measure.cpu].values()))
    assert slept in ([SHORT_SECONDS, SURE_SECONDS], [SHORT_SECONDS])


@pytest.mark.slow
async def test_a_second_reading_covers_the_time_since_the_first_and_waits_for_nothing(tmp_path: Path):
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await anyio.sleep(seconds)

    host = HostLoad(tmp_path, lambda: NOON, sleep=sleep)
    await host.read()
    first = len(slept)
    await anyio.sleep(SURE_SECONDS)
    assert (await host.read()).cpu is not None
    assert len(slept) == first
