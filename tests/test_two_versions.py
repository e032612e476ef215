"""Two clients of different versions on one state directory: the newer worker takes over, and no watch is left behind."""

import shutil
import site
import subprocess
import sys
import venv
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import ops_mcp
from ops_mcp import worker
from ops_mcp.app import App
from ops_mcp.call import call
from ops_mcp.domain.identity import Client, NoToken
from ops_mcp.domain.outcomes import Done
from ops_mcp.domain.releases import Deployment, DeploymentState
from ops_mcp.store import leases
from tests.test_worker import DEPLOY_AND_HANG, EVERYTHING, Shop, opened, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the local provider does not run on Windows"),
]


async def test_a_watch_begun_by_an_older_version_ends_under_the_newer_one_with_its_own_binding(tmp_path: Path):
    shop = Shop(tmp_path, watch_seconds=8)
    async with opened(shop) as home, watched_by_an_older_client(tmp_path, shop, home.app) as first:
        shop.bind(NEWER_BINDING="yes")
        worker.waker(shop.config)()
        await until(lambda: lease_version(shop) == ops_mcp.__version__)
        with anyio.fail_after(60):
            while (ended := await home.app.deployments.get(first.id)) is None or ended.finished_at is None:
                await anyio.sleep(0.05)
        assert ended.state is DeploymentState.healthy
        assert ended.release.binding.env == {}
        assert await shop.status() == 200


async def test_a_newer_client_supersedes_the_older_ones_watch_and_deploys_the_changed_binding(tmp_path: Path):
    shop = Shop(tmp_path, watch_seconds=30)
    async with opened(shop) as home, watched_by_an_older_client(tmp_path, shop, home.app) as first:
        shop.bind(NEWER_BINDING="yes")
        arguments = {"service": "hello", "environment": "sandbox"}
        outcome = await call(home.app, NoToken(), Client(), "deploy", dict(arguments))
        assert isinstance(outcome, Done), outcome
        now = (await home.app.deployments.page(EVERYTHING)).items[0]
        assert now.release.binding.env == {"NEWER_BINDING": "yes"}
        assert now.serving
        before = await home.app.deployments.get(first.id)
        assert before is not None
        assert before.state is DeploymentState.superseded
        await until(lambda: lease_version(shop) == ops_mcp.__version__)
        assert await shop.status() == 200


@asynccontextmanager
async def watched_by_an_older_client(directory: Path, shop: Shop, app: App) -> AsyncGenerator[Deployment]:
    """A deployment in its watch, made by a client and a worker of version 0.0.9; the client lives as long as the context."""
    older = subprocess.Popen([older_python(directory), "-c", DEPLOY_AND_HANG, str(shop.config_dir), str(shop.state_dir)])
    try:
        await until(lambda: lease_version(shop) == "0.0.9")
        with anyio.fail_after(60):
            while not (page := await app.deployments.page(EVERYTHING)).items or not page.items[0].verified_at:
                await anyio.sleep(0.05)
        yield page.items[0]
    finally:
        older.kill()
        older.wait()


def older_python(directory: Path) -> str:
    """An interpreter whose ops-mcp says that it is version 0.0.9, with everything else as it is here."""
    package = Path(ops_mcp.__file__).parent
    older = directory / "older" / "ops_mcp"
    shutil.copytree(package, older, ignore=shutil.ignore_patterns("__pycache__"))
    text = (older / "__init__.py").read_text(encoding="utf-8").replace(ops_mcp.__version__, "0.0.9")
    (older / "__init__.py").write_text(text, encoding="utf-8")
    home = directory / "older-venv"
    venv.create(home, with_pip=False, symlinks=True)
    libraries = next((home / "lib").glob("python3*/site-packages"))
    paths = [str(older.parent), *site.getsitepackages()]
    (libraries / "older.pth").write_text("\n".join(paths) + "\n", encoding="utf-8")
    return str(home / "bin" / "python")


def lease_version(shop: Shop) -> str | None:
    lease = leases.peek(shop.config.database_path)
    return lease.claim.version if lease is not None and not worker.is_gone(lease.claim) else None
