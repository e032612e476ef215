"""Starts the keeper: to keep a service, or to run one bounded command. Secrets go through its standard input only."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process

from ops_mcp.errors import ProviderError
from ops_mcp.providers.local.home import Desk
from ops_mcp.providers.local.isolation import Command

_KEEPER = Path(__file__).parent / "keeper"
_LOG_BYTES = 2 << 20
_START_SECONDS = 15.0
TIMED_OUT, STARTER_GONE = 124, 125
LOG_FILES = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a bounded command ended, and the last of what it printed; text from strangers."""

    code: int
    output: str


async def keep(command: Command, desk: Desk, *, nonce: str, grace_seconds: float) -> None:
    """Start `command` under a keeper that outlives us. Returns when it is started, or when another keeper has this deployment."""
    order = _order(command, desk=desk, nonce=nonce, grace_seconds=grace_seconds)
    result = None
    with anyio.move_on_after(_START_SECONDS, shield=True):
        result = await anyio.run_process(_keeper("keep"), input=order, env={}, check=False, cwd="/", start_new_session=True)
    if result is None:
        raise ProviderError("The service's keeper did not answer.", hint="See `status`; then try again.", temporary=True)
    if result.stdout not in (b"started", b"superseded"):
        raise ProviderError(
            "The service's keeper could not start.",
            hint="Look at `ops-mcp doctor`.",
            details={"untrusted_output": result.stderr.decode(errors="replace")[-500:]},
        )


async def run(command: Command, *, deadline_seconds: float, most_output: int = 65536) -> Ended:
    """Run `command` to its end and leave nothing of it behind, also when we are cancelled or killed."""
    process = await anyio.open_process(_keeper("run"), env={}, cwd="/", start_new_session=True)
    tail = bytearray()
    try:
        await _tell(process, _order(command, deadline_seconds=deadline_seconds))
        with anyio.move_on_after(deadline_seconds + 5):
            assert process.stdout is not None
            async for part in process.stdout:
                tail += part
                del tail[:-most_output]
            await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await _let_go(process)
    code = TIMED_OUT if process.returncode is None else process.returncode
    return Ended(code=code, output=tail.decode(errors="replace"))


async def _tell(process: Process, order: bytes) -> None:
    assert process.stdin is not None
    try:
        await process.stdin.send(order)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # it is gone already; its exit code says why


async def _let_go(process: Process) -> None:
    """Closing its standard input makes the keeper end everything; a keeper that does not is killed."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(5):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


def _keeper(mode: str) -> list[str]:
    interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    return [interpreter, "-I", "-S", str(_KEEPER), mode]


def _order(
    command: Command, *, desk: Desk | None = None, nonce: str = "", grace_seconds: float = 0.0, deadline_seconds: float = 0.0
) -> bytes:
    """The one line that the keeper reads; see `Order` there."""
    order = {
        **command.model_dump(mode="json"),
        "directory": str(desk.path) if desk else "",
        "deployment": desk.deployment if desk else "",
        "nonce": nonce,
        "grace_seconds": grace_seconds,
        "deadline_seconds": deadline_seconds,
        "log_bytes": _LOG_BYTES,
        "log_files": LOG_FILES,
    }
    return json.dumps(order).encode() + b"\n"


def last_lines(text: str, most: int) -> Sequence[str]:
    """The last lines of `text`, each bounded."""
    return [line[:1000] for line in text.splitlines()[-most:]]
