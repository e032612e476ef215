"""`ops-mcp serve`: MCP over HTTP for agents of other users and hosts."""

import click

from ops_mcp import serving, worker
from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply, note


@command("serve", seconds=None)
@click.option("--host", help="The address to bind; others than loopback need [http] tls = true in the configuration.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
async def serve_command(desk: Desk, *, host: str | None, port: int | None) -> Reply:
    """Serve MCP over HTTP until stopped. Agents authenticate with their token; operator verbs are not served."""
    config = desk.config()
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = config.settings.evolve(http=config.settings.http.evolve(**changes))
    config = config.model_copy(update={"settings": settings, "served": True})
    worker.refuse_other_worker(config)
    beside = None if settings.worker == "external" else worker.work_inside
    await serving.serve_http(config, wake_worker=_nothing, started=_say, beside=beside)
    return Reply({"served": True}, ("Stopped.",))


def _say(url: str) -> None:
    note(f"Serving MCP at {url}")


def _nothing() -> None:
    """The worker runs beside the server, or somebody else's does; each looks for work by itself."""
