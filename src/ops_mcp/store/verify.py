"""The auditor's program: the verdict on a ledger, offline, from a copy of it, the public key and, where there is one, an anchor.

It imports nothing of ops_mcp but its reader, `evidence.py`, so that these two files run alone anywhere
(`python verify.py FILE --public-key K [--anchor A]`) and state the format independently of the writer that they check.
"""

import argparse
import json
import re
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

if TYPE_CHECKING or __package__:
    from ops_mcp.store.evidence import (
        GENESIS,
        Broken,
        Evidence,
        Progress,
        Question,
        Stub,
        anchored_up_to,
        fingerprint,
        head_message,
        read,
        signed,
    )
else:  # run as a file: its reader lies beside it
    from evidence import (
        GENESIS,
        Broken,
        Evidence,
        Progress,
        Question,
        Stub,
        anchored_up_to,
        fingerprint,
        head_message,
        read,
        signed,
    )


_STATEMENT = b"ops-mcp ledger statement v1\x00"


class Intact(NamedTuple):
    """Records `first` to `anchored` are unaltered and complete; those up to `upto` if the ledger's key is still its own."""

    upto: int
    anchored: int
    ledger: str
    first: int = 1
    removed: int = 0

    def __str__(self) -> str:
        rest = (
            f" Records {self.anchored + 1} to {self.upto} rest on the ledger's signature alone."
            if self.upto > self.anchored
            else ""
        )
        return f"Intact: ledger {self.ledger}, {_span(self)}; complete and anchored up to record {self.anchored}.{rest}"


class IntactUpTo(NamedTuple):
    """No anchor could be compared: what is there fits together; what followed, or was rewritten with the key, nobody can know."""

    upto: int
    ledger: str
    first: int = 1
    removed: int = 0

    def __str__(self) -> str:
        return (
            f"Complete only up to record {self.upto}: ledger {self.ledger}, {_span(self)}, chained and signed. Without an anchor "
            "nobody can tell whether later records were cut off, or whether a thief of the ledger's key rewrote it."
        )


class BrokenBetween(NamedTuple):
    """The chain fits together but a head does not: something after `last_good_head`, up to `first_bad_head`, was changed."""

    last_good_head: int
    first_bad_head: int
    what: str
    anchored: int = 0

    def __str__(self) -> str:
        span = f"after record {self.last_good_head}, up to record {self.first_bad_head}"
        return f"BROKEN {span}: {self.what}. {anchored_up_to(self.anchored)}"


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
    progress: Progress = None,
) -> Finding:
    """The verdict on a ledger. Public keys are hexadecimal, with or without `ops-mcp-ledger:`.

    `segments` are exported files of removed records, in order. `ledger` pins the id that the file must have; `first` says that
    the file is meant to begin at a later record. `every_signature=False` checks the signature of each range's newest head only,
    which vouches for all before it. `progress` is told the number of records checked so far. Raises `Unusable`.
    """
    keys = {fingerprint(k): k for k in (bare_key(key) for key in public_keys)}
    given = sorted(anchors, key=lambda a: a.number)
    question = Question(keys, "", frozenset(a.number for a in given), every_signature)
    try:
        present = read(file, question, processes, progress)
        question = question._replace(wanted=question.wanted | {stub.recorded for stub in present.stubs})
        parts = [*(read(segment, question, processes, progress) for segment in segments), present]
    except (sqlite3.Error, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) or "unable to open" in str(error):
            raise Unusable(f"the file cannot be opened ({error})") from error
        return Broken(first, f"the file cannot be read as a ledger ({error})")
    if ledger is not None and parts[-1].ledger != ledger:
        return Broken(first, f"the file says that it is ledger {parts[-1].ledger!r}, not {ledger!r}")
    return judge(parts, keys, given, first=first)


def judge(parts: Sequence[Evidence], keys: Mapping[str, str], anchors: Sequence[Anchor], *, first: int) -> Finding:
    """The verdict on what was read: the earliest trouble, or how far the ledger is intact. Pure."""
    stubs, last = parts[-1].stubs, parts[-1].scan.last
    ledger, start = parts[-1].ledger, parts[0].first
    hashes = {stub.last_id: stub.last_hash for stub in stubs} | {n: h for part in parts for n, h in part.scan.hashes.items()}
    usable = [
        a for a in anchors if a.ledger == ledger and signed(keys, a.key, head_message(a.ledger, a.number, a.hash), a.signature)
    ]
    troubles = [*_joints(parts, first), *_stub_troubles(stubs, keys, ledger)]
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
    """The anchors in a file's or a message's text, a JSON object a line; other lines are skipped. Raises `Unusable` for none."""
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


def _earliest(troubles: Sequence[Trouble], matching: Sequence[int]) -> Trouble:
    """A break in the chain names its record exactly, so it goes before a head that fails at the same record."""
    trouble = min(troubles, key=lambda t: (t.record, 0) if isinstance(t, Broken) else (t.first_bad_head, 1))
    at = trouble.record if isinstance(trouble, Broken) else trouble.first_bad_head
    return trouble._replace(anchored=max((n for n in matching if n < at), default=0))


def _joints(parts: Sequence[Evidence], first: int) -> list[Trouble]:
    """The first present record must be the one asked for or follow a stub, and segments must follow each other."""
    found: list[Trouble] = []
    starts = {1: GENESIS} | {stub.last_id + 1: stub.last_hash for stub in parts[-1].stubs}
    begin = parts[0]
    if begin.first not in starts and begin.first != first:
        found.append(Broken(first, f"records {first} to {begin.first - 1} are missing and no stub accounts for them"))
    if begin.previous != starts.get(begin.first, begin.previous):
        found.append(Broken(begin.first, "it does not follow from the records before it"))
    for one, other in pairwise(parts):
        if (one.ledger, one.scan.last + 1, one.scan.last_hash) != (other.ledger, other.first, other.previous):
            found.append(Broken(one.scan.last + 1, "the segments do not follow each other"))
    return found


def _scan_trouble(part: Evidence) -> Trouble | None:
    scan = part.scan
    if scan.bad_head is not None and (scan.broken is None or scan.bad_head[0] < scan.broken.record):
        return BrokenBetween(max(scan.signed, part.first - 1), *scan.bad_head)
    return scan.broken


def _stub_troubles(stubs: Sequence[Stub], keys: Mapping[str, str], ledger: str) -> list[Trouble]:
    """Stubs must be signed for this ledger and follow each other from the first record on."""
    found: list[Trouble] = []
    number, previous = 1, GENESIS
    for stub in stubs:
        genuine = stub.ledger == ledger and signed(keys, stub.key, _STATEMENT + stub.text, stub.signature)
        if not genuine or (stub.first_id, stub.first_prev_hash) != (number, previous) or stub.last_id < stub.first_id:
            what = "the stub of a removed segment is not signed or does not follow"
            found.append(BrokenBetween(number - 1, max(stub.last_id, number), what))
        number, previous = stub.last_id + 1, stub.last_hash
    return found


def _anchor_trouble(usable: Sequence[Anchor], hashes: Mapping[int, str], last: int) -> list[Trouble]:
    """The first anchor that contradicts the file. Only earlier anchors bound it: whoever has the key can re-sign any head."""
    good = 0
    for anchor in usable:
        if anchor.number > last and anchor.number not in hashes:
            return [
                BrokenBetween(good, anchor.number, f"the file ends at record {last}, but record {anchor.number} was anchored")
            ]
        if anchor.number in hashes and hashes[anchor.number] != anchor.hash:
            return [BrokenBetween(good, anchor.number, f"record {anchor.number} is not the one that was anchored")]
        good = anchor.number if anchor.number in hashes else good
    return []


def _unsigned_tail(part: Evidence) -> list[Trouble]:
    """Every commit signs its head, so the newest record always is one."""
    if part.scan.last < part.first or part.scan.signed == part.scan.last:
        return []
    return [
        BrokenBetween(max(part.scan.signed, part.first - 1), part.scan.last + 1, f"no signed head covers record {part.scan.last}")
    ]


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


def _anchor(line: str) -> Anchor | None:
    start, end = line.find("{"), line.rfind("}")
    try:
        fields = cast(dict[str, Any], json.loads(line[start : end + 1]))
        return Anchor(
            str(fields["ledger"]), int(fields["number"]), str(fields["hash"]), str(fields["key"]), str(fields["signature"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def _span(finding: Intact | IntactUpTo) -> str:
    gone = f" (records up to {finding.removed} were exported and removed)" if finding.removed else ""
    return f"records {finding.first} to {finding.upto}{gone}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 intact and anchored, 3 complete only up to a record, 1 broken, 2 no verdict possible."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Check an ops-mcp ledger offline.")
    parser.add_argument("file", type=Path, help="a copy of the database, or an export (.jsonl, .jsonl.gz)")
    parser.add_argument(
        "--public-key", action="append", required=True, help="ops-mcp-ledger:HEX; once per key the ledger has had"
    )
    parser.add_argument("--anchor", action="append", default=[], type=Path, help="a file of anchors that somebody else keeps")
    parser.add_argument(
        "--segment", action="append", default=[], type=Path, help="an exported segment of removed records, in order"
    )
    parser.add_argument("--ledger", help="the id that the ledger must have")
    parser.add_argument("--first", type=int, default=1, help="the record at which the file is meant to begin")
    given = parser.parse_args(arguments)
    try:
        anchors = [a for file in given.anchor for a in read_anchors(file.read_text(encoding="utf-8"))]
        finding = verify(given.file, given.public_key, anchors, segments=given.segment, ledger=given.ledger, first=given.first)
    except (Unusable, OSError) as error:
        sys.stderr.write(f"No verdict: {error}\n")
        return 2
    sys.stdout.write(f"{finding}\n")
    return exit_code(finding)


def exit_code(finding: Finding) -> int:
    match finding:
        case Intact():
            return 0
        case IntactUpTo():
            return 3
        case Broken() | BrokenBetween():
            return 1


if __name__ == "__main__":
    sys.exit(main())
