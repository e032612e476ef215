"""The detached worker over the local provider: a real process that answers on a port, and nobody connected."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest

from ops_mcp import worker
from ops_mcp.app import App
from ops_mcp.call import call
from ops_mcp.config import Config, load
from ops_mcp.domain.calls import ApprovalId
from ops_mcp.domain.identity import Client, Level, NoToken
from ops_mcp.domain.outcomes import Done, NeedsApproval
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import Deployment, DeploymentId
from ops_mcp.errors import Conflict
from ops_mcp.ports import DeploymentQuery
from ops_mcp.startup import Opened, open_app
from ops_mcp.store import leases
from ops_mcp.store.database import Transaction
from tests.house import house

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="the local provider does not run on Windows"),
]

FINAL = {"healthy", "superseded", "rolled_back", "down", "failed", "cancelled", "unknown"}
EVERYTHING = DeploymentQuery(visible=(EnvironmentName("sandbox"),))
DEPLOY_AND_HANG = """
import sys
from pathlib import Path

import anyio

from ops_mcp import worker
from ops_mcp.call import call
from ops_mcp.config import load
from ops_mcp.domain.identity import Client, NoToken
from ops_mcp.startup import open_app


async def main() -> None:
    config = load({}, config_dir=Path(sys.argv[1]), state_dir=Path(sys.argv[2]))
    async with open_app(config, wake_worker=worker.waker(config)) as opened:
        await call(opened.app, NoToken(), Client(), "deploy", {"service": "hello", "environment": "sandbox"})
        await anyio.sleep_forever()


anyio.run(main)
"""


def free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


class Shop:
    """One installation with the sample service bound to a free port in the sandbox."""

    def __init__(self, directory: Path, *, worker_mode: str = "auto", watch_seconds: float = 1) -> None:
        self.port = free_port()
        self.config_dir, self.state_dir = directory / "config", directory / "state"
        (self.config_dir / "services").mkdir(parents=True)
        # Other tests load this host meanwhile, which must not hold up what these deploy.
        settings = f'worker = "{worker_mode}"\n[guard]\nenabled = false\n'
        (self.config_dir / "config.toml").write_text(settings, encoding="utf-8")
        self.watch_seconds = watch_seconds
        self.bind()

    def bind(self, *, build: str = "[]", **env: str) -> None:
        """Write the binding; the sample misbehaves as its environment says."""
        lines = [
            "[sandbox]",
            'provider = "local"',
            f'options = {{ source = "sample", port = {self.port}, grace_seconds = 2, build = {build} }}',
            f"health = {{ verify_seconds = 6, watch_seconds = {self.watch_seconds}, interval_seconds = 0.3 }}",
            "env = { " + ", ".join(f'{name} = "{value}"' for name, value in env.items()) + " }",
        ]
        (self.config_dir / "services" / "hello.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def config(self) -> Config:
        return load({}, config_dir=self.config_dir, state_dir=self.state_dir)

    async def status(self) -> int:
        """What the port answers: a status, or 0 when nobody does."""
        return await anyio.to_thread.run_sync(_status, f"http://127.0.0.1:{self.port}/health")


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@asynccontextmanager
async def opened(shop: Shop) -> AsyncGenerator[Opened]:
    """A server's app over the installation; afterwards its worker and its service are ended."""
    config = shop.config
    async with open_app(config, wake_worker=worker.waker(config)) as app:
        try:
            yield app
        finally:
            with anyio.move_on_after(20, shield=True):
                await app.database.write(_leave_nothing_to_do)
                await end_everything(shop, app.app)


def _leave_nothing_to_do(tx: Transaction) -> None:
    """A worker that starts only now must not bring back what the test ends."""
    tx.execute("UPDATE deployments SET serving = 0")
    tx.execute("UPDATE operations SET final = 1")
    tx.execute("UPDATE alert_rules SET deleted_by = 'test', deleted_at = '2026-01-01T00:00:00+00:00'")


async def end_everything(shop: Shop, app: App) -> None:
    """The worker, and what it left running, by their own ids."""
    lease = leases.peek(shop.config.database_path)
    if lease is not None and not worker.is_gone(lease.claim) and lease.claim.pid != os.getpid():
        os.kill(lease.claim.pid, signal.SIGKILL)
        await until(lambda: worker.is_gone(lease.claim))
    for deployment in (await app.deployments.page(EVERYTHING)).items:
        await app.world().providers["local"].stop(deployment.placement)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(40):
        while not holds():
            await anyio.sleep(0.05)


async def deployed(app: App, *, until_state: set[str] | None = None, waits: bool = True) -> Deployment:
    """Deploy as an anonymous caller, and wait for the end of the deployment; the call itself only when it `waits`."""
    before = {d.id for d in (await app.deployments.page(EVERYTHING)).items}
    found: list[Deployment] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_deploy, app)
        with anyio.fail_after(40):
            while {d.id for d in (await app.deployments.page(EVERYTHING)).items} == before:
                await anyio.sleep(0.05)
        newest = (await app.deployments.page(EVERYTHING)).items[0]
        found.append(await arrived(app, newest.id, until_state or FINAL))
        if not waits:
            group.cancel_scope.cancel()
    return found[0]


async def _deploy(app: App) -> None:
    outcome = await call(app, NoToken(), Client(), "deploy", {"service": "hello", "environment": "sandbox"})
    assert isinstance(outcome, Done), outcome


async def arrived(app: App, deployment: DeploymentId, states: set[str]) -> Deployment:
    with anyio.fail_after(40):
        while True:
            found = await app.deployments.get(deployment)
            if found is not None and found.state in states:
                return found
            await anyio.sleep(0.05)


def holder(shop: Shop) -> psutil.Process:
    """The process that works now."""
    lease = leases.peek(shop.config.database_path)
    assert lease is not None
    return psutil.Process(lease.claim.pid)


async def test_a_deploy_is_carried_out_by_a_detached_worker_and_answers_on_its_port(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with opened(shop) as server:
        found = await deployed(server.app)
        assert (found.state, await shop.status()) == ("healthy", 200)
        process = holder(shop)
        assert process.pid != os.getpid()
        assert os.getpid() not in [parent.pid for parent in process.parents()]
        assert os.getsid(process.pid) != os.getsid(0)


async def test_the_workers_environment_holds_no_agents_token(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    environ = {**os.environ, "OPS_MCP_TOKEN": "opsmcp_secret", "AWS_SECRET_ACCESS_KEY": "hush"}
    async with opened(shop):
        assert worker.ensure_worker(shop.config, environ=environ)
        await until(lambda: leases.peek(shop.config.database_path) is not None)
        names = set(holder(shop).environ())
        assert names >= {"PATH", "OPS_MCP_CONFIG", "OPS_MCP_STATE"}
        assert not names & {"OPS_MCP_TOKEN", "AWS_SECRET_ACCESS_KEY"}
        assert not worker.ensure_worker(shop.config, environ=environ)


async def test_a_release_that_answers_500_is_rolled_back_to_a_real_process(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with opened(shop) as server:
        first = await deployed(server.app)
        shop.bind(SAMPLE_HEALTH="500")
        second = await deployed(server.app)
        assert (first.state, second.state, await shop.status()) == ("healthy", "rolled_back", 200)
        assert "HTTP 500" in second.detail


@pytest.mark.slow
async def test_a_first_release_that_never_answers_is_stopped_and_the_service_is_down(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.bind(SAMPLE_SILENT="1")
    async with opened(shop) as server:
        found = await deployed(server.app)
        assert (found.state, await shop.status()) == ("down", 0)


@pytest.mark.slow
async def test_a_release_that_dies_during_the_watch_is_rolled_back_with_no_client_connected(tmp_path: Path) -> None:
    shop = Shop(tmp_path, watch_seconds=8)
    async with opened(shop) as server:
        assert (await deployed(server.app, until_state={"watching"})).state == "watching"
        shop.bind(SAMPLE_EXIT_AFTER_SECONDS="3")
        second = await deployed(server.app)
        assert (second.state, await shop.status()) == ("rolled_back", 200)


@pytest.mark.slow
async def test_a_killed_worker_is_replaced_and_the_watch_still_ends(tmp_path: Path) -> None:
    shop = Shop(tmp_path, watch_seconds=4)
    async with opened(shop) as server:
        watching = await deployed(server.app, until_state={"watching"})
        killed = holder(shop)
        killed.kill()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: worker.keep_worker(shop.config, every_seconds=1))
            assert (await arrived(server.app, watching.id, FINAL)).state == "healthy"
            group.cancel_scope.cancel()
        assert holder(shop).pid != killed.pid
        starts = [s for s in await server.app.journal.steps(watching.id) if (s.step, s.event) == ("release", "done")]
        assert len(starts) == 1


@pytest.mark.slow
async def test_a_worker_killed_inside_the_build_leaves_one_release_and_one_end(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with opened(shop) as server:
        await deployed(server.app)
        shop.bind(build='["{python}", "-c", "import time; time.sleep(3)"]', SAMPLE_GREETING="built")
        releasing = await deployed(server.app, until_state={"releasing"}, waits=False)
        killed = holder(shop)
        killed.kill()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: worker.keep_worker(shop.config, every_seconds=1))
            assert (await arrived(server.app, releasing.id, FINAL)).state == "healthy"
            group.cancel_scope.cancel()
        assert await shop.status() == 200
        settled = await server.database.fetch(
            "SELECT COUNT(*) FROM ledger WHERE kind = 'operation.settled' AND deployment = ?", releasing.id
        )
        assert settled == [(1,)]


async def test_a_worker_told_to_leave_does_and_gives_its_lease_back(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with opened(shop) as server:
        await deployed(server.app)
        process = holder(shop)
        process.terminate()
        await until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
        lease = leases.peek(shop.config.database_path)
        assert lease is not None
        assert not lease.is_live(server.app.clock())
        assert await shop.status() == 200


@pytest.mark.slow
async def test_a_client_that_kills_its_servers_whole_process_tree_does_not_end_the_watch(tmp_path: Path) -> None:
    shop = Shop(tmp_path, watch_seconds=3)
    async with opened(shop) as server:
        await server.database.write(lambda _: None)
        doomed = subprocess.Popen(
            [sys.executable, "-c", DEPLOY_AND_HANG, str(shop.config_dir), str(shop.state_dir)], start_new_session=True
        )
        try:
            await until_some(server.app)
            newest = (await server.app.deployments.page(EVERYTHING)).items[0]
            await arrived(server.app, newest.id, {"watching"})
            for process in [*psutil.Process(doomed.pid).children(recursive=True), psutil.Process(doomed.pid)]:
                process.kill()
        finally:
            doomed.kill()
            doomed.wait(10)
        assert (await arrived(server.app, newest.id, FINAL)).state == "healthy"
        assert await shop.status() == 200


async def test_another_installation_on_the_same_database_is_refused_aloud(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with opened(shop) as server:
        await deployed(server.app)
        other = shop.config.model_copy(update={"config_dir": tmp_path / "elsewhere"})
        with pytest.raises(Conflict, match="another config_dir"):
            worker.refuse_other_worker(other)
        worker.refuse_other_worker(shop.config)


async def test_a_worker_that_may_not_work_says_why_in_one_line_and_does_not_crash(tmp_path: Path) -> None:
    shop = Shop(tmp_path, worker_mode="external")
    claim = worker.claim_of(shop.config)
    other = claim.evolve(holder="other", ground=claim.ground.evolve(config_dir="elsewhere"))
    async with open_app(shop.config, wake_worker=lambda: None) as server:
        await server.database.write(lambda tx: leases.take(tx, other, at=server.app.clock(), seconds=600))
        environment = {**os.environ, "OPS_MCP_CONFIG": str(shop.config_dir), "OPS_MCP_STATE": str(shop.state_dir)}
        command = [sys.executable, "-c", "from ops_mcp.worker import main; raise SystemExit(main())"]
        with anyio.fail_after(60):
            ended = await anyio.run_process(command, env=environment, check=False, stderr=subprocess.PIPE)
    assert ended.returncode == 7
    (line,) = ended.stderr.decode().splitlines()
    assert "A worker with another config_dir holds this database." in line


async def test_nothing_is_started_where_the_worker_is_external(tmp_path: Path) -> None:
    shop = Shop(tmp_path, worker_mode="external")
    async with opened(shop):
        worker.waker(shop.config)()
        assert leases.peek(shop.config.database_path) is None


async def test_calls_whose_server_died_are_reported_as_unknown(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with opened(shop) as server:
        gone = f"{socket.gethostname()}/4194000/1.00"
        await server.database.write(
            lambda tx: tx.execute(
                "INSERT INTO reservations (call, caller, scopes, calls, tokens, usd_micros, admitted_at, holder)"
                " VALUES ('call_lost', 'anonymous', '[]', 1, 10, 0, ?, ?)",
                server.app.clock().isoformat(),
                gone,
            )
        )
        await deployed(server.app)
        with anyio.fail_after(20):
            while not await server.database.fetch("SELECT 1 FROM ledger WHERE call = 'call_lost' AND kind = 'call.settled'"):
                await anyio.sleep(0.1)


async def until_some(app: App) -> None:
    with anyio.fail_after(40):
        while not (await app.deployments.page(EVERYTHING)).items:
            await anyio.sleep(0.05)


async def test_a_call_granted_with_run_is_made_once_as_its_agent_by_the_worker(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent(ceiling=Level.prod, score=170)
        asked = await home.call(ada, "deploy", service="web", environment="production", idempotency_key="once")
        assert isinstance(asked, NeedsApproval), asked
        server, called = home.opened, set[ApprovalId]()
        await worker.run_granted(server, called)
        assert await home.count("deployments") == 0
        await home.answer(asked.approval.id, run=True)
        await worker.run_granted(server, called)
        await worker.run_granted(server, set())
        assert await home.count("deployments") == 1
        assert [r["caller"] for r in await home.records("operation.settled")] == ["ada"]
