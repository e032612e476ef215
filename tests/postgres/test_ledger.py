"""The ledger in a PostgreSQL: append only, byte for byte, retained in segments, and verified from an export."""

from pathlib import Path

import pytest

from ops_mcp.domain.outcomes import Record
from ops_mcp.store import trail, verify
from ops_mcp.store.chain import Signer
from ops_mcp.store.database import Transaction
from ops_mcp.store.retention import retain
from tests.store.ledgers import START, Ledger, opened

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def exported(ledger: Ledger, file: Path) -> Path:
    run = await trail.whole_ledger(ledger.database)
    file.write_bytes(b"".join([line async for line in trail.export(ledger.database, run)]))
    return file


@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger SET hash = 'x' WHERE id = 2", "DELETE FROM ledger WHERE id = 2", "TRUNCATE ledger"],
)
async def test_no_record_is_changed_or_removed(tmp_path: Path, statement: str) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        with pytest.raises(Exception, match="append only"):
            await ledger.database.write(lambda tx: tx.execute(statement))
        assert await ledger.database.fetch("SELECT COUNT(*) FROM ledger") == [(3,)]


async def test_a_number_is_taken_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        with pytest.raises(Exception, match="duplicate key"):
            await ledger.database.write(lambda tx: tx.execute("INSERT INTO ledger (id, body, hash) VALUES (2, '{}', 'x')"))


async def test_whatever_a_record_says_is_kept_as_it_was_hashed(tmp_path: Path) -> None:
    said = 'nul \0, quote ", é, \u2028, \U0001f680, backslash \\u0000'

    def unit(tx: Transaction) -> int:
        return tx.record(Record(kind="call.refused", at=START, caller="ada", reason=said, data={said: [said]}))

    async with opened(tmp_path) as ledger:
        await ledger.database.write(unit)
        file = await exported(ledger, tmp_path / "ledger.jsonl")
        finding = verify.verify(file, [ledger.signer.key.public], [])
        assert isinstance(finding, verify.IntactUpTo), finding
        assert await ledger.database.fetch("SELECT kind, caller FROM ledger") == [("call.refused", "ada")]
        assert b'"reason":"nul \\u0000, quote \\", ' in file.read_bytes()


async def test_text_is_ordered_by_its_bytes_as_in_a_file(tmp_path: Path) -> None:
    names = ["b", "B", "a-1", "a.1", "a1", "é", "~", "_", "Z", "aa"]
    async with opened(tmp_path) as ledger:
        for name in names:
            await ledger.database.write(lambda tx, n=name: tx.execute("INSERT INTO alert_marks (name, value) VALUES (?, '')", n))
        rows = await ledger.database.fetch("SELECT name FROM alert_marks ORDER BY name")
        assert [row[0] for row in rows] == ["B", "Z", "_", "a-1", "a.1", "a1", "aa", "b", "~", "é"]
        assert await ledger.database.fetch("SELECT MAX(name) FROM alert_marks WHERE name < ?", "a2") == [("a1",)]


async def test_old_records_move_into_a_segment_and_the_export_with_it_proves_the_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.fill(30)
        signer = Signer(await trail.ledger_id(ledger.database), ledger.signer.key)
        kept = await retain(
            ledger.database, signer, tmp_path / "kept", keep_days=90, now=START.replace(year=START.year + 1), by="olga"
        )
        public = ledger.signer.key.public
        await ledger.fill(3, start=START.replace(year=START.year + 1))
        file = await exported(ledger, tmp_path / "ledger.jsonl")
        assert isinstance(verify.verify(file, [public], []), verify.IntactUpTo)
        assert isinstance(verify.verify(file, [public], [], segments=[kept.segment]), verify.IntactUpTo)
        assert (await ledger.database.fetch("SELECT MIN(id) FROM ledger"))[0][0] == kept.last + 1
        file.write_bytes(file.read_bytes().replace(b"deployer", b"somebody", 1))
        assert isinstance(verify.verify(file, [public], []), verify.Broken)
