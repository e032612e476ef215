"""`ops-mcp outbox …`: what people are still to be told, what could not be delivered, and having it tried again."""

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply, Table
from ops_mcp.cli.waking import waker
from ops_mcp.errors import Conflict, NotFound
from ops_mcp.store import outbox
from ops_mcp.store.database import Database
from ops_mcp.store.outbox import Posted, State
from ops_mcp.values import JsonObject

outbox_command = group("outbox", help="Notices to people: what waits, what failed, and another try.")

_TROUBLED = (State.waiting, State.claimed, State.unknown, State.dead)


@command("list", group=outbox_command)
@click.option("--only", "states", type=click.Choice([s.value for s in State]), multiple=True, help="May be repeated.")
@click.option("--all", "everything", is_flag=True, help="Delivered ones too.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
async def outbox_list(desk: Desk, *, states: tuple[str, ...], everything: bool, limit: int) -> Reply:
    """Show notices that are not delivered, the newest first. Delivered ones are kept for 7 days, others for 90."""
    wanted = tuple(map(State, states)) or (tuple(State) if everything else _TROUBLED)
    async with desk.database() as database:
        found = await outbox.listed(database, wanted, limit=limit)
        counted = await outbox.counted(database)
    rows = [(p.notice.id, p.notice.channel, p.state, str(p.attempts), _when(p), p.notice.title[:60], p.trouble) for p in found]
    table = Table(("id", "channel", "state", "attempts", "when", "title", "trouble"), rows, "Nothing waits, and nothing failed.")
    said = ", ".join(f"{number} {state}" for state, number in counted.items()) or "nothing"
    return Reply({"notices": [_described(p) for p in found], "counts": {**counted}}, (table, f"In the outbox: {said}."))


@command("retry", group=outbox_command)
@click.argument("id")
async def outbox_retry(desk: Desk, *, id: str) -> Reply:
    """Have a notice that is dead or unknown tried again under its id. An unknown one may arrive twice."""
    desk.refuse_agents()
    async with desk.database() as database:
        repeated = await database.write(lambda tx: outbox.repeat(tx, id, by="system:terminal", at=desk.now()))
        if not repeated:
            await _refuse(database, id)
    waker(desk.config())()
    return Reply({"repeated": repeated, "id": id}, (f"{id} is tried again. See: ops-mcp outbox list --all",))


async def _refuse(database: Database, id: str) -> None:
    found = await outbox.named(database, id)
    if not found:
        raise NotFound("There is no notice of this id.", hint="See: ops-mcp outbox list --all")
    raise Conflict(f"This notice is {found[0].state}.", hint="Only what is dead or unknown can be tried again.")


def _when(posted: Posted) -> str:
    if posted.settled_at is not None:
        return f"{posted.settled_at:%Y-%m-%d %H:%M:%S}"
    return f"due {posted.due_at:%Y-%m-%d %H:%M:%S}"


def _described(posted: Posted) -> JsonObject:
    notice = posted.notice
    return {
        "id": notice.id,
        "channel": notice.channel,
        "thread": notice.thread,
        "severity": notice.severity,
        "title": notice.title,
        "state": posted.state.value,
        "attempts": posted.attempts,
        "due_at": posted.due_at.isoformat(),
        "settled_at": posted.settled_at.isoformat() if posted.settled_at else None,
        "trouble": posted.trouble,
        "outside": posted.outside,
    }
