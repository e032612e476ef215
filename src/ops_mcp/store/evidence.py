"""Reads a ledger for the auditor's program: an SQLite file in parallel ranges, or an export as it streams by. Gives no verdict.

Like `verify.py` it imports nothing of ops_mcp and changes nothing.
"""

import gzip
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GENESIS = "0" * 64
CHUNK = 2_000
RANGE = 25_000
LEAST_PART = 32 * 2**20
"""Bytes of an export that are worth a process of their own."""

Progress: TypeAlias = Callable[[int], None] | None
Columns: TypeAlias = tuple[tuple[int, ...], tuple[str, ...], tuple[bytes, ...]]

_TABLES_SQL = """SELECT count(*) FROM sqlite_schema
    WHERE type = 'table' AND name IN ('facts', 'ledger', 'ledger_heads', 'ledger_stubs')"""
_RECORDS_SQL = "SELECT id, hash, COALESCE(CAST(body AS BLOB), x'') FROM ledger WHERE id BETWEEN ? AND ? ORDER BY id"
_HEADS_SQL = """SELECT h.id, h.hash, h.key, h.signature, l.hash FROM ledger_heads h LEFT JOIN ledger l ON l.id = h.id
    WHERE h.id BETWEEN ? AND ? ORDER BY h.id"""
_RECORD_LINE = re.compile(rb'\{"id":([1-9][0-9]{0,17}),"hash":"([0-9a-f]{64})","body":')


_AROUND = len(b'{"id":,"hash":"","body":') + 64


class Broken(NamedTuple):
    """The chain itself breaks at this record. `anchored` is the newest anchored record before it that matches."""

    record: int
    what: str
    anchored: int = 0

    def __str__(self) -> str:
        return f"BROKEN at record {self.record}: {self.what}. {anchored_up_to(self.anchored)}"


def anchored_up_to(number: int) -> str:
    return f"Records up to {number} match an anchor." if number else "No anchor before it matches."


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
    """A file as read: whose ledger, its stubs, and the scan of the present records, which begin at `first` after `previous`."""

    ledger: str
    first: int
    previous: str
    stubs: tuple[Stub, ...]
    scan: Scan


class Question(NamedTuple):
    """What a scan is to check against: the keys by fingerprint, whose ledger, and which records' hashes and bodies to bring."""

    keys: Mapping[str, str]
    ledger: str
    wanted: frozenset[int]
    every_signature: bool


class Span(NamedTuple):
    """A range of records for one process; `previous` is empty where the stored hash before `low` is to be taken."""

    low: int
    high: int
    previous: str


def read(file: Path, question: Question, processes: int | None, progress: Progress) -> Evidence:
    with file.open("rb") as opened:
        is_database = opened.read(16) == b"SQLite format 3\x00"
    return (
        _read_database(file, question, processes, progress) if is_database else _read_export(file, question, processes, progress)
    )


def _read_database(file: Path, question: Question, processes: int | None, progress: Progress) -> Evidence:
    with closing(_open(file)) as db:
        db.execute("BEGIN")
        if db.execute(_TABLES_SQL).fetchone()[0] != 4:
            raise sqlite3.DatabaseError("it has no ledger tables")
        named = db.execute("SELECT value FROM facts WHERE name = 'ledger_id'").fetchone()
        stubs = tuple(read_stub(row[0]) for row in db.execute("SELECT body FROM ledger_stubs ORDER BY first_id"))
        low, high = db.execute("SELECT min(id), max(id) FROM ledger").fetchone()
    first, previous = (stubs[-1].last_id + 1, stubs[-1].last_hash) if stubs else (1, GENESIS)
    ledger = str(named[0]) if named else ""
    question = question._replace(ledger=ledger, wanted=question.wanted | {stub.recorded for stub in stubs})
    last = high if isinstance(high, int) else first - 1
    spans = [Span(n, min(n + RANGE - 1, last), previous if n == first else "") for n in range(first, last + 1, RANGE)]
    spans = spans or [Span(first, first - 1, previous)]
    scan = _together(list(_in_parallel(file, spans, question, processes, progress)))
    if low is not None and (not isinstance(high, int) or low < first):
        scan = scan._replace(broken=Broken(first, "there are records outside the ledger's numbers"))
    return Evidence(ledger, first, previous, stubs, scan)


def _open(file: Path) -> sqlite3.Connection:
    """A connection that cannot write. Without a write-ahead log beside it the file is taken as a copy that nobody changes."""
    mode = "mode=ro" if file.with_name(file.name + "-wal").exists() else "mode=ro&immutable=1"
    db = sqlite3.connect(f"{file.resolve().as_uri()}?{mode}", uri=True, isolation_level=None)
    db.execute("PRAGMA mmap_size = 1099511627776")  # page by page, reading costs as much as hashing
    return db


def _in_parallel(
    file: Path, spans: Sequence[Span], question: Question, processes: int | None, progress: Progress
) -> Iterator[Scan]:
    """Each range is checked against the stored hash before it, so that ranges need not wait for each other."""
    workers = min(processes or os.cpu_count() or 1, len(spans))
    if workers == 1 or (processes is None and len(spans) < 4):
        scans: Iterable[Scan] = (_scan_range(file, span, question, is_last=span is spans[-1]) for span in spans)
        yield from _counted(scans, progress)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_scan_range, file, span, question, is_last=span is spans[-1]) for span in spans]
        yield from _counted((one.result() for one in waiting), progress)


def _counted(scans: Iterable[Scan], progress: Progress) -> Iterator[Scan]:
    for scan in scans:
        if progress is not None:
            progress(scan.last)
        yield scan


def _scan_range(file: Path, span: Span, question: Question, *, is_last: bool) -> Scan:
    with closing(_open(file)) as db:
        try:
            broken, end = _chain_break(db, span)
            signed, bad_head = _first_bad_head(db, span, question, is_last=is_last)
            wanted = [n for n in question.wanted if span.low <= n <= span.high]
            rows = [db.execute("SELECT id, hash, CAST(body AS BLOB) FROM ledger WHERE id = ?", (n,)).fetchone() for n in wanted]
        except sqlite3.Error as error:
            return Scan(span.high, "", Broken(span.low, f"the file cannot be read from here on ({error})"), 0, None, {}, {})
    found = [row for row in rows if row is not None]
    return Scan(span.high, end, broken, signed, bad_head, {n: h for n, h, _ in found}, {n: b for n, _, b in found})


def _chain_break(db: sqlite3.Connection, span: Span) -> tuple[Broken | None, str]:
    """The first record of the range that does not follow, and the hash at its end."""
    row = (span.previous,) if span.previous else db.execute("SELECT hash FROM ledger WHERE id = ?", (span.low - 1,)).fetchone()
    previous = digest_of(row[0] if row else "")
    for low in range(span.low, span.high + 1, CHUNK):
        expected = range(low, min(low + CHUNK, span.high + 1))
        rows = db.execute(_RECORDS_SQL, (expected[0], expected[-1])).fetchall()
        ids, hashes, bodies = cast(Columns, tuple(zip(*rows, strict=True)) or ((), (), ()))
        digests = _digests(bodies, previous)
        if ids != tuple(expected) or hashes != tuple([digest.hex() for digest in digests]):
            return _first_odd(expected, ids, hashes, digests), ""
        previous = digests[-1]
    return None, previous.hex()


def _digests(bodies: Iterable[bytes], previous: bytes) -> list[bytes]:
    found: list[bytes] = []
    for body in bodies:
        previous = sha256(previous + body).digest()
        found.append(previous)
    return found


def _first_odd(expected: Sequence[int], ids: Sequence[int], hashes: Sequence[str], digests: Sequence[bytes]) -> Broken:
    """The record at which what is stored and what follows from the bodies first differ."""
    for number, id, stored, digest in zip(expected, ids, hashes, digests, strict=False):
        if id != number:
            return Broken(number, "it is missing")
        if stored != digest.hex():
            return Broken(number, "its body and the hash before it do not give its hash")
    return Broken(expected[min(len(ids), len(expected) - 1)], "it is missing or there twice")


def _first_bad_head(
    db: sqlite3.Connection, span: Span, question: Question, *, is_last: bool
) -> tuple[int, tuple[int, str] | None]:
    """The newest good head before the first bad one, and that one."""
    high = 2**62 if is_last else span.high
    rows = db.execute(_HEADS_SQL, (span.low, high)).fetchall()
    newest_vouches = not question.every_signature and rows and all(row[1] == row[4] for row in rows)
    if newest_vouches and _head_trouble(rows[-1], question) is None:
        return rows[-1][0], None
    good = 0
    for row in rows:
        if (what := _head_trouble(row, question)) is not None:
            return good, (row[0], what)
        good = row[0]
    return good, None


def _head_trouble(row: tuple[Any, ...], question: Question) -> str | None:
    number, hash, key, signature, recorded = row
    if recorded is None:
        return f"record {number} was signed and is missing"
    if recorded != hash:
        return f"record {number} is not the one whose hash was signed"
    if not signed(question.keys, key, head_message(question.ledger, number, hash), signature):
        return f"the head at record {number} is not signed by a given key"
    return None


def _together(scans: Sequence[Scan]) -> Scan:
    """One scan out of those of consecutive ranges."""
    until = next((n for n, scan in enumerate(scans) if scan.bad_head is not None), len(scans) - 1)
    return Scan(
        last=scans[-1].last,
        last_hash=scans[-1].last_hash,
        broken=next((scan.broken for scan in scans if scan.broken is not None), None),
        signed=max(scan.signed for scan in scans[: until + 1]),
        bad_head=scans[until].bad_head,
        hashes={n: h for scan in scans for n, h in scan.hashes.items()},
        bodies={n: b for scan in scans for n, b in scan.bodies.items()},
    )


def _read_export(file: Path, question: Question, processes: int | None, progress: Progress) -> Evidence:
    with _lines_of(file) as lines:
        header = cast(dict[str, Any], json.loads(lines.readline() or b"{}"))
        ledger, first, previous = str(header["ledger"]), int(header["first"]), str(header["previous"])
        stubs = tuple(read_stub(json.dumps(stub)) for stub in header["stubs"])
        question = question._replace(ledger=ledger, wanted=question.wanted | {stub.recorded for stub in stubs})
        start = Part(lines.tell(), first - 1, previous)
        size = file.stat().st_size if file.suffix != ".gz" else 0
        workers = min(processes or os.cpu_count() or 1, size // LEAST_PART)
        parts = [start, *_cuts(lines, start.offset, size, workers)]
    if workers < 2:
        return Evidence(ledger, first, previous, stubs, _scan_part(file, start, None, question, progress))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ends = [*(part.offset for part in parts[1:]), None]
        waiting = [pool.submit(_scan_part, file, part, end, question) for part, end in zip(parts, ends, strict=True)]
        scan = _together(list(_counted((one.result() for one in waiting), progress)))
    return Evidence(ledger, first, previous, stubs, scan)


def _lines_of(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


class Part(NamedTuple):
    """Where a part of an export begins, and which record comes before it by what its own line says.

    That line ends the part before, which checks it; so parts need not wait for each other, and nothing is taken on trust.
    """

    offset: int
    number: int
    hash: str


def _cuts(lines: BinaryIO, begin: int, size: int, workers: int) -> Iterator[Part]:
    """The beginnings of further parts, each right after a record's line; several for each worker, so that all end together."""
    offset, parts = begin, workers * 4 if workers > 1 else 1
    for place in range(1, parts):
        lines.seek(max(offset, begin + (size - begin) * place // parts))
        lines.readline()
        shape = next((found for line in lines if (found := _RECORD_LINE.match(line)) is not None), None)
        if shape is None:
            return
        offset = lines.tell()
        yield Part(offset, int(shape[1]), shape[2].decode())


def _scan_part(file: Path, part: Part, end: int | None, question: Question, progress: Progress = None) -> Scan:
    """Check line by line from where the part begins up to the offset `end`."""
    reading, at = _Reading(part.number, digest_of(part.hash), question), part.offset
    with _lines_of(file) as lines:
        lines.seek(at)
        for count, line in enumerate(lines):
            if end is not None and at >= end:
                break
            at += len(line)
            reading.take(line)
            if progress is not None and count % RANGE == 0:
                progress(reading.number)
    return reading.scan()


class _Reading:
    """An export as it streams by: the running digest, and what was found so far."""

    def __init__(self, number: int, digest: bytes, question: Question) -> None:
        self.number, self.digest, self.question = number, digest, question
        self.broken: Broken | None = None
        self.bad_head: tuple[int, str] | None = None
        self.signed, self.hashes, self.bodies = 0, dict[int, str](), dict[int, bytes]()

    def take(self, line: bytes) -> None:
        if self.broken is not None:
            return
        number = self.number + 1
        # A sound record's line is known but for its body; comparing takes half the time of parsing.
        begin = _AROUND + len(str(number))
        digest = sha256(self.digest + line[begin:-2]).digest()
        if line[:begin] == b'{"id":%d,"hash":"%b","body":' % (number, digest.hex().encode()) and line[-2:] == b"}\n":
            self.number, self.digest = number, digest
            if number in self.question.wanted:
                self.hashes[number], self.bodies[number] = digest.hex(), line[begin:-2]
        else:
            self._take_other(line)

    def _take_other(self, line: bytes) -> None:
        if line.startswith(b'{"head":'):
            self._take_head(line)
            return
        shape = _RECORD_LINE.match(line)
        is_next = shape is not None and line.endswith(b"}\n") and int(shape[1]) == self.number + 1
        what = "its body and the hash before it do not give its hash" if is_next else "it is missing, or its line is not a record"
        self.broken = Broken(self.number + 1, what)

    def _take_head(self, line: bytes) -> None:
        head = cast(dict[str, Any], json.loads(line))
        recorded = self.digest.hex() if head["head"] == self.number else None
        what = _head_trouble((head["head"], head["hash"], head["key"], head["signature"], recorded), self.question)
        if what is None and self.bad_head is None:
            self.signed = self.number
        elif self.bad_head is None:
            self.bad_head = (int(head["head"]), str(what))

    def scan(self) -> Scan:
        return Scan(self.number, self.digest.hex(), self.broken, self.signed, self.bad_head, self.hashes, self.bodies)


def read_stub(body: str) -> Stub:
    """Parse a stub or a segment's manifest. Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
    fields = cast(dict[str, Any], json.loads(body))
    signature = str(fields.pop("signature"))
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
    return Stub(
        str(fields["ledger"]), int(fields["first_id"]), int(fields["last_id"]), str(fields["first_prev_hash"]),
        str(fields["last_hash"]), int(fields["recorded"]), str(fields["key"]), signature, text,
    )  # fmt: skip


def fingerprint(public_key: str) -> str:
    return sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def head_message(ledger: str, number: int, hash: str) -> bytes:
    return b"ops-mcp ledger head v1\x00" + f"{ledger}\x00{number}\x00{hash}".encode(errors="surrogatepass")


def signed(keys: Mapping[str, str], key: str, message: bytes, signature: str) -> bool:
    if key not in keys:
        return False
    try:
        _public(keys[key]).verify(bytes.fromhex(signature), message)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@lru_cache(maxsize=16)
def _public(key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))


def digest_of(hash: str) -> bytes:
    """The bytes of a stored hash; what is none becomes bytes that nothing can follow from by accident."""
    return bytes.fromhex(hash) if re.fullmatch("[0-9a-f]{64}", str(hash)) else b"?"
