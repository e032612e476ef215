"""`ops-mcp checkpoint`: a shell script reports on its task, as the agent whose token it carries. Never in the script's way."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import click

from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import EXIT_CODES, Reply, complain, note
from ops_mcp.client import MadeArtifact, Reach, Receipt, Supervisor
from ops_mcp.client.lines import lenient
from ops_mcp.domain.tasks import ArtifactKind, CheckpointStatus, TaskKind
from ops_mcp.errors import Code, InvalidArguments, Problem
from ops_mcp.values import JsonObject

WAIT_SECONDS = 15.0
"""A server that is started for this one checkpoint takes a while."""


@command("checkpoint")
@click.argument("text", required=False)
@click.option("--task", metavar="ID", help="The task, as an earlier call printed it (OPS_MCP_TASK).")
@click.option("--name", help="Open a task of this name.")
@click.option("--environment", help="Where the new task works.")
@click.option("--kind", type=click.Choice([kind.value for kind in TaskKind]), help="What kind of work the new task is.")
@click.option("--repo", default="", help="What the new task works on.")
@click.option("--parent", metavar="ID", help="The task that the new one is part of.")
@click.option("--status", type=click.Choice([s.value for s in CheckpointStatus]), help="What the task is doing now.")
@click.option("--progress", type=click.IntRange(0, 100), help="How much is done, in percent.")
@click.option("--tokens-used", type=click.IntRange(min=0), help="Tokens used so far.")
@click.option("--reason", default="", help="Why it is blocked.")
@click.option("--error", default="", help="What went wrong.")
@click.option("--result", default="", help="What came of it.")
@click.option("--artifact", "artifacts", multiple=True, metavar="KIND=URL", help="Something the task made; may be repeated.")
@click.option("--force", is_flag=True, help="Have it posted at once.")
@click.option("--flush", is_flag=True, help="Send what could not be sent before; no TEXT is needed.")
@click.option("--strict", is_flag=True, help="End with an error when it is not stored now.")
async def checkpoint_command(
    desk: Desk, *, text: str | None, task: str | None, name: str | None, environment: str | None, kind: str | None, repo: str,
    parent: str | None, status: str | None, artifacts: tuple[str, ...], flush: bool, strict: bool, **said: object,
) -> Reply:  # fmt: skip
    """Report on a task and print its id: TEXT says what was done. Ends with 0 also when it is sent only later."""
    reach = Reach.from_environ(desk.around.environ, state_dir=desk.state_dir, config_dir=desk.config_dir)
    task = None if name else task or desk.around.environ.get("OPS_MCP_TASK")
    if text is None and not flush:
        raise InvalidArguments("TEXT is missing.", hint="Say what was done, or give --flush.")
    if text is not None and task is None and (name is None or environment is None):
        raise InvalidArguments("There is no task to report on.", hint="Give --task ID, or --name and --environment to open one.")
    said |= {"status": status or ("checkpoint" if task else "starting"), "artifacts": [_artifact(one) for one in artifacts]}
    receipt = None
    async with Supervisor(reach, patience=WAIT_SECONDS) as supervisor, _said_once(quiet=not flush):
        if text is not None and task is not None:
            receipt = await supervisor.checkpoint(task, lenient(text, said))
        elif text is not None:
            receipt = await supervisor.open(
                name or "", environment=environment or "", first=lenient(text, said), kind=kind, repo=repo, parent=parent
            )
        if flush:
            await supervisor.flush(WAIT_SECONDS)
    return _reply(reach, receipt, supervisor.left(), flush=flush, strict=strict, as_json=desk.as_json)


@asynccontextmanager
async def _said_once(*, quiet: bool) -> AsyncGenerator[None]:
    """What the library would log is said by the reply."""
    log = logging.getLogger("ops_mcp.client")
    before = log.level
    log.setLevel(logging.ERROR if quiet else before)
    try:
        yield
    finally:
        log.setLevel(before)


def _reply(reach: Reach, receipt: Receipt | None, left: int, *, flush: bool, strict: bool, as_json: bool) -> Reply:
    problem = reach.trouble or (receipt.problem if receipt else None)
    if flush and left and problem is None:
        problem = Problem(code=Code.unavailable, message=f"{left} checkpoints wait to be sent.", hint="Run: ops-mcp doctor")
    data: JsonObject = {"left": left}
    if receipt is not None:
        data |= {"task": receipt.task, "stored": receipt.stored, "spooled": receipt.spooled}
        data |= {"cancel_requested": receipt.cancel_requested}
    if problem is not None:
        complain(problem, as_json=as_json)
    parts = (receipt.task,) if receipt is not None else ()
    if receipt is not None and receipt.cancel_requested:
        note(f"Stop: {receipt.cancel_by} asked for the end of this task. {receipt.cancel_reason}".strip())
    if flush:
        parts = parts if left else (*parts, "Nothing waits to be sent.")
    return Reply(data, parts, EXIT_CODES[problem.code] if strict and problem is not None else 0)


def _artifact(given: str) -> MadeArtifact:
    kind, _, url = given.partition("=")
    if kind not in list(ArtifactKind) or not url.startswith("https://"):
        raise InvalidArguments("--artifact: give KIND=https://…", hint=f"Kinds: {', '.join(ArtifactKind)}.")
    return MadeArtifact(kind=ArtifactKind(kind), name=url[:300], url=url)
