"""`ops-mcp figures`: how fast troubles are found and ended, and how often without a person."""

from datetime import timedelta

import click

from ops_mcp.alerting.figures import Figures, Share, Times, figures
from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply, Table
from ops_mcp.store.cases import cases
from ops_mcp.values import JsonObject


@command("figures")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Incidents that fired since then.")
@click.option("--environment", help="Of this environment only.")
async def figures_command(desk: Desk, *, days: int, environment: str | None) -> Reply:
    """Show times to detect and to resolve, and the shares that were fixed without a person, from stored facts only."""
    now = desk.now()
    if environment is not None:
        environment = desk.environment(environment)
    async with desk.database() as database:
        found = figures(await cases(database, since=now - timedelta(days=days), at=now, environment=environment))
    rows = [
        ("incidents", str(found.incidents), f"{found.open} open"),
        ("time to detect", *_times(found.time_to_detect)),
        ("time to resolve", *_times(found.time_to_resolve)),
        ("fixed by a remedy", *_share(found.auto_fix, "closed incidents whose rule names a remedy")),
        ("ended without a person", *_share(found.auto_recovery, "closed incidents")),
        ("false positives", *_share(found.false_positives, "closed incidents")),
    ]
    return Reply(_data(found, days), (Table(("figure", f"last {days} days", "of"), rows),))


def _times(times: Times) -> tuple[str, str]:
    if times.mean is None or times.p95 is None:
        return "none known", ""
    return f"{_span(times.mean)} (p95 {_span(times.p95)})", f"{times.known} known"


def _share(share: Share, of: str) -> tuple[str, str]:
    ratio = share.ratio
    return ("none known" if ratio is None else f"{ratio:.0%}"), f"{share.some} of {share.of} {of}"


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _data(found: Figures, days: int) -> JsonObject:
    times: JsonObject = {
        name: {"mean_seconds": one.mean, "p95_seconds": one.p95, "known": one.known}
        for name, one in (("time_to_detect", found.time_to_detect), ("time_to_resolve", found.time_to_resolve))
    }
    shares: JsonObject = {
        name: {"some": one.some, "of": one.of, "ratio": one.ratio}
        for name, one in (
            ("auto_fix", found.auto_fix),
            ("auto_recovery", found.auto_recovery),
            ("false_positives", found.false_positives),
        )
    }
    return {"days": days, "incidents": found.incidents, "open": found.open, **times, **shares}
