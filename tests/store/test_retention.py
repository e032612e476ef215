"""Retention over a real database: nothing leaves before it is exported, signed and proved, and the verifier follows."""

import gzip
import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from ops_mcp.errors import Conflict, Unavailable
from ops_mcp.store import chain
from ops_mcp.store.anchors import newest_head
from ops_mcp.store.database import Transaction
from ops_mcp.store.retention import NothingOld, Retained, retain
from ops_mcp.store.verify import Broken, BrokenBetween, Intact, IntactUpTo, verify
from ops_mcp.values import canonical
from tests.store.ledgers import START, Ledger, opened

pytestmark = pytest.mark.anyio

OLD = START - timedelta(days=100)


async def aged(ledger: Ledger) -> None:
    """Ten old records (heads at 3, 6, 9 and 10) and five of today (heads at 13 and 15)."""
    await ledger.fill(10, start=OLD)
    await ledger.fill(5)


async def retained(ledger: Ledger, directory: Path, **changed) -> Retained:
    result = await retain(ledger.database, ledger.signer, directory, **{"keep_days": 90, "now": START, "by": "alice", **changed})
    assert isinstance(result, Retained)
    return result


async def test_old_records_move_into_a_signed_segment_and_the_ledger_still_verifies(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        before = await newest_head(ledger.database)
        done = await retained(ledger, tmp_path / "segments")
        after = await newest_head(ledger.database)
        assert (done.first, done.last, done.recorded) == (1, 10, 16)
        assert await ledger.database.fetch("SELECT min(id), max(id), count(*) FROM ledger") == [(11, 16, 6)]
        report = json.loads((await ledger.database.fetch("SELECT body FROM ledger WHERE id = 16"))[0][0])
        assert (report["kind"], report["caller"], report["data"]["last_id"]) == ("ledger.retained", "operator:alice", 10)
        public = ledger.signer.key.public
        assert before is not None
        assert after is not None
        assert verify(ledger.file, [public]) == IntactUpTo(16, "led_test", 11, 10)
        assert verify(ledger.file, [public], [after]) == Intact(16, 16, "led_test", 11, 10)
        assert verify(ledger.file, [public], [before], segments=[done.segment]) == Intact(16, 15, "led_test", 1, 0)
        assert verify(done.segment, [public]) == IntactUpTo(10, "led_test")


async def test_the_manifest_is_signed_and_names_the_file_it_belongs_to(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        done = await retained(ledger, tmp_path / "segments")
        manifest = json.loads(done.manifest.read_bytes())
        signature = manifest.pop("signature")
        assert chain.verify_signature(
            ledger.signer.key.public, b"ops-mcp ledger statement v1\x00" + canonical(manifest), signature
        )
        assert manifest["file_sha256"] == sha256(done.segment.read_bytes()).hexdigest()
        assert (manifest["first_id"], manifest["last_id"], manifest["by"]) == (1, 10, "alice")
        assert done.segment.stat().st_mode & 0o077 == 0
        assert sorted(p.name for p in done.segment.parent.iterdir()) == sorted([done.segment.name, done.manifest.name])


async def test_segments_follow_each_other_and_prove_the_whole_history(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        first = await retained(ledger, tmp_path / "segments")
        await ledger.fill(3, start=START + timedelta(days=200))
        second = await retained(ledger, tmp_path / "segments", now=START + timedelta(days=180))
        assert (second.first, second.last) == (11, 16)
        head = await newest_head(ledger.database)
        assert head is not None
        public, both = ledger.signer.key.public, [first.segment, second.segment]
        assert verify(ledger.file, [public], [head]) == Intact(20, 20, "led_test", 17, 16)
        assert verify(ledger.file, [public], [head], segments=both) == Intact(20, 20, "led_test")
        assert verify(ledger.file, [public], [head], segments=[second.segment]) == Intact(20, 20, "led_test", 11, 10)
        for wrong in ([first.segment], both[::-1]):
            assert isinstance(verify(ledger.file, [public], [head], segments=wrong), Broken)


async def test_nothing_young_is_removed_and_the_newest_record_always_stays(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await ledger.fill(5)
        assert isinstance(
            await retain(ledger.database, ledger.signer, tmp_path / "s", keep_days=90, now=START, by="alice"), NothingOld
        )
        assert not (tmp_path / "s").exists()
        done = await retained(ledger, tmp_path / "s", now=START + timedelta(days=1000))
        assert (done.first, done.last) == (1, 3)
        await ledger.fill(1)
        assert verify(ledger.file, [ledger.signer.key.public]) == IntactUpTo(7, "led_test", 4, 3)


async def test_a_rehearsal_names_the_segment_and_writes_nothing(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        rehearsed = await retained(ledger, tmp_path / "s", dry_run=True)
        assert (rehearsed.first, rehearsed.last, rehearsed.recorded) == (1, 10, 0)
        assert not (tmp_path / "s").exists()
        assert await ledger.database.fetch("SELECT count(*) FROM ledger") == [(15,)]


async def test_a_ledger_that_does_not_verify_is_not_retained(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)

        def forge(tx: Transaction) -> None:
            tx.execute("DROP TRIGGER ledger_no_update")
            tx.execute("UPDATE ledger SET body = replace(body, 'deployer', 'somebody') WHERE id = 4")

        await ledger.database.write(forge)
        with pytest.raises(Conflict, match="record 4"):
            await retained(ledger, tmp_path / "s")
        assert await ledger.database.fetch("SELECT count(*) FROM ledger") == [(15,)]


async def test_nothing_is_removed_when_the_segment_cannot_be_written(tmp_path: Path):
    (tmp_path / "s").write_text("a file where the directory should be", encoding="utf-8")
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        with pytest.raises(Unavailable, match="nothing was removed"):
            await retained(ledger, tmp_path / "s")
        assert await ledger.database.fetch("SELECT count(*) FROM ledger") == [(15,)]


async def test_a_retention_that_stopped_before_the_removal_is_repeated_whole(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        rehearsed = await retained(ledger, tmp_path / "s", dry_run=True)
        rehearsed.segment.parent.mkdir()
        rehearsed.segment.write_bytes(b"half a segment")
        done = await retained(ledger, tmp_path / "s")
        assert verify(done.segment, [ledger.signer.key.public]) == IntactUpTo(10, "led_test")


async def test_records_go_only_under_a_stub(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        with pytest.raises(Exception, match="append only"):
            await ledger.database.write(lambda tx: tx.execute("DELETE FROM ledger WHERE id <= 3"))
        await retained(ledger, tmp_path / "s")
        with pytest.raises(Exception, match="append only"):
            await ledger.database.write(lambda tx: tx.execute("DELETE FROM ledger WHERE id = 12"))


async def test_a_deletion_passed_off_as_retention_is_found(tmp_path: Path):
    """By someone who holds the real key: a genuine stub for records that were anchored, with or without a report of it."""
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        anchor = await newest_head(ledger.database)
        assert anchor is not None
        await retained(ledger, tmp_path / "s")
        finding = verify(ledger.file, [ledger.signer.key.public], [anchor])
        assert isinstance(finding, BrokenBetween)
        assert (finding.last_good_head, finding.first_bad_head) == (0, 10)
        assert "no anchor covers record 16" in finding.what


@pytest.mark.parametrize("field", ["last_hash", "first_prev_hash", "ledger", "recorded", "file_sha256", "signature", "key"])
async def test_a_stub_with_anything_changed_is_not_accepted(tmp_path: Path, field: str):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        await retained(ledger, tmp_path / "s")
        stub = json.loads((await ledger.database.fetch("SELECT body FROM ledger_stubs"))[0][0])
        stub[field] = 15 if field == "recorded" else "f" * 64
        await ledger.database.write(lambda tx: tx.execute("UPDATE ledger_stubs SET body = ?", json.dumps(stub)))
        head = await newest_head(ledger.database)
        assert head is not None
        finding = verify(ledger.file, [ledger.signer.key.public], [head])
        assert isinstance(finding, Broken | BrokenBetween), field


async def test_a_stub_signed_anew_for_another_report_is_not_accepted(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        await retained(ledger, tmp_path / "s")
        stub = json.loads((await ledger.database.fetch("SELECT body FROM ledger_stubs"))[0][0])
        stub.pop("signature")
        stub["recorded"] = 15
        stub["signature"] = ledger.signer.key.sign(chain.statement_message(canonical(stub)))
        await ledger.database.write(lambda tx: tx.execute("UPDATE ledger_stubs SET body = ?", json.dumps(stub)))
        head = await newest_head(ledger.database)
        assert head is not None
        finding = verify(ledger.file, [ledger.signer.key.public], [head])
        assert isinstance(finding, BrokenBetween)
        assert "does not report" in finding.what


async def test_a_segment_that_was_changed_no_longer_proves_anything(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await aged(ledger)
        done = await retained(ledger, tmp_path / "s")
        content = gzip.decompress(done.segment.read_bytes()).replace(b"deployer", b"somebody", 1)
        done.segment.write_bytes(gzip.compress(content))
        finding = verify(ledger.file, [ledger.signer.key.public], segments=[done.segment])
        assert isinstance(finding, Broken)
        assert finding.record == 1
        done.segment.write_bytes(gzip.compress(content)[:-20])
        assert isinstance(verify(ledger.file, [ledger.signer.key.public], segments=[done.segment]), Broken)
