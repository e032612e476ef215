"""Retention: old records leave the database only as whole, exported, signed segments whose removal the chain itself reports."""

import contextlib
import gzip
import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, TypeAlias

from anyio import to_thread

from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Conflict, Unavailable
from ops_mcp.store.chain import GENESIS, Signer, statement_message
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.trail import Run, export, ledger_id
from ops_mcp.store.verify import Broken, BrokenBetween, verify
from ops_mcp.values import JsonObject, canonical


@dataclass(frozen=True, slots=True)
class Retained:
    """Records `first` to `last` are in `segment` and no longer in the database; record `recorded` says so."""

    first: int
    last: int
    segment: Path
    manifest: Path
    recorded: int


@dataclass(frozen=True, slots=True)
class NothingOld:
    """No signed head lies wholly before the cutoff."""

    cutoff: datetime


Retention: TypeAlias = Retained | NothingOld


async def retain(
    database: Database, signer: Signer, directory: Path, *, keep_days: int, now: datetime, by: str, dry_run: bool = False
) -> Retention:
    """Export what is older than `keep_days` into `directory`, verify the export, and only then remove it under a signed stub.

    Whole segments only: it ends at a signed head, and the newest record always stays. Removal, stub and the record
    `ledger.retained` are one transaction. Anchor right after it: the verifier wants an anchor that covers that record. With
    `dry_run` the answer has `recorded` 0 and nothing is written. Raises `Conflict` when the ledger does not verify.
    """
    cutoff = now - timedelta(days=keep_days)
    run = await _old_run(database, cutoff)
    if run is None:
        return NothingOld(cutoff)
    segment = directory / f"ledger-{run.ledger}-{run.first}-{run.last}.jsonl.gz"
    manifest = segment.with_name(segment.name.removesuffix(".jsonl.gz") + ".manifest.json")
    if dry_run:
        return Retained(run.first, run.last, segment, manifest, 0)
    digest = await _export_segment(database, run, segment)
    last_hash = await _proved(run, segment, signer)
    about: JsonObject = {
        "ledger": run.ledger,
        "first_id": run.first,
        "last_id": run.last,
        "first_prev_hash": run.previous,
        "last_hash": last_hash,
        "file": segment.name,
        "file_sha256": digest,
        "by": by,
        "at": now.isoformat(),
    }
    await to_thread.run_sync(_write_whole, manifest, canonical(_signed(about, signer)) + b"\n")
    recorded = await database.write(partial(_remove, run=run, about=about, signer=signer, at=now), vital=True)
    return Retained(run.first, run.last, segment, manifest, recorded)


async def _old_run(database: Database, cutoff: datetime) -> Run | None:
    """From the first record that is present to the last signed head before anything that must stay."""
    stub = await database.fetch("SELECT last_id, body FROM ledger_stubs ORDER BY first_id DESC LIMIT 1")
    first, previous = (int(stub[0][0]) + 1, str(json.loads(stub[0][1])["last_hash"])) if stub else (1, GENESIS)
    stays = await database.fetch("SELECT min(id) FROM ledger WHERE at >= ?", cutoff.strftime("%Y-%m-%dT%H:%M:%S"))
    newest = (await database.fetch("SELECT max(id) FROM ledger"))[0][0] or 0
    below = min(int(stays[0][0] or newest), int(newest))
    last = (await database.fetch("SELECT max(id) FROM ledger_heads WHERE id >= ? AND id < ?", first, below))[0][0]
    return Run(await ledger_id(database), first, previous, int(last)) if last else None


async def _export_segment(database: Database, run: Run, segment: Path) -> str:
    """Write the segment whole, durable under its name; the digest of the file."""
    draft = segment.with_name(f".{segment.name}.part")
    try:
        draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _private(draft) as file:
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                async for line in export(database, run):
                    packed.write(line)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(segment)
        _sync_directory(segment.parent)
        return await to_thread.run_sync(_file_digest, segment)
    except OSError as error:
        raise _unwritable(segment, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


async def _proved(run: Run, segment: Path, signer: Signer) -> str:
    """The hash at the end of the exported segment, once the auditor's program accepts what is really on disk."""
    check = partial(verify, segment, [signer.key.public], ledger=run.ledger, first=run.first)
    finding = await to_thread.run_sync(check)
    if isinstance(finding, Broken | BrokenBetween) or finding.upto != run.last:
        raise Conflict(
            f"The ledger does not verify, so nothing is removed. {finding}", hint="Run `ops-mcp audit verify` with an anchor."
        )
    return await to_thread.run_sync(_last_head, segment)


def _last_head(segment: Path) -> str:
    last = b""
    with gzip.open(segment, "rb") as lines:
        for line in lines:
            last = line
    return str(json.loads(last)["hash"])


def _remove(tx: Transaction, *, run: Run, about: JsonObject, signer: Signer, at: datetime) -> int:
    """Report, stub and delete, in that order: the trigger lets records go only under a stub."""
    present = tx.fetch("SELECT min(l.id), (SELECT hash FROM ledger WHERE id = ?) FROM ledger l", run.last)
    if tuple(present[0]) != (run.first, about["last_hash"]):
        raise Conflict("The ledger changed while it was exported.", hint="Another retention ran; try again.")
    by = str(about["by"])
    number = tx.record(Record(kind="ledger.retained", at=at, caller=f"operator:{by}", owner=by, data=about))
    stub = canonical(_signed({**about, "recorded": number}, signer)).decode()
    tx.execute("INSERT INTO ledger_stubs (first_id, last_id, body) VALUES (?, ?, ?)", run.first, run.last, stub)
    tx.execute("DELETE FROM ledger WHERE id BETWEEN ? AND ?", run.first, run.last)
    tx.execute("DELETE FROM ledger_heads WHERE id BETWEEN ? AND ?", run.first, run.last)
    return number


def _signed(about: JsonObject, signer: Signer) -> JsonObject:
    stated: JsonObject = {**about, "key": signer.key.fingerprint}
    return {**stated, "signature": signer.key.sign(statement_message(canonical(stated)))}


def _write_whole(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.part")
    try:
        with _private(draft) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _file_digest(path: Path) -> str:
    hashed = sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            hashed.update(chunk)
    return hashed.hexdigest()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} cannot be written: {error.strerror}; nothing was removed.", hint="Give a directory with enough space."
    )
