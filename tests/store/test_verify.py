"""The auditor's program against ledgers that an attacker rewrote. What it must say follows from the attack alone."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_mcp.store import verify as program
from ops_mcp.store.verify import Broken, BrokenBetween, Intact, IntactUpTo, Unusable, read_anchors, verify
from tests.store.ledger_files import (
    FINGERPRINT,
    KEY,
    LEDGER,
    PUBLIC,
    STRANGER,
    LedgerFile,
    anchor,
    dumped,
    hashes_of,
    head_signature,
    honest,
    record,
)

PROGRAM = Path(program.__file__)

lengths = st.integers(1, 40)
head_gaps = st.integers(1, 7)
seeds = st.randoms(use_true_random=False)


@contextmanager
def on_disk(ledger: LedgerFile) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield ledger.write(Path(directory) / "ops.db")


def anchored_heads(draw: st.DrawFn, ledger: LedgerFile, attacked: int) -> list[int]:
    """Some heads that were anchored before the attack, at least one of them at or after the attacked record."""
    after = [n for n in ledger.heads if n >= attacked]
    return sorted({draw(st.sampled_from(after)), *draw(st.lists(st.sampled_from(ledger.heads), max_size=4))})


def edited(body: bytes, field: str, salt: int) -> bytes:
    """The body with one field changed, added to, or taken away."""
    fields = json.loads(body)
    match salt % 3:
        case 0:
            fields[field] = f"forged {salt}"
        case 1:
            fields.pop(field)
        case _:
            fields["data"] = {**fields.get("data", {}), "tokens": -1 - salt}
    return dumped(fields)


@st.composite
def attacks(draw: st.DrawFn) -> tuple[str, LedgerFile, list[bytes], int, list[int]]:
    """An attack's name, the honest ledger, the bodies the attacker leaves, the first record it touches, and the anchors."""
    ledger = honest(draw(lengths), head_every=draw(head_gaps))
    size = len(ledger.bodies)
    kind = draw(st.sampled_from(["edit", "delete", "insert", "replace", "swap", "cut the tail", "cut everything"]))
    at = draw(st.integers(1, size))
    bodies = list(ledger.bodies)
    match kind:
        case "edit":
            bodies[at - 1] = edited(
                bodies[at - 1], draw(st.sampled_from(sorted(json.loads(bodies[0])))), draw(st.integers(0, 99))
            )
        case "delete":
            del bodies[at - 1]
        case "insert":
            bodies.insert(at - 1, record(1000 + at))
        case "replace":
            bodies[at - 1] = record(2000 + at)
        case "swap":
            other = draw(st.integers(1, size))
            at, other = min(at, other), max(at, other)
            if at == other:
                bodies[at - 1] = record(3000)
            else:
                bodies[at - 1], bodies[other - 1] = bodies[other - 1], bodies[at - 1]
        case "cut the tail":
            del bodies[at - 1 :]
        case _:
            bodies, at = [], 1
    return kind, ledger, bodies, at, anchored_heads(draw, ledger, at)


def rewritten(ledger: LedgerFile, bodies: list[bytes]) -> LedgerFile:
    """The attacker's file: every hash made anew and every head signed again, with whatever key the ledger file names."""
    heads = sorted({n for n in ledger.heads if n <= len(bodies)} | ({len(bodies)} if bodies else set()))
    return replace(ledger, bodies=bodies, heads=heads, hashes=hashes_of(bodies))


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(attacks())
def test_every_mutation_by_an_attacker_who_rehashes_and_resigns_is_found_and_bounded_by_anchors(
    attack: tuple[str, LedgerFile, list[bytes], int, list[int]],
):
    _, ledger, bodies, attacked, anchored = attack
    anchors = ledger.anchors(anchored)
    with on_disk(rewritten(ledger, bodies)) as file:
        finding = verify(file, [PUBLIC], anchors)
        alone = verify(file, [PUBLIC])
    last_good = max((n for n in anchored if n < attacked), default=0)
    first_bad = min(n for n in anchored if n >= attacked)
    assert isinstance(finding, BrokenBetween), finding
    assert (finding.last_good_head, finding.first_bad_head, finding.anchored) == (last_good, first_bad, last_good)
    # Without an anchor nobody can see it, and the verdict claims no more than how far the file goes.
    assert alone == IntactUpTo(len(bodies), LEDGER)
    assert f"only up to record {len(bodies)}" in str(alone)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(attacks())
def test_an_attacker_without_the_key_is_found_between_two_signed_heads_even_without_an_anchor(
    attack: tuple[str, LedgerFile, list[bytes], int, list[int]],
):
    kind, ledger, bodies, attacked, anchored = attack
    untouched = [n for n in ledger.heads if n < attacked]
    if len(bodies) < attacked:  # only records were cut: what is left can end at a head that the real key signed
        return
    forged = rewritten(ledger, bodies)
    with on_disk(forged) as file, closing(sqlite3.connect(file)) as db:
        forged_heads = [n for n in forged.heads if n >= attacked]
        strange = replace(forged, key=STRANGER)
        for number, *row in strange._signed_heads():
            if number in forged_heads:
                db.execute("UPDATE ledger_heads SET hash = ?, key = ?, signature = ? WHERE id = ?", (*row, number))
        db.commit()
        finding = verify(file, [PUBLIC])
        with_anchor = verify(file, [PUBLIC], ledger.anchors(anchored))
    assert isinstance(finding, BrokenBetween), (kind, finding)
    assert (finding.last_good_head, finding.first_bad_head) == (max(untouched, default=0), min(forged_heads))
    assert isinstance(with_anchor, BrokenBetween)
    assert with_anchor.last_good_head < attacked <= with_anchor.first_bad_head


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(lengths, head_gaps, seeds, st.sampled_from(["edit", "hash", "delete", "swap", "blob"]))
def test_a_chain_that_itself_breaks_names_the_exact_record(length, head_every, random, kind):
    ledger = honest(length, head_every=head_every)
    at = random.randint(1, length)
    with on_disk(ledger) as file:
        with closing(sqlite3.connect(file)) as db:
            for trigger in ("ledger_no_update", "ledger_no_delete", "ledger_no_replace"):
                db.execute(f"DROP TRIGGER {trigger}")
            if kind == "edit":
                db.execute("UPDATE ledger SET body = ? WHERE id = ?", (edited(ledger.bodies[at - 1], "tool", 0).decode(), at))
            elif kind == "hash":
                db.execute("UPDATE ledger SET hash = ? WHERE id = ?", (sha_like(at), at))
            elif kind == "blob":
                db.execute("UPDATE ledger SET body = CAST(body || ' ' AS BLOB) WHERE id = ?", (at,))
            elif kind == "delete" and at < length:
                db.execute("DELETE FROM ledger WHERE id = ?", (at,))
            else:
                other = random.randint(1, length)
                at, other = min(at, other), max(at, other)
                swapped = [(ledger.bodies[other - 1].decode() + " " * (at == other), at), (ledger.bodies[at - 1].decode(), other)]
                db.executemany("UPDATE ledger SET body = ? WHERE id = ?", swapped if at != other else swapped[:1])
            db.commit()
        finding = verify(file, [PUBLIC], ledger.anchors([ledger.heads[-1]]))
    assert isinstance(finding, Broken), finding
    assert finding.record == at


def sha_like(number: int) -> str:
    return f"{number:064x}"


def test_an_untouched_ledger_is_intact_up_to_its_anchor_and_says_what_rests_on_the_key(tmp_path: Path):
    ledger = honest(10)
    file = ledger.write(tmp_path / "ops.db")
    before = file.read_bytes()
    assert verify(file, [PUBLIC], ledger.anchors([3, 6])) == Intact(10, 6, LEDGER)
    assert "7 to 10 rest on" in str(verify(file, [PUBLIC], ledger.anchors([6])))
    assert verify(file, [PUBLIC], ledger.anchors([10])) == Intact(10, 10, LEDGER)
    assert verify(file, [f"ops-mcp-ledger:{PUBLIC}"]) == IntactUpTo(10, LEDGER)
    assert verify(file, [PUBLIC], ledger.anchors([9]), every_signature=False) == Intact(10, 9, LEDGER)
    assert file.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ops.db"]


def test_an_empty_ledger_is_complete_up_to_nothing(tmp_path: Path):
    assert verify(honest(0).write(tmp_path / "ops.db"), [PUBLIC]) == IntactUpTo(0, LEDGER)


def test_a_cut_that_forgot_the_heads_is_found_without_an_anchor(tmp_path: Path):
    ledger = honest(10)
    heads = [(n, ledger.hashes[n - 1]) for n in ledger.heads]
    cut = replace(ledger, bodies=ledger.bodies[:7], hashes=ledger.hashes[:7], head_hashes=heads)
    finding = verify(cut.write(tmp_path / "ops.db"), [PUBLIC])
    assert isinstance(finding, BrokenBetween)
    assert (finding.last_good_head, finding.first_bad_head) == (6, 9)


@pytest.mark.parametrize("attacked", range(1, 11))
def test_a_rehashed_ledger_that_kept_the_genuine_heads_is_found_between_two_of_them(tmp_path: Path, attacked: int):
    ledger = honest(10)
    genuine = [(n, ledger.hashes[n - 1]) for n in ledger.heads]
    bodies = [*ledger.bodies[: attacked - 1], record(99), *ledger.bodies[attacked:]]
    forged = replace(ledger, bodies=bodies, hashes=hashes_of(bodies), head_hashes=genuine)
    finding = verify(forged.write(tmp_path / "ops.db"), [PUBLIC])
    assert isinstance(finding, BrokenBetween)
    last, first = {1: (0, 3), 2: (0, 3), 3: (0, 3), 7: (6, 9), 8: (6, 9), 9: (6, 9), 10: (9, 10)}.get(attacked, (3, 6))
    assert (finding.last_good_head, finding.first_bad_head) == (last, first)


def test_a_record_with_another_number_is_named_even_when_its_head_was_signed_again(tmp_path: Path):
    ledger = honest(5)
    anchors = ledger.anchors([5])
    head_hashes = [(3, ledger.hashes[2]), (6, ledger.hashes[4])]
    renumbered = replace(ledger, ids=[1, 2, 3, 4, 6], head_hashes=head_hashes)
    file = renumbered.write(tmp_path / "ops.db")
    for given_anchors in ([], anchors):
        finding = verify(file, [PUBLIC], given_anchors)
        assert isinstance(finding, Broken)
        assert finding.record == 5


def test_a_tail_without_a_signed_head_is_not_believed(tmp_path: Path):
    ledger = honest(10)
    appended = replace(ledger, heads=[3, 6, 9])
    finding = verify(appended.write(tmp_path / "ops.db"), [PUBLIC])
    assert isinstance(finding, BrokenBetween)
    assert (finding.last_good_head, finding.first_bad_head) == (9, 11)


def test_a_ledger_replaced_by_another_one_is_found(tmp_path: Path):
    ledger = honest(10)
    anchors = ledger.anchors([9])
    for other in ("led_other", None, ""):
        forged = replace(ledger, ledger=other, bodies=[record(n + 50) for n in range(20)], heads=[20], hashes=[])
        finding = verify(forged.write(tmp_path / "ops.db"), [PUBLIC], anchors)
        assert isinstance(finding, Broken | BrokenBetween), other
    finding = verify(replace(ledger, ledger="led_other").write(tmp_path / "ops.db"), [PUBLIC], ledger=LEDGER)
    assert isinstance(finding, Broken)


def test_heads_of_another_key_are_not_believed(tmp_path: Path):
    file = replace(honest(5), key=STRANGER).write(tmp_path / "ops.db")
    assert isinstance(verify(file, [PUBLIC]), BrokenBetween)
    stranger = STRANGER.public_key().public_bytes_raw().hex()
    assert isinstance(verify(honest(5).write(file), [stranger]), BrokenBetween)
    assert verify(file, [stranger, PUBLIC]) == IntactUpTo(5, LEDGER)


def test_an_anchor_that_the_key_did_not_sign_does_not_make_a_ledger_anchored(tmp_path: Path):
    ledger = honest(5)
    file = ledger.write(tmp_path / "ops.db")
    forged = ledger.anchors([5])[0]._replace(signature="00" * 64)
    assert isinstance(verify(file, [PUBLIC], [forged]), Broken)
    assert verify(file, [PUBLIC], [forged, *ledger.anchors([3])]) == Intact(5, 3, LEDGER)


def test_records_outside_the_numbers_and_bodies_with_line_feeds_do_not_slip_through(tmp_path: Path):
    for trick in (
        "INSERT INTO ledger (id, body, hash) VALUES (0, '{}', 'x')",
        "INSERT INTO ledger (id, body, hash) VALUES (-1, '{}', 'x')",
        "UPDATE ledger SET body = body || char(10) WHERE id = 2",
        "UPDATE ledger SET body = char(10) || body WHERE id = 2",
        "UPDATE ledger SET hash = upper(hash) WHERE id = 2",
        "UPDATE ledger SET id = 50 WHERE id = 2",
    ):
        file = honest(5).write(tmp_path / "ops.db")
        with closing(sqlite3.connect(file)) as db:
            db.execute("DROP TRIGGER ledger_no_update")
            db.execute(trick)
            db.commit()
        assert isinstance(verify(file, [PUBLIC]), Broken), trick


def test_a_view_in_the_place_of_the_ledger_is_refused(tmp_path: Path):
    file = honest(5).write(tmp_path / "ops.db")
    with closing(sqlite3.connect(file)) as db:
        db.executescript("ALTER TABLE ledger RENAME TO kept; CREATE VIEW ledger AS SELECT id, body, hash FROM kept;")
    assert isinstance(verify(file, [PUBLIC]), Broken)


def test_a_damaged_file_is_broken_and_a_missing_one_gives_no_verdict(tmp_path: Path):
    file = honest(200).write(tmp_path / "ops.db")
    content = bytearray(file.read_bytes())
    start = content.index(b'"call":"call_100"')
    content[start - 4000 : start + 4000] = bytes(b ^ 0x5A for b in content[start - 4000 : start + 4000])
    file.write_bytes(content)
    assert isinstance(verify(file, [PUBLIC]), Broken | BrokenBetween)
    file.write_bytes(b"")
    assert isinstance(verify(file, [PUBLIC]), Broken)
    with pytest.raises(Unusable):
        verify(tmp_path / "missing.db", [PUBLIC])
    with pytest.raises(Unusable):
        verify(file, ["not a key"])


def test_a_database_in_use_is_read_with_its_write_ahead_log(tmp_path: Path):
    ledger = honest(6)
    file = replace(ledger, bodies=[], heads=[], hashes=[]).write(tmp_path / "ops.db")
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executemany(
            "INSERT INTO ledger (id, body, hash) VALUES (?, ?, ?)",
            [(n, b.decode(), h) for n, (b, h) in enumerate(zip(ledger.bodies, ledger.hashes, strict=True), 1)],
        )
        writer.executemany("INSERT INTO ledger_heads (id, hash, key, signature) VALUES (?, ?, ?, ?)", ledger._signed_heads())
        assert verify(file, [PUBLIC], ledger.anchors([6])) == Intact(6, 6, LEDGER)


def test_ranges_checked_in_parallel_come_to_the_same_verdicts(tmp_path: Path):
    ledger = honest(60_001, head_every=1000)
    file = ledger.write(tmp_path / "ops.db")
    seen: list[int] = []
    anchors = ledger.anchors([30_000, 60_000])
    assert verify(file, [PUBLIC], anchors, processes=2, progress=seen.append) == Intact(60_001, 60_000, LEDGER)
    assert seen == sorted(seen)
    assert seen[-1] == 60_001
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TRIGGER ledger_no_update")
        db.execute("UPDATE ledger SET body = body || ' ' WHERE id IN (50000, 25001, 25000)")
        db.commit()
    assert verify(file, [PUBLIC], anchors, processes=2) == Broken(
        25_000, "its body and the hash before it do not give its hash", 0
    )


def test_the_program_runs_alone_and_its_exit_says_the_verdict(tmp_path: Path):
    ledger = honest(6)
    file = ledger.write(tmp_path / "ops.db")
    alone = tmp_path / "auditor"
    alone.mkdir()
    for name in ("verify.py", "evidence.py"):
        shutil.copy(PROGRAM.with_name(name), alone / name)
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_text("".join(json.dumps(a._asdict()) + "\n" for a in ledger.anchors([3, 6])), encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, str(alone / "verify.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=alone)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    with_anchor = ("--public-key", PUBLIC, "--anchor", str(anchors))
    assert run(str(file), *with_anchor) == (
        0,
        f"Intact: ledger {LEDGER}, records 1 to 6; complete and anchored up to record 6.\n",
    )
    code, said = run(str(file), "--public-key", PUBLIC)
    assert (code, "only up to record 6" in said) == (3, True)
    replace(ledger, bodies=ledger.bodies[:3], hashes=ledger.hashes[:3], heads=[3]).write(file)
    code, said = run(str(file), *with_anchor)
    assert (code, "after record 3, up to record 6" in said) == (1, True)
    assert run(str(tmp_path / "missing"), *with_anchor)[0] == 2
    assert run(str(file), "--public-key", "x")[0] == 2


def test_an_export_that_begins_after_another_hash_than_the_first_is_not_believed(tmp_path: Path):
    bodies = [record(n) for n in range(1, 4)]
    for previous, verdict in (("0" * 64, IntactUpTo), ("f" * 64, Broken)):
        hashes = hashes_of(bodies, previous)
        lines = [dumped({"first": 1, "format": 1, "ledger": LEDGER, "previous": previous, "stubs": []})]
        lines += [
            b'{"id":%d,"hash":"%s","body":%s}' % (n, h.encode(), b)
            for n, (b, h) in enumerate(zip(bodies, hashes, strict=True), 1)
        ]
        signed = (hashes[2], FINGERPRINT, head_signature(3, hashes[2]))
        lines.append('{{"head":3,"hash":"{}","key":"{}","signature":"{}"}}'.format(*signed).encode())
        file = tmp_path / "ledger.jsonl"
        file.write_bytes(b"\n".join(lines) + b"\n")
        assert isinstance(verify(file, [PUBLIC]), verdict)


def test_anchors_are_read_out_of_pasted_text():
    ledger = honest(3)
    one = json.dumps(ledger.anchors([3])[0]._asdict())
    assert read_anchors(f"> ops-mcp anchor `{one}`\nthanks!\n") == (anchor(3, ledger.hashes[2]),)
    with pytest.raises(Unusable):
        read_anchors("nothing here")
    assert KEY.public_key().public_bytes_raw().hex() == PUBLIC
