"""Anchors: copies of signed heads in places that somebody else owns. Writes them out; comparing them is the verifier's work."""

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from ops_mcp.domain.addresses import Address
from ops_mcp.errors import NotConfigured
from ops_mcp.store.database import Database
from ops_mcp.store.glance import glance
from ops_mcp.store.trail import ledger_id
from ops_mcp.store.verify import Anchor, Unusable, read_anchors
from ops_mcp.values import JsonObject, canonical, text_digest

DEADLINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Anchored:
    """The head reached this place."""

    place: str
    number: int


@dataclass(frozen=True, slots=True)
class UpToDate:
    """Nothing new enough to anchor; `number` is the newest that this place has."""

    place: str
    number: int


@dataclass(frozen=True, slots=True)
class NotAnchored:
    """The place did not take it; it is tried again with the next head that is due."""

    place: str
    why: str


Result: TypeAlias = Anchored | UpToDate | NotAnchored


def due(last_anchored: int, head: int, every: int) -> bool:
    """Whether the newest head is far enough from the last anchored one."""
    return head - last_anchored >= every


async def anchor_now(
    database: Database, places: Sequence[str], at: datetime, *, every: int = 1, seconds: float = DEADLINE_SECONDS
) -> tuple[Result, ...]:
    """Copy the newest signed head to every place that is at least `every` records behind, and remember it. A place that
    does not cover the newest retention yet is behind whatever `every` says: the verifier wants an anchor that covers it.

    A place is a file path, opened for appending only, or a URL that takes a POST: https, or http on loopback. Each has
    `seconds`. A place that fails is reported and holds up no other. Raises `NotConfigured` for a place that cannot be one.
    """
    for place in places:
        _refuse_unsafe(place)
    head, retained = await newest_head(database), await _newest_retention(database)
    results: list[Result] = []
    for place in places:
        last = await last_anchored(database, place)
        if head is None or not (due(last, head.number, every) or last < retained):
            results.append(UpToDate(shown(place), last))
        else:
            results.append(await _anchor_at(database, place, head, at, seconds=seconds))
    return tuple(results)


def waits(place: Path | Address, places: Sequence[str], *, every: int) -> bool:
    """Whether a place is behind by `every` records: then a worker should be alive, which anchors. Opens nothing for writing."""
    if not places or not (heads := glance(place, "SELECT coalesce(max(id), 0) FROM ledger_heads")):
        return False
    last = dict(glance(place, "SELECT anchor, max(id) FROM ledger_anchored GROUP BY anchor"))
    return any(due(last.get(shown(where), 0), heads[0][0], every) for where in places)


async def newest_head(database: Database) -> Anchor | None:
    """The newest signed head, ready to be anchored; None for an empty ledger."""
    rows = await database.fetch("SELECT id, hash, key, signature FROM ledger_heads ORDER BY id DESC LIMIT 1")
    if not rows:
        return None
    number, hash, key, signature = rows[0]
    return Anchor(await ledger_id(database), int(number), str(hash), str(key), str(signature))


async def last_anchored(database: Database, place: str) -> int:
    """The newest record anchored at this place, 0 for none."""
    rows = await database.fetch("SELECT max(id) FROM ledger_anchored WHERE anchor = ?", shown(place))
    return int(rows[0][0] or 0)


def anchor_line(anchor: Anchor, at: datetime) -> str:
    """One line of an anchor file; also what is pasted into a chat."""
    return canonical({**_fields(anchor), "at": at.isoformat()}).decode()


def read_anchor_file(file: Path) -> tuple[Anchor, ...]:
    """The anchors that a file holds. Raises `NotConfigured` for a file without any."""
    try:
        return read_anchors(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Unusable) as error:
        raise NotConfigured(
            f"{file} holds no anchors: {error}.", hint="Give the file that the anchors were appended to."
        ) from error


def shown(place: str) -> str:
    """A place's name for records and messages. A webhook's path is a secret, so only its host and a short digest are kept."""
    if "://" not in place:
        return place
    return f"{urlsplit(place).scheme}://{urlsplit(place).hostname}#{text_digest(place)[7:15]}"


async def _newest_retention(database: Database) -> int:
    """The number of the record that reports the newest removal, 0 for none."""
    rows = await database.fetch("SELECT body FROM ledger_stubs ORDER BY first_id DESC LIMIT 1")
    return int(json.loads(rows[0][0])["recorded"]) if rows else 0


async def _anchor_at(database: Database, place: str, head: Anchor, at: datetime, *, seconds: float) -> Result:
    try:
        with anyio.fail_after(seconds):
            await (_post(place, head, at) if "://" in place else _append(Path(place), head, at))
    except TimeoutError:
        return NotAnchored(shown(place), f"it did not answer within {seconds:g} seconds")
    except OSError as error:
        return NotAnchored(shown(place), error.strerror or "it cannot be reached")
    await database.write(
        lambda tx: tx.execute(
            "INSERT INTO ledger_anchored (anchor, id, at) VALUES (?, ?, ?) ON CONFLICT (anchor, id) DO NOTHING",
            shown(place),
            head.number,
            at.isoformat(),
        ),
        vital=True,
    )
    return Anchored(shown(place), head.number)


async def _append(file: Path, head: Anchor, at: datetime) -> None:
    # A disk that hangs must not hold the deadline up, hence the thread may be abandoned: it can only append one line. As long as
    # it hangs it gets no other thread, of which there are not many.
    if file in _UNDER_WAY:
        raise OSError(0, "the line before is still being written")
    await to_thread.run_sync(_append_line, file, anchor_line(head, at).encode() + b"\n", abandon_on_cancel=True)


def _append_line(file: Path, line: bytes) -> None:
    _UNDER_WAY.add(file)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.write(handle, line) != len(line):
                raise OSError(0, "the line was written in part; the disk may be full")
            os.fsync(handle)
        finally:
            os.close(handle)
    finally:
        _UNDER_WAY.discard(file)


_UNDER_WAY: set[Path] = set()


async def _post(url: str, head: Anchor, at: datetime) -> None:
    """`text` is what Slack's incoming webhooks show; `read_anchors` finds the anchor in it when it is pasted back."""
    import httpx2  # heavy, and most installations anchor into a file

    line = anchor_line(head, at)
    try:  # the caller's deadline covers the whole exchange, which a timeout per read would not
        async with httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=False) as client:
            answer = await client.post(url, json={"text": f"ops-mcp anchor `{line}`", "anchor": _fields(head)})
    except httpx2.HTTPError as error:
        raise ConnectionError(0, f"it cannot be reached ({type(error).__name__})") from error
    if not answer.is_success:
        raise ConnectionError(0, f"it answered {answer.status_code}")


def _fields(anchor: Anchor) -> JsonObject:
    return {
        "hash": anchor.hash,
        "key": anchor.key,
        "ledger": anchor.ledger,
        "number": anchor.number,
        "signature": anchor.signature,
    }


def _refuse_unsafe(place: str) -> None:
    """An anchor that travels in the clear, or to a relative path, is none."""
    if "://" not in place:
        if not Path(place).is_absolute():
            raise NotConfigured(f"The anchor {place!r} is a relative path.", hint="Give an absolute path, or an https URL.")
        return
    parts = urlsplit(place)
    if (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise NotConfigured(
        f"The anchor at {shown(place)} is neither https nor http on loopback.",
        hint="Use an https URL or a file that another user owns.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
