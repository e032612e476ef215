"""An export that is read in parts by several processes comes to the verdicts that one reading from end to end would."""

from pathlib import Path

import pytest

from ops_mcp.store.evidence import LEAST_PART
from ops_mcp.store.verify import Broken, Finding, Intact, verify
from tests.store.ledger_files import FINGERPRINT, LEDGER, PUBLIC, anchor, dumped, hashes_of, head_signature

RECORDS, HEAD_EVERY = 80, 10
LARGE = "x" * (LEAST_PART * 2 // RECORDS * 21 // 20)


def lines_of(bodies: list[bytes]) -> list[bytes]:
    """The documented format, without its header."""
    found: list[bytes] = []
    for number, (body, hash) in enumerate(zip(bodies, hashes_of(bodies), strict=True), 1):
        found.append(b'{"id":%d,"hash":"%b","body":%b}\n' % (number, hash.encode(), body))
        if number % HEAD_EVERY == 0:
            head = {"head": number, "hash": hash, "key": FINGERPRINT, "signature": head_signature(number, hash)}
            found.append(f'{{"head":{number},'.encode() + dumped(head | {"head": 0})[1:].replace(b'"head":0,', b"") + b"\n")
    return found


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    return [dumped({"kind": "call.admitted", "call": f"call_{n}", "data": {"text": LARGE}}) for n in range(1, RECORDS + 1)]


def verdict(lines: list[bytes], bodies: list[bytes], file: Path) -> Finding:
    header = dumped({"first": 1, "format": 1, "ledger": LEDGER, "previous": "0" * 64, "stubs": []}) + b"\n"
    file.write_bytes(header + b"".join(lines))
    assert file.stat().st_size > 2 * LEAST_PART
    anchors = [anchor(70, hashes_of(bodies)[69])]
    found = verify(file, [PUBLIC], anchors, processes=2)
    assert found == verify(file, [PUBLIC], anchors, processes=1)
    return found


def test_a_sound_export_is_intact(tmp_path: Path, bodies: list[bytes]) -> None:
    assert verdict(lines_of(bodies), bodies, tmp_path / "l.jsonl") == Intact(RECORDS, 70, LEDGER)


@pytest.mark.parametrize("record", [1, 40, 79])
def test_a_changed_record_is_named_wherever_the_parts_meet(tmp_path: Path, bodies: list[bytes], record: int) -> None:
    lines = lines_of(bodies)
    at = next(n for n, line in enumerate(lines) if line.startswith(b'{"id":%d,' % record))
    lines[at] = lines[at].replace(b"xx", b"xy", 1)
    found = verdict(lines, bodies, tmp_path / "l.jsonl")
    assert isinstance(found, Broken)
    assert found.record == record


@pytest.mark.parametrize("record", [1, 40, 79])
def test_a_record_that_is_left_out_is_named(tmp_path: Path, bodies: list[bytes], record: int) -> None:
    lines = [line for line in lines_of(bodies) if not line.startswith(b'{"id":%d,' % record)]
    found = verdict(lines, bodies, tmp_path / "l.jsonl")
    assert isinstance(found, Broken)
    assert found.record == record
