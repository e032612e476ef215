"""`ops-mcp audit …`: the ledger for people: verify, search, export, anchor, retain."""

import gzip
import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

import click

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import EXIT_FAILED, EXIT_UNANCHORED, EXIT_UNVERIFIED, Reply, Table, cell
from ops_mcp.config import Config
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound
from ops_mcp.operator.verbs import Retain
from ops_mcp.ports import TrailEntry, TrailQuery
from ops_mcp.store import anchors, keys, trail, verify
from ops_mcp.store.chain import Signer
from ops_mcp.store.database import Database
from ops_mcp.store.retention import NothingOld, retain
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
@click.option(
    "--anchor", "anchor_files", multiple=True, type=FILE, help="A file of anchors that somebody else keeps; repeatable."
)
@click.option("--segment", "segments", multiple=True, type=FILE, help="An exported segment of removed records, in order.")
@click.option("--ledger", help="The id that the ledger must have.")
async def audit_verify(
    desk: Desk,
    *,
    file: Path | None,
    public_keys: tuple[str, ...],
    anchor_files: tuple[Path, ...],
    segments: tuple[Path, ...],
    ledger: str | None,
) -> Reply:
    """Check chain, signatures and anchors of the ledger, or of a FILE that was exported or copied.

    Ends with 0 only where an anchor vouches for the newest part; with 5 where something was changed.
    """
    config = desk.config()
    given = public_keys or (own_public_key(config),)
    shown = file or (config.database_path if config.address is None else None)
    try:
        known = [anchor for path in anchor_files for anchor in verify.read_anchors(path.read_text(encoding="utf-8"))]
        async with _evidence(desk, shown) as evidence:
            finding = verify.verify(evidence, given, known, segments=segments, ledger=ledger, progress=_progress(desk))
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


@command("export", group=audit_command, seconds=None)
@click.argument("file", type=FILE)
async def audit_export(desk: Desk, *, file: Path) -> Reply:
    """Write the whole ledger to FILE, one JSON line each, for an auditor; a name ending in .gz is compressed."""
    async with desk.database() as database:
        run = await exported(database, file, _progress(desk) or _unheard)
    key = own_public_key(desk.config())
    data: JsonObject = {"file": str(file), "ledger": run.ledger, "first": run.first, "last": run.last, "public_key": key}
    check = f"ops-mcp audit verify {file} --public-key {key} --anchor FILE"
    say = f"Records {run.first} to {run.last} are in {file}.\nTo check it: {check}"
    return Reply(data, (say,))


async def exported(database: Database, file: Path, tell: Callable[[int], None]) -> trail.Run:
    """Write the whole ledger to a file; what was written."""
    run = await trail.whole_ledger(database)
    try:
        with _writing(file) as out:
            written = 0
            async for line in trail.export(database, run):
                out.write(line)
                written += 1
                tell(written)
    except OSError as error:
        raise NotConfigured(f"{file} cannot be written: {error.strerror}.", hint="Give another file.") from error
    return run


@asynccontextmanager
async def _evidence(desk: Desk, file: Path | None) -> AsyncGenerator[Path]:
    """The file to be checked. The verifier reads files alone: of a PostgreSQL it gets an export, which is gone afterwards."""
    if file is not None:
        yield file
        return
    with TemporaryDirectory(prefix="ops-mcp-") as folder:
        export = Path(folder) / "ledger.jsonl"
        async with desk.database() as database:
            await exported(database, export, _unheard)
        yield export


@command("anchor", group=audit_command)
@click.argument("places", nargs=-1)
async def audit_anchor(desk: Desk, *, places: tuple[str, ...]) -> Reply:
    """Copy the newest signed head to PLACES (files or https URLs that somebody else owns), or to the configured ones.

    Without any place the anchor is printed, to be pasted where nobody here can change it.
    """
    config = desk.config()
    chosen = tuple(p if "://" in p else _absolute(p) for p in places) or config.settings.ledger.anchors
    async with desk.database() as database:
        if not chosen:
            head = await anchors.newest_head(database)
            if head is None:
                raise NotFound("The ledger is empty, so there is nothing to anchor.", hint="Run: ops-mcp init")
            line = anchors.anchor_line(head, desk.now())
            return Reply({"anchor": line, "number": head.number}, (line,))
        return _anchored(await anchors.anchor_now(database, chosen, desk.now()))


@command("retain", group=audit_command, signed=True, seconds=None)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keep-days", type=click.IntRange(min=90), help="Keep records of so many days; the configured number, unless given."
)
@click.option("--reason", default="retention", show_default=True, help="Why; recorded.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and move nothing.")
async def audit_retain(desk: Desk, *, directory: Path, keep_days: int | None, reason: str, dry_run: bool) -> Reply:
    """Move old records into signed segments in DIRECTORY; a stub the verifier accepts stays. The rest is anchored at once."""
    config = desk.config()
    where = _absolute(str(directory))
    days = keep_days or config.settings.ledger.keep_days
    hand = desk.signer()
    key = keys.load_ledger_key(keys.ledger_key_path(config.state_dir))
    async with desk.database() as database:
        if not dry_run:
            await desk.order(database, parsed(Retain, keep_days=days, directory=where, reason=reason), hand)
        signer = Signer(await trail.ledger_id(database), key)
        kept = await retain(database, signer, Path(where), keep_days=days, now=desk.now(), by=hand[0], dry_run=dry_run)
        places = () if dry_run or isinstance(kept, NothingOld) else config.settings.ledger.anchors
        anchored = _anchored(await anchors.anchor_now(database, places, desk.now()))
    if isinstance(kept, NothingOld):
        return Reply(
            {"retained": 0, "cutoff": kept.cutoff.isoformat()}, (f"Nothing is older than {kept.cutoff:%Y-%m-%d %H:%M} UTC.",)
        )
    data: JsonObject = {"first": kept.first, "last": kept.last, "segment": str(kept.segment), "manifest": str(kept.manifest)}
    say = f"Records {kept.first} to {kept.last} {'would move to' if dry_run else 'are now in'} {kept.segment}."
    data |= {"retained": kept.last - kept.first + 1, "written": not dry_run}
    if dry_run or places:
        return Reply(data | anchored.data, (say, *anchored.parts), anchored.exit_code)
    return Reply(data, (f"{say} Anchor now: ops-mcp audit anchor",))


@contextmanager
def _writing(file: Path) -> Generator[BinaryIO]:
    """A file for its owner alone that appears under its name only when it is whole."""
    draft = file.with_name(f".{file.name}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            if file.suffix == ".gz":
                with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield out
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _anchored(results: Sequence[anchors.Result]) -> Reply:
    """What came of anchoring, place by place; a failure for a place that did not take it."""
    failed = [r for r in results if isinstance(r, anchors.NotAnchored)]
    rows = [_place(result) for result in results]
    data: JsonObject = {"places": [{"place": place, "state": state, "detail": detail} for place, state, detail in rows]}
    return Reply(data, (Table(("place", "state", "detail"), rows),) if rows else (), EXIT_FAILED if failed else 0)


def _place(result: anchors.Result) -> tuple[str, str, str]:
    match result:
        case anchors.Anchored():
            return result.place, "ok", f"record {result.number}"
        case anchors.UpToDate():
            return result.place, "ok", f"record {result.number} already"
        case anchors.NotAnchored():
            return result.place, "fail", result.why


def _unheard(_written: int) -> None:
    """Progress that nobody watches."""
