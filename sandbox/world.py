"""A house of its own for a demonstration or a test: configuration, state, an operator's terminal and agents over stdio.

Everything lies in one temporary directory; `World.close` ends what was started there.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mcp import Client, MCPError, StdioServerParameters, stdio_client

from ops_mcp.providers.local import processes
from ops_mcp.providers.local.ground import runs_root
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.isolation import Confinement, Mode
from ops_mcp.providers.local.observing import tree_of

OWN_NAMES = ("OPS_MCP_", "DATABASE_URL", "REDIS_URL", "SUPABASE_")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a terminal command came to."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The command's `--json` output."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an agent gets back from a tool: a result, or a problem with its code."""

    data: Mapping[str, Any]
    code: str
    text: str

    @property
    def done(self) -> bool:
        return not self.code


@dataclass(frozen=True, slots=True)
class AgentSession:
    """An agent's open connection to a server process of its own."""

    client: Client

    async def call(self, tool: str, **arguments: object) -> Reply:
        try:
            result = await self.client.call_tool(tool, arguments)
        except MCPError as error:
            return Reply({}, str(error.code), str(error))
        text = "".join(getattr(part, "text", "") for part in result.content)
        if result.is_error:
            problem = _problem(result.meta) or _problem(_json(text)) or {"code": "error"}
            return Reply(problem, str(problem["code"]), text)
        return Reply(result.structured_content or {}, "", text)


class World:
    """One temporary house. `terminal` runs the operator's commands in it, `agent` opens an agent's session.

    What else this machine does is no part of a story: its configuration file, until somebody writes another, turns the load guard
    off. `program` is how `ops-mcp` is run there; this checkout's own unless given.
    """

    def __init__(self, program: Sequence[str] = ()) -> None:
        self.program = list(program) or command()
        self.home = Path(tempfile.mkdtemp(prefix="ops-mcp-demo-"))
        self.config = self.home / "config"
        self.state = self.home / "state"
        self.config.mkdir()
        (self.config / "config.toml").write_text("[guard]\nenabled = false\n", encoding="utf-8")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_NAMES)} | {
            "OPS_MCP_CONFIG": str(self.config),
            "OPS_MCP_STATE": str(self.state),
            "NO_COLOR": "1",
        }

    def terminal(self, *arguments: str, stdin: str = "", timeout: float = 60) -> Ran:
        """Run `ops-mcp ARGUMENTS` as the operator would."""
        ran = subprocess.run(
            [*self.program, *arguments],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def must(self, *arguments: str, stdin: str = "") -> Ran:
        """The same, for steps that only prepare: raises with the command's own words if it fails."""
        ran = self.terminal(*arguments, stdin=stdin)
        if ran.code:
            raise RuntimeError(f"ops-mcp {' '.join(arguments)} ended with {ran.code}: {ran.err or ran.out}")
        return ran

    @asynccontextmanager
    async def agent(self, token: str | None) -> AsyncIterator[AgentSession]:
        """Start `ops-mcp` over stdio as a client would, with this agent's token."""
        environment = self.environment | ({"OPS_MCP_TOKEN": token} if token else {})
        program, *arguments = self.program
        server = StdioServerParameters(command=program, args=arguments, env=environment, cwd=self.home)
        with (self.home / "servers.log").open("a", encoding="utf-8") as log:
            async with Client(stdio_client(server, errlog=log), read_timeout_seconds=60) as client:
                yield AgentSession(client)

    def servers_said(self) -> str:
        """The last lines that the servers wrote to standard error."""
        log = self.home / "servers.log"
        return "\n".join(log.read_text(encoding="utf-8").splitlines()[-40:]) + "\n" if log.exists() else ""

    def close(self) -> None:
        """End the worker and every process of this house, then remove it."""
        self.terminal("worker", "stop", timeout=30)
        mine = [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, self.home)]
        for process in mine:
            _signal(process, signal.SIGTERM)
        _gone, alive = psutil.wait_procs(mine, timeout=5)
        for process in alive:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=5)
        self._end_services()
        shutil.rmtree(self.home, ignore_errors=True)

    def _end_services(self) -> None:
        """What runs as another uid lives outside this house and names it nowhere; its own records lead to it."""
        for state in (self.state, self.home / ".local/state/ops-mcp"):  # or the default place, where a test asks for that
            for record in state.glob("local/*/*/deployments/*/process.json"):
                desk = Desk(record.parent)
                started = desk.started()
                desk.want_nothing()
                if started is not None:
                    processes.send(tree_of(started), signal.SIGKILL)
            shutil.rmtree(runs_root(state, Confinement(mode=Mode.uid)), ignore_errors=True)


def command() -> list[str]:
    """How to run the console script that lies beside this interpreter, without relying on PATH."""
    return [str(Path(sys.executable).with_name("ops-mcp"))]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def curl(port: int, path: str = "/version", *, seconds: float = 5) -> tuple[int, str]:
    """GET from loopback: status and body; status 0 when nobody answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")
        except OSError:
            if time.monotonic() > deadline:
                return 0, ""
            time.sleep(0.1)


def _belongs(process: psutil.Process, home: Path) -> bool:
    """Whether a process runs in, or was started with, this house's directory."""
    try:
        words = [
            *process.cmdline(),
            *(f"{k}={v}" for k, v in process.environ().items() if k.startswith("OPS_MCP_")),
            process.cwd(),
        ]
    except psutil.Error:
        return False
    return any(str(home) in word for word in words)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return


def _problem(value: object) -> dict[str, Any] | None:
    """The error object, wherever in `value` it lies."""
    if not isinstance(value, dict):
        return None
    if "code" in value and "message" in value:
        return value
    return next((found for inner in value.values() if (found := _problem(inner))), None)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
