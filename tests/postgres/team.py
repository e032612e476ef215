"""Several real `ops-mcp serve` on one PostgreSQL of their own, which may be killed and restarted."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2

from ops_mcp.domain.addresses import Address
from ops_mcp.store.postgres import look
from tests.operations.probes.servers import Cluster, free_port, postgres_cluster
from tests.wire.http_world import META, MODERN

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60.0


@dataclass
class Server:
    """One process; `url` is where it serves MCP."""

    process: "subprocess.Popen[str]"
    url: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass
class Team:
    """The installation: one configuration, one PostgreSQL, a state directory for each server or one for all."""

    folder: Path
    cluster: Cluster
    servers: list[Server] = field(default_factory=list[Server])
    tokens: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def address(self) -> Address:
        return Address.parse(f"postgresql://postgres@127.0.0.1:{self.cluster.port}/postgres?schema=team")

    @property
    def url(self) -> str:
        return f"{self.address.url.get_secret_value()}?schema=team"

    def environ(self, state: str = "first") -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPS_MCP_")}
        return clean | {"OPS_MCP_CONFIG": str(self.folder / "config"), "OPS_MCP_STATE": str(self.folder / state)}

    def ops(self, *arguments: str) -> Any:
        """A command of the terminal that must succeed; what it says."""
        command = [sys.executable, "-m", "ops_mcp", *arguments, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=self.environ(), capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode in {0, 8}, f"{arguments}: {done.stdout[-500:]} {done.stderr[-1500:]}"
        return json.loads(done.stdout)

    def prepare(self, settings: str, *agents: tuple[str, str]) -> None:
        """As an operator does it: `init --database` once, an agent each."""
        config = self.folder / "config"
        config.mkdir()
        (config / "config.toml").write_text(settings, encoding="utf-8")
        self.ops("init", "--no-passphrase", "--database", self.url)
        for name, ceiling in agents:
            self.tokens[name] = self.ops("agent", "add", name, "--tier", ceiling)["token"]

    def serve(self, state: str = "first") -> Server:
        """Start one more. Another state directory needs the ledger's key, and nothing else."""
        keys = self.folder / state / "keys"
        if not keys.exists():
            keys.mkdir(parents=True, mode=0o700)
            shutil.copy(self.folder / "first" / "keys" / "ledger.key", keys)
        command = [sys.executable, "-m", "ops_mcp", "serve", "--port", str(free_port())]
        process = subprocess.Popen(command, cwd=ROOT, env=self.environ(state), stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        line = next((line for line in process.stderr if "Serving MCP at" in line), "")
        assert line, "it did not start"
        server = Server(process, line.split()[-1])
        self.servers.append(server)
        _drain(process, self.folder / f"{len(self.servers)}.log")
        return server

    def restart(self) -> None:
        """What a crash of the database does: every connection ends at once, and the log is replayed."""
        self.cluster.stop()
        self.start()

    def start(self) -> None:
        self.cluster.start(max_connections="60", shared_buffers="16MB")

    async def fetch(self, sql: str, *params: Any) -> list[Any]:
        return await anyio.to_thread.run_sync(lambda: look(self.address, sql, *params))

    async def call(self, http: httpx2.AsyncClient, server: Server, agent: str, tool: str, **arguments: Any) -> "Said":
        """One call, as any client makes it. What did not arrive, or whose answer did not, is `lost`."""
        headers = MODERN | {"mcp-name": tool, "authorization": f"Bearer {self.tokens[agent]}"}
        params = {"name": tool, "arguments": arguments, "_meta": META}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        try:
            reply = await http.post(server.url, json=body, headers=headers)
        except httpx2.HTTPError:
            return Said("lost", {})
        return _said(reply)


@dataclass(frozen=True)
class Said:
    """`code` is `done`, one of our codes, or `lost`."""

    code: str
    result: dict[str, Any]


def _said(reply: httpx2.Response) -> Said:
    if reply.status_code == 503:  # its token could not be looked up
        return Said("unavailable", {})
    if reply.status_code != 200:
        return Said(f"http {reply.status_code}", {})
    text = reply.text
    if reply.headers["content-type"].startswith("text/event-stream"):
        text = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")][-1]
    message = json.loads(text)
    if "error" in message:
        return Said(f"protocol {message['error']}", {})
    result = message["result"]
    problem = result.get("_meta", {}).get("dev.ops-mcp/problem", {})
    return Said(problem["code"] if result.get("isError") else "done", result.get("structuredContent") or {})


def _drain(process: "subprocess.Popen[str]", log: Path) -> None:
    """Keep what it says from now on, so that it never waits for us."""

    def read() -> None:
        assert process.stderr is not None
        with log.open("w") as out, process.stderr as said:
            for line in said:
                out.write(line)
                out.flush()

    threading.Thread(target=read, daemon=True).start()


@contextmanager
def team(folder: Path) -> Generator[Team]:
    with postgres_cluster() as cluster:
        made = Team(folder, cluster)
        made.start()
        try:
            yield made
        finally:
            for server in made.servers:
                server.kill()
