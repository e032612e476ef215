"""Command probes inside a running container: as its user, with its rights, and no more."""

from datetime import datetime

import anyio

from ops_mcp.domain.places import CommandProbe
from ops_mcp.domain.releases import ProbeResult
from ops_mcp.providers.docker.answers import Created, Execution, read
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.values import JsonObject


async def execute(engine: EngineApi, ours: Ours, probe: CommandProbe, *, at: datetime) -> ProbeResult:
    """Run it and judge by its exit code; what it prints is read away. One that does not end in time goes on inside: the engine
    has no way to end it."""
    began = anyio.current_time()
    code: int | None = None
    with anyio.move_on_after(probe.timeout_seconds):
        code = await _run(engine, ours, probe)
    took = round((anyio.current_time() - began) * 1000, 1)
    evidence = "did not end in time" if code is None else f"exit code {code}"
    return ProbeResult(healthy=code == 0, at=at, latency_ms=took, evidence=evidence)


async def _run(engine: EngineApi, ours: Ours, probe: CommandProbe) -> int | None:
    body: JsonObject = {"AttachStdout": True, "AttachStderr": True, "Tty": False, "Privileged": False, "Cmd": [*probe.argv]}
    made = await engine.ask("POST", f"/containers/{ours.container.id}/exec", doing="a command inside", body=body)
    identity = read(Created, made.body, doing="a command inside").id
    start: JsonObject = {"Detach": False, "Tty": False}
    async with engine.open("POST", f"/exec/{identity}/start", doing="a command inside", body=start, seconds=None) as output:
        async for _ in output.aiter_raw():  # the stream ends when the command does
            pass
    found = await engine.ask("GET", f"/exec/{identity}/json", doing="a command inside")
    return read(Execution, found.body, doing="a command inside").exit_code
