"""`ops-mcp audit …`: the ledger for people: verify, search, export, anchor, retain."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import EXIT_UNANCHORED, EXIT_UNVERIFIED, Reply, Table, cell
from ops_mcp.config import Config
from ops_mcp.errors import InvalidArguments, NotConfigured
from ops_mcp.ports import TrailEntry, TrailQuery
from ops_mcp.store import keys, verify
from ops_mcp.store.trail import StoredTrail
from ops_mcp.values import JsonObject

audit_command = group("audit", help="The ledger: verify, search, export, anchor, retain.")

FILE = click.Path(path_type=Path, dir_okay=False)
_TELL_EVERY = 100_000


@command("verify", group=audit_command, seconds=None)
@click.argument("file", type=FILE, required=False)
@click.option(
    "--public-key", "public_keys", multiple=True, metavar="KEY", help="Its public key; this ledger's own, unless given."
)
@click.option("--anchor", "anchors", multiple=True, type=FILE, help="A file of anchors that somebody else keeps; repeatable.")
@click.option("--segment", "segments", multiple=True, type=FILE, help="An exported segment of removed records, in order.")
@click.option("--ledger", help="The id that the ledger must have.")
def audit_verify(
    desk: Desk,
    *,
    file: Path | None,
    public_keys: tuple[str, ...],
    anchors: tuple[Path, ...],
    segments: tuple[Path, ...],
    ledger: str | None,
) -> Reply:
    """Check chain, signatures and anchors of the ledger, or of a FILE that was exported or copied.

    Ends with 0 only where an anchor vouches for the newest part; with 5 where something was changed.
    """
    config = desk.config()
    given = public_keys or (own_public_key(config),)
    try:
        known = [anchor for path in anchors for anchor in verify.read_anchors(path.read_text(encoding="utf-8"))]
        finding = verify.verify(
            file or config.database_path, given, known, segments=segments, ledger=ledger, progress=_progress(desk)
        )
    except (verify.Unusable, OSError) as error:
        raise InvalidArguments(f"There is no verdict: {error}.", hint="Give the file, its public key and its anchors.") from error
    data: JsonObject = {"verdict": type(finding).__name__, **finding._asdict()}
    return Reply({**data, "text": str(finding)}, (str(finding),), _code(finding))


@command("search", group=audit_command)
@click.option("--agent", help="Calls of this agent only.")
@click.option("--tool", help="Calls of this tool only.")
@click.option("--environment", "-e", help="In this environment only.")
@click.option("--deployment", help="About this deployment only.")
@click.option("--kind", help="Records of this kind only, for instance call.refused.")
@click.option("--since", type=click.DateTime(), help="Not before this moment (UTC).")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at most, newest first.")
@click.option("--cursor", help="Go on where the last answer ended.")
async def audit_search(desk: Desk, **given: object) -> Reply:
    """Show ledger records, newest first."""
    query = parsed(TrailQuery, **{("caller" if name == "agent" else name): value for name, value in given.items()})
    async with desk.database() as database:
        page = await StoredTrail(database).search(query)
    headings = ("number", "at", "kind", "caller", "tool", "environment", "service", "verdict", "reason")
    table = Table(headings, [_row(entry) for entry in page.items], "No such record.")
    more = f"More: --cursor {page.next_cursor}" if page.next_cursor else ""
    data: JsonObject = {"records": [e.json_value() for e in page.items], "next_cursor": page.next_cursor}
    return Reply(data, (table, more) if more else (table,))


def own_public_key(config: Config) -> str:
    """The public half of this installation's ledger key, as the verifier takes it."""
    path = keys.ledger_key_path(config.state_dir)
    if not path.exists():
        raise NotConfigured("There is no ledger key here.", hint="Give --public-key KEY, or run: ops-mcp init")
    return keys.public_text(keys.LEDGER_PREFIX, keys.load_ledger_key(path).public)


def _code(finding: verify.Finding) -> int:
    match finding:
        case verify.Intact():
            return 0
        case verify.IntactUpTo():
            return EXIT_UNANCHORED
        case verify.Broken() | verify.BrokenBetween():
            return EXIT_UNVERIFIED


def _progress(desk: Desk) -> Callable[[int], None] | None:
    """Counts on standard error, where a person watches; silent below a moment's work."""
    if desk.as_json or not sys.stderr.isatty():
        return None
    said = 0

    def tell(checked: int) -> None:
        nonlocal said
        if checked - said >= _TELL_EVERY:
            said = checked
            print(f"\r{checked:,} records checked", end="", file=sys.stderr, flush=True)

    return tell


def _row(entry: TrailEntry) -> tuple[str, ...]:
    body = entry.body
    at = str(body.get("at", ""))[:19].replace("T", " ")
    fields = ("kind", "caller", "tool", "environment", "service", "verdict", "reason")
    return str(entry.number), at, *(cell(body.get(name)) for name in fields)
