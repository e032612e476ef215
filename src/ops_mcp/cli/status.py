"""`ops-mcp status`: what runs, what waits, what is stopped, in one screen."""

from datetime import datetime

from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Part, Reply, Table
from ops_mcp.cli.worker import described, told
from ops_mcp.domain.calls import Freeze
from ops_mcp.domain.releases import Deployment
from ops_mcp.governance import approvals
from ops_mcp.store import halts, leases, people
from ops_mcp.store.database import Database
from ops_mcp.store.halts import Halt

_DEPLOYMENTS = (
    "SELECT body FROM deployments"
    " WHERE serving = 1 OR state IN ('queued', 'releasing', 'verifying', 'watching', 'undoing')"
    " ORDER BY service, environment, id LIMIT 200"
)


@command("status")
async def status_command(desk: Desk) -> Reply:
    """Show what runs, what waits for you, and what is stopped."""
    async with desk.database() as database:
        running = await _running(database)
        frozen, halt = await halts.freezes(database), await halts.halt(database)
        agents = await people.agents(database)
        asked = await people.recent_approvals(database, limit=200)
        lease = await leases.present(database)
        records = (await database.fetch("SELECT COALESCE(MAX(id), 0) FROM ledger"))[0][0]
    pending = [s.approval.id for s in asked if approvals.is_pending(s.approval, at=desk.now())]
    killed = [str(a.name) for a in agents if a.killed and not a.revoked]
    stopped = _stopped(frozen, halt, killed)
    parts: list[Part] = [_deployments(running), *stopped]
    if pending:
        parts.append(f"Waiting for your answer: {', '.join(pending)}. See: ops-mcp approvals ID")
    parts += [told(lease, desk), f"{len([a for a in agents if not a.revoked])} agents, {records} ledger records."]
    return Reply(
        {
            "deployments": [d.json_value() for d in running],
            "frozen": [f.json_value() for f in frozen],
            "everyone_killed": halt is not None,
            "killed": list(killed),
            "pending_approvals": list(pending),
            "worker": described(lease, desk),
            "agents": len([a for a in agents if not a.revoked]),
            "records": records,
        },
        tuple(parts),
    )


async def _running(database: Database) -> list[Deployment]:
    rows = await database.fetch(_DEPLOYMENTS)
    return [Deployment.model_validate_json(row[0]) for row in rows]


def _deployments(found: list[Deployment]) -> Table:
    rows = [(d.service, d.environment, d.state, d.health, d.release.content.identity[:12], d.agent, d.id) for d in found]
    return Table(("service", "environment", "state", "health", "release", "by", "deployment"), rows, "Nothing runs.")


def _stopped(frozen: tuple[Freeze, ...], halt: Halt | None, killed: list[str]) -> list[str]:
    lines = [f"Frozen: {f.environment or 'every environment'}, {_since(f.by, f.since)}: {f.reason}" for f in frozen]
    if halt is not None:
        lines.append(f"Everyone is killed, {_since(halt.by, halt.since)}: {halt.reason}")
    return [*lines, f"Killed: {', '.join(killed)}"] if killed else lines


def _since(by: str, since: datetime) -> str:
    return f"by {by} since {since:%Y-%m-%d %H:%M} UTC"
