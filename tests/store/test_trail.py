"""The trail over a real database: what a search returns, what a cursor is good for, and exports that the verifier reads."""

import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_mcp.domain.outcomes import Record
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments
from ops_mcp.ports import TrailQuery
from ops_mcp.store import keys, trail
from ops_mcp.store.chain import Signer
from ops_mcp.store.database import Database
from ops_mcp.store.verify import Broken, Intact, IntactUpTo, read_anchors, verify
from tests import databases
from tests.store.ledger_files import anchor

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 20, 17, tzinfo=UTC)


@asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[tuple[Database, list[Signer]]]:
    """A database with a ledger of its own; the signer appears in the list with the first write."""
    signers: list[Signer] = []

    key = keys.ledger_key_path(directory)
    place = databases.place(directory, key)
    find = keys.signer_at(place, key, new_ledger_id=lambda: "led_test")

    def signer(connection):
        signers.append(find(connection))
        return signers[-1]

    async with Database.open(place, signer=signer) as database:
        yield database, signers


async def fill(database: Database, count: int) -> None:
    """Calls of two agents in turn, a minute apart, every third one in production, committed five at a time."""
    for start in range(0, count, 5):

        def unit(tx, start=start):
            for n in range(start, min(start + 5, count)):
                tx.record(
                    Record(
                        kind="call.admitted" if n % 4 else "call.refused",
                        at=START + timedelta(minutes=n),
                        call=f"call_{n}",
                        caller=f"agent-{n % 2}",
                        tool="deploy" if n % 5 else "rollback",
                        environment="production" if n % 3 == 0 else "staging",
                        deployment=f"dep_{n // 10}",
                        data={"note": f"line one {n}\nline two é"},
                    )
                )

        await database.write(unit)


def numbers(page) -> list[int]:
    return [entry.number for entry in page.items]


async def test_a_search_is_newest_first_and_every_filter_narrows_it(tmp_path: Path):
    async with opened(tmp_path) as (database, _):
        await fill(database, 30)
        search = trail.StoredTrail(database).search
        assert numbers(await search(TrailQuery(caller=None, limit=3))) == [30, 29, 28]
        assert numbers(await search(TrailQuery(caller="agent-0", limit=3))) == [29, 27, 25]
        assert numbers(await search(TrailQuery(caller=None, tool="rollback"))) == [26, 21, 16, 11, 6, 1]
        assert numbers(await search(TrailQuery(caller="agent-1", tool="rollback"))) == [26, 16, 6]
        assert numbers(await search(TrailQuery(caller=None, kind="call.refused", limit=2))) == [29, 25]
        assert numbers(await search(TrailQuery(caller=None, deployment="dep_1", limit=2))) == [20, 19]
        production = TrailQuery(caller=None, environment=EnvironmentName("production"), limit=2)
        assert numbers(await search(production)) == [28, 25]
        middle = TrailQuery(caller=None, since=START + timedelta(minutes=10), until=START + timedelta(minutes=12))
        assert numbers(await search(middle)) == [13, 12, 11]
        entry = (await search(TrailQuery(caller=None, limit=1))).items[0]
        assert entry.body["call"] == "call_29"
        assert len(entry.hash) == 64


async def test_a_callers_filter_is_not_widened_by_another_ones_call_or_deployment(tmp_path: Path):
    async with opened(tmp_path) as (database, _):
        await fill(database, 20)
        page = await trail.StoredTrail(database).search(TrailQuery(caller="agent-0", deployment="dep_1"))
        assert {entry.body["caller"] for entry in page.items} == {"agent-0"}
        assert await _is_empty(database, TrailQuery(caller="nobody' OR '1'='1"))
        assert await _is_empty(database, TrailQuery(caller=""))


async def _is_empty(database: Database, query: TrailQuery) -> bool:
    page = await trail.StoredTrail(database).search(query)
    return page.items == () and page.next_cursor is None


async def test_cursors_walk_the_whole_trail_once_while_it_grows(tmp_path: Path):
    async with opened(tmp_path) as (database, _):
        await fill(database, 23)
        query, seen = TrailQuery(caller=None, limit=5), list[int]()
        while True:
            page = await trail.StoredTrail(database).search(query)
            seen += numbers(page)
            if page.next_cursor is None:
                break
            await fill(database, 1)
            query = query.model_copy(update={"cursor": page.next_cursor})
        assert seen == list(range(23, 0, -1))


@pytest.mark.parametrize("cursor", ["", "x", "é", "MTA=", "MTAuYWJj", "{}", "A" * 5000])
async def test_a_cursor_of_another_query_is_refused(tmp_path: Path, cursor: str):
    async with opened(tmp_path) as (database, _):
        await fill(database, 10)
        search = trail.StoredTrail(database).search
        mine = (await search(TrailQuery(caller="agent-0", limit=2))).next_cursor
        with pytest.raises(InvalidArguments, match="cursor"):
            await search(TrailQuery(caller="agent-1", limit=2, cursor=mine))
        if cursor:
            with pytest.raises(InvalidArguments, match="cursor"):
                await search(TrailQuery(caller="agent-0", limit=2, cursor=cursor))


async def test_a_search_for_something_rare_is_bounded_and_says_that_it_can_go_on(tmp_path: Path):
    async with opened(tmp_path) as (database, _):
        await fill(database, 1)

        def many(tx):
            for n in range(1, 230_000):
                tx._connection.execute("INSERT INTO ledger (id, body, hash) VALUES (?, '{\"kind\":\"x\"}', 'x')", (n + 1,))

        await database.write(many, vital=True)
        search = trail.StoredTrail(database).search
        first = await search(TrailQuery(caller=None, tool="rollback"))
        assert first.items == ()
        assert first.next_cursor is not None
        second = await search(TrailQuery(caller=None, tool="rollback", cursor=first.next_cursor))
        assert numbers(second) == [1]
        assert second.next_cursor is None


async def test_a_limit_is_kept_within_bounds(tmp_path: Path):
    async with opened(tmp_path) as (database, _):
        await fill(database, 5)
        search = trail.StoredTrail(database).search
        assert len((await search(TrailQuery(caller=None, limit=0))).items) == 1
        assert len((await search(TrailQuery(caller=None, limit=10**9))).items) == 5
        assert await search(TrailQuery(caller=None, limit=5)) == await search(TrailQuery(caller=None, limit=50))


async def exported(database: Database, file: Path) -> Path:
    lines = [line async for line in trail.export(database, await trail.whole_ledger(database))]
    content = b"".join(lines)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.jsonl.gz"])
async def test_an_export_is_json_and_verifies_like_the_database_itself(tmp_path: Path, name: str):
    async with opened(tmp_path) as (database, signers):
        await fill(database, 23)
        file = await exported(database, tmp_path / name)
        public = signers[0].key.public
        head = (await database.fetch("SELECT id, hash, key, signature FROM ledger_heads ORDER BY id DESC LIMIT 1"))[0]
        line = json.dumps({"ledger": "led_test", "number": head[0], "hash": head[1], "key": head[2], "signature": head[3]})
        assert verify(file, [public]) == IntactUpTo(23, "led_test")
        assert verify(file, [public], read_anchors(line)) == Intact(23, 23, "led_test")
        assert verify(tmp_path / "ops.db", [public], read_anchors(line)) == Intact(23, 23, "led_test")
        with gzip.open(file) if name.endswith(".gz") else file.open("rb") as lines:
            parsed = [json.loads(line) for line in lines]
        assert parsed[1]["body"]["data"]["note"] == "line one 0\nline two é"


async def test_an_export_that_was_changed_is_found_at_the_record(tmp_path: Path):
    async with opened(tmp_path) as (database, signers):
        await fill(database, 23)
        lines = (await exported(database, tmp_path / "ledger.jsonl")).read_bytes().splitlines(keepends=True)
        public, changed = signers[0].key.public, tmp_path / "changed.jsonl"
        at = next(n for n, line in enumerate(lines) if line.startswith(b'{"id":12,'))
        cases = {
            12: [*lines[:at], lines[at].replace(b"deploy", b"nothing"), *lines[at + 1 :]],  # edited
            13: [*lines[: at + 1], lines[at], *lines[at + 1 :]],  # told twice
            -12: [*lines[:at], *lines[at + 1 :]],  # left out
            -13: [*lines[: at + 1], b"\n", *lines[at + 1 :]],  # a line of nothing
            -1: [lines[0].replace(b'"first":1', b'"first":5'), *[li for li in lines[1:] if not li.startswith(b'{"id":1,')]],
        }
        cases[-14] = [line.replace(b'{"id":14,', b'{"id":99,') for line in lines]
        for record, forged in cases.items():
            changed.write_bytes(b"".join(forged))
            finding = verify(changed, [public])
            assert isinstance(finding, Broken), record
            assert finding.record == abs(record)
        changed.write_bytes(b"".join(lines)[:-40])
        assert not isinstance(verify(changed, [public]), Intact | IntactUpTo)
        assert not isinstance(verify(changed, [public], [anchor(3, "00" * 32)]), Intact | IntactUpTo)
