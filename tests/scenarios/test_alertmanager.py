"""A real Alertmanager reports to a real server: the alert fires and resolves here, and people are told by a signed webhook."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import anyio
import pytest

from ops_mcp.secrets import Secrets
from ops_mcp.values import Secret
from tests.channels.receiving import KEY, Receiver, receiver
from tests.providers.local.fakes import free_port

ALERTMANAGER = shutil.which("prometheus-alertmanager")
ROOT = Path(__file__).parents[2]
TOKEN = "alertmanager-token-1"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(ALERTMANAGER is None, reason="there is no prometheus-alertmanager here"),
]

OURS = """
[alerts]
[alerts.routes.default]
group_wait_seconds = 0
group_interval_seconds = 1
[alerts.sources.alertmanager]
environment = "production"
token = "am"
channels = ["pager", "log"]
[channels.pager]
kind = "webhook"
url = "{url}"
key = "pager-key"
[channels.log]
kind = "file"
path = "{file}"
[guard]
enabled = false
"""
THEIRS = """
route: {{receiver: ops, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: ops
    webhook_configs:
      - url: {url}/alerts/alertmanager
        send_resolved: true
        http_config: {{authorization: {{credentials: {token}}}}}
"""


async def until(holds: Callable[[], object]) -> None:
    with anyio.fail_after(40):
        while not holds():
            await anyio.sleep(0.05)


@contextmanager
def serving(directory: Path, there: Receiver) -> Generator[str]:
    """`ops-mcp serve` with its worker inside; its address."""
    config = directory / "config"
    config.mkdir()
    (config / "config.toml").write_text(OURS.format(url=there.notices, file=directory / "alerts.jsonl"))
    Secrets(config).put("am", Secret(TOKEN))
    Secrets(config).put("pager-key", Secret(KEY))
    environ = {**os.environ, "OPS_MCP_CONFIG": str(config), "OPS_MCP_STATE": str(directory / "state")}
    command = [sys.executable, "-m", "ops_mcp", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "Serving MCP at" in line)
            yield line.split()[-1].removesuffix("/mcp")
        finally:
            process.kill()


@asynccontextmanager
async def alertmanager(directory: Path, ours: str) -> AsyncGenerator[str]:
    """A real one that reports to us; its address."""
    assert ALERTMANAGER is not None
    (directory / "alertmanager.yml").write_text(THEIRS.format(url=ours, token=TOKEN))
    port = free_port()
    command = [ALERTMANAGER, f"--config.file={directory / 'alertmanager.yml'}", f"--storage.path={directory / 'am'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with (directory / "alertmanager.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            await until(lambda: answers(f"{url}/-/ready"))
            yield url
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()
    except URLError:
        return False
    return True


def tell(url: str, **changes: Any) -> None:
    """Give Alertmanager an alert, as Prometheus does."""
    alert = {
        "labels": {"alertname": "HighErrorRate", "service": "shop", "severity": "page"},
        "annotations": {"summary": "orders fail <!channel>"},
        "startsAt": STARTED.isoformat(),
        **changes,
    }
    body = json.dumps([alert]).encode()
    urlopen(Request(f"{url}/api/v2/alerts", data=body, headers={"content-type": "application/json"}), timeout=5).close()


STARTED = datetime.now(UTC)


def states(directory: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(f"file:{directory / 'state' / 'ops.db'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT source, json_extract(body, '$.name'), state FROM alerts").fetchall()


async def test_an_alert_of_a_real_alertmanager_fires_and_resolves_here_and_people_are_told(tmp_path: Path) -> None:
    with receiver() as there, serving(tmp_path, there) as ours:
        async with alertmanager(tmp_path, ours) as theirs:
            await _told_and_ended(tmp_path, there, theirs)


async def _told_and_ended(tmp_path: Path, there: Receiver, theirs: str) -> None:
    tell(theirs)
    await until(lambda: states(tmp_path) == [("alertmanager", "HighErrorRate", "firing")])
    await until(lambda: len(there.told()["received"]) == 1)
    tell(theirs, endsAt=datetime.now(UTC).isoformat())
    await until(lambda: states(tmp_path) == [("alertmanager", "HighErrorRate", "resolved")])
    await until(lambda: len(there.told()["received"]) == 2)
    await until(lambda: len((tmp_path / "alerts.jsonl").read_text().splitlines()) == 2)
    told = there.told()
    assert [notice["body"]["status"] for notice in told["received"]] == ["firing", "resolved"]
    assert [notice["body"]["alerts"][0]["labels"]["service"] for notice in told["received"]] == ["shop", "shop"]
    assert (told["refused"], told["repeats"]) == ([], [])
    assert "orders fail" not in told["received"][0]["text"]
