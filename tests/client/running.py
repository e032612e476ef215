"""A real installation with its server: started, killed in the middle and started again at the same address; and its database."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.providers.local.fakes import free_port

ROOT = Path(__file__).parents[2]

SETTINGS = """
[guard]
enabled = false
[http]
port = {port}
[supervise]
channel = "told"
min_interval_seconds = {interval}
[channels.told]
kind = "file"
path = "{told}"
rate = {rate}
[rates.read]
per_minute = 1000000
burst = 1000000
[rates.change]
per_minute = 1000000
burst = 1000000
{budgets}
"""
PLENTY = "\n".join(
    f"[budgets.{lane}]\n"
    + "\n".join(
        f"{currency}_per_{span} = 1000000000" for currency in ("calls", "tokens", "usd_micros") for span in ("hour", "day")
    )
    for lane in ("read", "work", "recovery", "anonymous", "everyone")
)


@dataclass
class Installation:
    """Made with the terminal, as an operator makes one; limits that a test does not run into."""

    home: Path
    port: int
    interval: float = 30
    token: str = ""
    server: "subprocess.Popen[bytes] | None" = None
    pause: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def told(self) -> Path:
        return self.home / "told.jsonl"

    @property
    def environ(self) -> dict[str, str]:
        """The operator's."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPS_MCP_")}
        return clean | {
            "OPS_MCP_CONFIG": str(self.home / "config"), "OPS_MCP_STATE": str(self.home / "state"), "NO_COLOR": "1",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def agents_environ(self, over: str) -> dict[str, str]:
        """The agent's, reaching the server over stdio or HTTP. Over HTTP it knows nothing of the operator's directories."""
        mine = {"OPS_MCP_TOKEN": self.token, "OPS_MCP_SPOOL": str(self.home / "spool")}
        if over == "stdio":
            return self.environ | mine
        return {n: v for n, v in self.environ.items() if not n.startswith("OPS_MCP_")} | mine | {"OPS_MCP_URL": self.url}

    def run(
        self, *arguments: str, environ: dict[str, str] | None = None, seconds: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ops_mcp", *arguments],
            cwd=self.home, env=environ or self.environ, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def must(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self) -> None:
        """Start the server, and wait until it serves."""
        command = [sys.executable, "-m", "ops_mcp", "serve", "--port", str(self.port)]
        log = self.home / "server.log"
        with log.open("a", encoding="utf-8") as said:
            before = said.tell()
            self.server = subprocess.Popen(command, cwd=self.home, env=self.environ, stderr=said, stdout=said)
        ends = time.monotonic() + 40
        while "Serving MCP at" not in log.read_text(encoding="utf-8")[before:]:
            assert self.server.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < ends
            self.pause.wait(0.05)

    def kill(self) -> None:
        """As the kernel does it: nothing is finished, nothing is said."""
        if self.server is not None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait(10)
            self.server = None

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        file = self.home / "state" / "ops.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(sql, values).fetchall()

    def tasks(self) -> dict[str, tuple[str, str]]:
        """State and status of each task, by its name."""
        bodies = [json.loads(body) for (body,) in self.rows("SELECT body FROM tasks")]
        return {body["name"]: (body["state"], body["status"]) for body in bodies}

    def checkpoints(self, name: str) -> list[tuple[str, str]]:
        """Status and action of a task's checkpoints, in the order in which they were stored."""
        rows = self.rows(
            "SELECT c.body FROM checkpoints c JOIN tasks t ON t.id = c.task WHERE json_extract(t.body, '$.name') = ?"
            " ORDER BY c.task, c.number",
            name,
        )
        return [(body["status"], body["action"]) for (text,) in rows for body in [json.loads(text)]]


@contextmanager
def installation(home: Path, *, interval: float = 30, rate: float = 6000) -> Generator[Installation]:
    made = Installation(home, free_port(), interval)
    (home / "config").mkdir(parents=True)
    told = {"port": made.port, "told": made.told, "interval": interval, "rate": rate, "budgets": PLENTY}
    (home / "config" / "config.toml").write_text(SETTINGS.format(**told), encoding="utf-8")
    made.must("init", "--operator", "olivia", "--no-passphrase")
    made.token = made.must("agent", "add", "ada", "--tier", "staging")["token"]
    try:
        yield made
    finally:
        made.kill()
        made.run("worker", "stop")
