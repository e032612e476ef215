"""The auditor's program: checks a ledger offline, with nothing but a copy of it, the public key and, where there is one, an anchor.

It imports nothing of ops_mcp, so that this one file runs alone (`python verify.py FILE --public-key K [--anchor A]`) and states
the format independently of the writer it checks. It reads SQLite files and exports (.jsonl, .jsonl.gz), and changes neither.
"""

import argparse
import gzip
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GENESIS = "0" * 64
CHUNK = 2_000
RANGE = 25_000

_RECORD_LINE = re.compile(rb'\{"id":([1-9][0-9]{0,17}),"hash":"([0-9a-f]{64})","body":')


class Intact(NamedTuple):
    """Records `first` to `upto` are unaltered and complete; from `anchored` on, only as far as the ledger's key is still its own."""

    upto: int
    anchored: int
    ledger: str
    first: int = 1
    removed: int = 0

    def __str__(self) -> str:
        rest = f" Records {self.anchored + 1} to {self.upto} rest on the ledger's signature alone." if self.upto > self.anchored else ""
        return f"Intact: ledger {self.ledger}, {_span(self)}; complete and anchored up to record {self.anchored}.{rest}"


class IntactUpTo(NamedTuple):
    """No anchor could be compared: what is there fits together, and nobody can know what followed or was rewritten with the key."""

    upto: int
    ledger: str
    first: int = 1
    removed: int = 0

    def __str__(self) -> str:
        return (
            f"Complete only up to record {self.upto}: ledger {self.ledger}, {_span(self)}, chained and signed. Without an anchor nobody "
            "can tell whether later records were cut off, or whether a thief of the ledger's key rewrote it."
        )


class Broken(NamedTuple):
    """The chain itself breaks at this record. `anchored` is the newest anchored record before it that matches."""

    record: int
    what: str
    anchored: int = 0

    def __str__(self) -> str:
        return f"BROKEN at record {self.record}: {self.what}. Anchored and matching before it: {_upto(self.anchored)}."


class BrokenBetween(NamedTuple):
    """The chain fits together but a head does not: something after `last_good_head`, up to `first_bad_head`, was changed."""

    last_good_head: int
    first_bad_head: int
    what: str
    anchored: int = 0

    def __str__(self) -> str:
        span = f"after record {self.last_good_head}, up to record {self.first_bad_head}"
        return f"BROKEN {span}: {self.what}. Anchored and matching before it: {_upto(self.anchored)}."


Finding: TypeAlias = Intact | IntactUpTo | Broken | BrokenBetween
Trouble: TypeAlias = Broken | BrokenBetween


class Unusable(Exception):
    """What was given allows no verdict: no such file, not a key, not an anchor."""


class Anchor(NamedTuple):
    """A signed head as it was copied to a place that somebody else owns."""

    ledger: str
    number: int
    hash: str
    key: str
    signature: str


class Stub(NamedTuple):
    """A segment that an operator exported and removed; `recorded` is the record that reports it. `text` is what was signed."""

    ledger: str
    first_id: int
    last_id: int
    first_prev_hash: str
    last_hash: str
    recorded: int
    key: str
    signature: str
    text: bytes


class Scan(NamedTuple):
    """What reading one run of records came to. `hashes` are those that were asked for; `signed` is its newest good head."""

    last: int
    last_hash: str
    broken: Broken | None
    signed: int
    bad_head: tuple[int, str] | None
    hashes: Mapping[int, str]
    bodies: Mapping[int, bytes]


class Evidence(NamedTuple):
    """A file as read: its ledger, its stubs, and the scan of the records that are present, which begin at `first`."""

    ledger: str
    first: int
    stubs: tuple[Stub, ...]
    scan: Scan


class Question(NamedTuple):
    """What a scan is to check against: the keys by fingerprint, whose ledger, and which records' hashes and bodies to bring."""

    keys: Mapping[str, str]
    ledger: str
    wanted: frozenset[int]
    every_signature: bool


def verify(
    file: Path,
    public_keys: Sequence[str],
    anchors: Iterable[Anchor] = (),
    *,
    segments: Sequence[Path] = (),
    ledger: str | None = None,
    first: int = 1,
    every_signature: bool = True,
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Finding:
    """The verdict on a ledger. Public keys are hexadecimal, with or without `ops-mcp-ledger:`.

    `segments` are exported files of removed records, in order. `ledger` pins the id that the file must have; `first` says that
    the file is meant to begin at a later record. `every_signature=False` checks the signature of each range's newest head only,
    which vouches for all before it. `progress` is told the number of records checked so far. Raises `Unusable`.
    """
    keys = {fingerprint(k): k for k in (bare_key(key) for key in public_keys)}
    given = sorted(anchors, key=lambda a: a.number)
    try:
        parts = [_read(f, keys, given, every_signature, processes, progress) for f in (*segments, file)]
    except (sqlite3.Error, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise Unusable(f"{error.filename}: {error.strerror}") from error
        return Broken(first, f"the file cannot be read as a ledger ({error})")
    if ledger is not None and parts[-1].ledger != ledger:
        return Broken(first, f"the file says that it is ledger {parts[-1].ledger!r}, not {ledger!r}")
    return judge(parts, keys, given, first=first)


def judge(parts: Sequence[Evidence], keys: Mapping[str, str], anchors: Sequence[Anchor], *, first: int) -> Finding:
    """The verdict on what was read: the earliest trouble, or how far the ledger is intact. Pure."""
    stubs, last = parts[-1].stubs, parts[-1].scan.last
    ledger, start = parts[-1].ledger, parts[0].first
    hashes = {stub.last_id: stub.last_hash for stub in stubs} | {n: h for part in parts for n, h in part.scan.hashes.items()}
    usable = [a for a in anchors if a.ledger == ledger and _signed(keys, a.key, head_message(a.ledger, a.number, a.hash), a.signature)]
    troubles = [*_joints(parts, first), *_stub_troubles(stubs, keys, ledger, start)]
    troubles += [t for part in parts if (t := _scan_trouble(part)) is not None]
    if any(anchors) and not usable:
        troubles.append(Broken(first, f"none of the {len(anchors)} anchors is signed by this key for ledger {ledger!r}"))
    troubles += _anchor_trouble(usable, hashes, last)
    matching = [a.number for a in usable if hashes.get(a.number) == a.hash]
    if not troubles:
        troubles += _unsigned_tail(parts[-1]) + _unproved_removal(parts, stubs, start, matching)
    if troubles:
        return _earliest(troubles, matching)
    removed = max((stub.last_id for stub in stubs if stub.last_id < start), default=0)
    upto = max(last, removed)
    return Intact(upto, max(matching), ledger, start, removed) if matching else IntactUpTo(upto, ledger, start, removed)


def read_anchors(text: str) -> tuple[Anchor, ...]:
    """The anchors in a file's or a message's text, one JSON object a line; other lines are skipped. Raises `Unusable` for none."""
    found = [a for line in text.splitlines() if (a := _anchor(line)) is not None]
    if not found:
        raise Unusable("no anchor was found: each is a line of JSON with ledger, number, hash, key and signature")
    return tuple(found)


def bare_key(text: str) -> str:
    """The hexadecimal public key in a pasted text. Raises `Unusable`."""
    bare = text.strip().removeprefix("ops-mcp-ledger:").lower()
    if not re.fullmatch("[0-9a-f]{64}", bare):
        raise Unusable("the public key must be `ops-mcp-ledger:` and 64 hexadecimal digits")
    return bare


def fingerprint(public_key: str) -> str:
    return sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def head_message(ledger: str, number: int, hash: str) -> bytes:
    return b"ops-mcp ledger head v1\x00" + f"{ledger}\x00{number}\x00{hash}".encode(errors="surrogatepass")


def read_stub(body: str) -> Stub:
    """Parse a stub or a segment's manifest. Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
    fields = cast(dict[str, Any], json.loads(body))
    signature = str(fields.pop("signature"))
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
    names = ("ledger", "first_id", "last_id", "first_prev_hash", "last_hash", "recorded", "key")
    return Stub(*(fields[name] for name in names), signature, text)


def _earliest(troubles: Sequence[Trouble], matching: Sequence[int]) -> Trouble:
    """A break in the chain names its record exactly, so it goes before a head that fails at the same record."""
    trouble = min(troubles, key=lambda t: (t.record, 0) if isinstance(t, Broken) else (t.first_bad_head, 1))
    at = trouble.record if isinstance(trouble, Broken) else trouble.first_bad_head
    return trouble._replace(anchored=max((n for n in matching if n < at), default=0))


def _joints(parts: Sequence[Evidence], first: int) -> list[Trouble]:
    """Segments must follow each other without a gap, and the first present record must be the one asked for."""
    found: list[Trouble] = []
    removed = max((stub.last_id for stub in parts[-1].stubs), default=0)
    if parts[0].first not in {first, removed + 1}:
        found.append(Broken(first, f"records {first} to {parts[0].first - 1} are missing and no stub accounts for them"))
    for one, other in zip(parts, parts[1:], strict=False):
        if one.ledger != other.ledger or one.scan.last + 1 != other.first:
            found.append(Broken(one.scan.last + 1, "the segments do not follow each other"))
    return found


def _scan_trouble(part: Evidence) -> Trouble | None:
    scan = part.scan
    if scan.bad_head is not None and (scan.broken is None or scan.bad_head[0] < scan.broken.record):
        return BrokenBetween(max(scan.signed, part.first - 1), *scan.bad_head)
    return scan.broken


def _stub_troubles(stubs: Sequence[Stub], keys: Mapping[str, str], ledger: str, start: int) -> list[Trouble]:
    """Stubs must be signed for this ledger and follow each other from the first record on."""
    found: list[Trouble] = []
    number, previous = 1, GENESIS
    for stub in stubs:
        signed = stub.ledger == ledger and _signed(keys, stub.key, b"ops-mcp ledger statement v1\x00" + stub.text, stub.signature)
        if not signed or (stub.first_id, stub.first_prev_hash) != (number, previous) or stub.last_id < stub.first_id:
            found.append(BrokenBetween(number - 1, max(stub.last_id, number), "the stub of a removed segment is not signed or does not follow"))
        number, previous = stub.last_id + 1, stub.last_hash
    return found


def _anchor_trouble(usable: Sequence[Anchor], hashes: Mapping[int, str], last: int) -> list[Trouble]:
    """The first anchor that contradicts the file. Only earlier anchors bound it: whoever has the key can re-sign any head."""
    good = 0
    for anchor in usable:
        if anchor.number > last and anchor.number not in hashes:
            return [BrokenBetween(good, anchor.number, f"the file ends at record {last}, but record {anchor.number} was anchored")]
        if anchor.number in hashes and hashes[anchor.number] != anchor.hash:
            return [BrokenBetween(good, anchor.number, f"record {anchor.number} is not the one that was anchored")]
        good = anchor.number if anchor.number in hashes else good
    return []


def _unsigned_tail(part: Evidence) -> list[Trouble]:
    """Every commit signs its head, so the newest record always is one."""
    if part.scan.last < part.first or part.scan.signed == part.scan.last:
        return []
    return [BrokenBetween(max(part.scan.signed, part.first - 1), part.scan.last + 1, f"no signed head covers record {part.scan.last}")]


def _unproved_removal(parts: Sequence[Evidence], stubs: Sequence[Stub], start: int, matching: Sequence[int]) -> list[Trouble]:
    """A removal counts when the chain itself reports it, at or before an anchor where there are anchors.

    Otherwise a thief of the key could pass off a deletion as retention. The exported segments prove it as well.
    """
    gone = [stub for stub in stubs if stub.last_id < start]
    if not gone:
        return []
    newest, bodies = gone[-1], {n: b for part in parts for n, b in part.scan.bodies.items()}
    if not _reports(bodies.get(newest.recorded), newest):
        return [BrokenBetween(0, newest.last_id, f"record {newest.recorded} does not report the removal of the segment")]
    if matching and newest.recorded > max(matching):
        what = f"records up to {newest.last_id} were removed, and no anchor covers record {newest.recorded}, which reports it"
        return [BrokenBetween(0, newest.last_id, f"{what}; verify with the exported segments, or with a newer anchor")]
    return []


def _reports(body: bytes | None, stub: Stub) -> bool:
    if body is None:
        return False
    try:
        record = cast(dict[str, Any], json.loads(body))
        told = cast(dict[str, Any], record["data"])
        same = (told["first_id"], told["last_id"], told["last_hash"]) == (stub.first_id, stub.last_id, stub.last_hash)
    except (ValueError, KeyError, TypeError):
        return False
    return same and record.get("kind") == "ledger.retained"


def _read(
    file: Path,
    keys: Mapping[str, str],
    anchors: Sequence[Anchor],
    every_signature: bool,  # noqa: FBT001  # handed on from a keyword
    processes: int | None,
    progress: Callable[[int], None] | None,
) -> Evidence:
    question = Question(keys, "", frozenset(a.number for a in anchors), every_signature)
    with file.open("rb") as opened:
        is_database = opened.read(16) == b"SQLite format 3\x00"
    return _read_database(file, question, processes, progress) if is_database else _read_export(file, question, progress)


def _read_database(file: Path, question: Question, processes: int | None, progress: Callable[[int], None] | None) -> Evidence:
    with closing(_open(file)) as db:
        db.execute("BEGIN")
        named = db.execute("SELECT value FROM facts WHERE name = 'ledger_id'").fetchone()
        stubs = tuple(read_stub(row[0]) for row in db.execute("SELECT body FROM ledger_stubs ORDER BY first_id"))
        low, high = db.execute("SELECT min(id), max(id) FROM ledger").fetchone()
        top = max(high if isinstance(high, int) else 0, db.execute("SELECT max(id) FROM ledger_heads").fetchone()[0] or 0)
    first, previous = (stubs[-1].last_id + 1, stubs[-1].last_hash) if stubs else (1, GENESIS)
    ledger = str(named[0]) if named else ""
    question = question._replace(ledger=ledger, wanted=question.wanted | {stub.recorded for stub in stubs})
    if low is not None and (not isinstance(high, int) or low < first):
        return Evidence(ledger, first, stubs, _nothing(first, previous, Broken(first, "there are records outside the ledger's numbers")))
    spans = [(n, min(n + RANGE - 1, top)) for n in range(first, top + 1, RANGE)]
    scans = _in_parallel(file, spans, previous, question, processes, progress)
    return Evidence(ledger, first, stubs, _together(scans) if scans else _nothing(first, previous, None))
