"""An inventory keeps a worker alive: a real, detached one is started for it, and ends once nothing is left to watch."""

import os
import signal
from pathlib import Path

import anyio
import psutil
import pytest

from ops_mcp import worker
from ops_mcp.config import Config, load
from ops_mcp.domain.inventory import HealthState
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.operations.loop import Rhythm, work
from ops_mcp.operations.parts import Reins
from ops_mcp.startup import Opened, open_app
from ops_mcp.store import health, leases
from tests.operations.probes.servers import free_port, listening, silent

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

STAGING = EnvironmentName("staging")


def configured(tmp_path: Path, port: int) -> tuple[Config, Path]:
    """An installation whose inventory has one thing, that is asked every second; and its file."""
    file = tmp_path / "config" / "inventory" / "mail.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[staging]\ninterval_seconds = 1\n[[staging.probes]]\nkind = "tcp"\nhost = "127.0.0.1"\nport = {port}\n')
    # Other tests load this host meanwhile, and the guard over its load keeps a worker as well.
    (tmp_path / "config" / "config.toml").write_text("[guard]\nenabled = false\n")
    return load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state"), file


async def test_an_idle_worker_stays_for_as_long_as_there_is_something_to_watch(tmp_path: Path) -> None:
    async with listening(silent) as port:
        config, file = configured(tmp_path, port)
        async with open_app(config, wake_worker=lambda: None, look_seconds=0) as opened:
            ended = anyio.Event()

            async def working() -> None:
                await work(worker.desk_of(opened, Rhythm(idle_seconds=0.2)), Reins())
                ended.set()

            async with anyio.create_task_group() as group:
                group.start_soon(working)
                with anyio.fail_after(60):
                    while await _asked(opened) < 3:
                        assert not ended.is_set()
                        await anyio.sleep(0.05)
                    file.unlink()
                    await ended.wait()


async def _asked(opened: Opened) -> int:
    counted = await health.availabilities(opened.database, [STAGING], until=opened.app.clock())
    return sum(one.asked for one in counted.values())


async def test_a_server_starts_a_worker_for_an_inventory_alone(tmp_path: Path) -> None:
    config, _ = configured(tmp_path, free_port())
    async with open_app(config, wake_worker=lambda: None) as opened, anyio.create_task_group() as group:
        group.start_soon(worker.keep_worker, config)
        with anyio.fail_after(30):
            while not (states := [s.standing.state for s in await health.stored_probes(opened.database)]) or (
                states != [HealthState.unhealthy]
            ):
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
        held = leases.peek(config.database_path)
        assert held is not None
        assert held.claim.pid != os.getpid()
        os.kill(held.claim.pid, signal.SIGTERM)
        with anyio.fail_after(20):
            while psutil.pid_exists(held.claim.pid) and psutil.Process(held.claim.pid).status() != psutil.STATUS_ZOMBIE:
                await anyio.sleep(0.02)
