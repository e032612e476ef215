"""Fail closed: whatever keeps ledger or policy from being used, nothing that changes anything runs and no record is lost."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp import startup
from ops_mcp.app import App, World
from ops_mcp.call import call
from ops_mcp.config import Config
from ops_mcp.domain.identity import AgentName, Client, Credential, Level
from ops_mcp.domain.outcomes import Done, Failed, Outcome, Record, Refused
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import Code, Unavailable
from ops_mcp.operator.acts import Terms, carry_out
from ops_mcp.operator.verbs import FreezeChanges, Kill, Signed, Verb
from ops_mcp.operator.verbs import message as verb_message
from ops_mcp.store import keys
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.schema import SCHEMA_VERSION
from ops_mcp.store.verify import IntactUpTo, verify
from ops_mcp.values import Json
from tests.house import START, House, MemoryPlace, house

pytestmark = pytest.mark.anyio

SOON = {"lock_seconds": 0.5, "free_space_floor_bytes": 0}
"""Ledger settings under which a wait for the lock ends before a person notices."""

CHANGES: tuple[tuple[str, dict[str, Json]], ...] = (
    ("deploy", {"service": "web", "environment": "staging"}),
    ("deploy", {"service": "web", "environment": "staging", "dry_run": True}),
    ("rollback", {"service": "web", "environment": "staging"}),
    ("restart", {"service": "web", "environment": "staging"}),
    ("services", {}),
    ("no_such_tool", {}),
)
"""What must not run: changes, but also reads, because they must be recorded."""


@dataclass
class Prepared:
    """An installation that worked for a while and was then closed."""

    config: Config
    ada: Credential
    operator_key: SigningKey
    bodies: list[tuple[int, str]]

    @asynccontextmanager
    async def reopened(self, **ledger: Any) -> AsyncGenerator["Reopened"]:
        """The same installation in a new process, as far as that can be had without one."""
        terms = self.config.settings.ledger.evolve(**{**SOON, **ledger})
        config = self.config.evolve(settings=self.config.settings.evolve(ledger=terms))
        place = MemoryPlace()
        later = START + timedelta(hours=2)
        async with startup.open_app(config, wake_worker=lambda: None, clock=lambda: later, look_seconds=0) as opened:
            app = replace(opened.app, world=lambda: World(config, {"memory": place}))
            yield Reopened(app, opened.database, place)


@dataclass
class Reopened:
    app: App
    database: Database
    place: MemoryPlace

    async def call(self, credential: Credential, tool: str, **arguments: Json) -> Outcome:
        return await call(self.app, credential, Client(), tool, dict(arguments))


async def prepare(tmp_path: Path) -> Prepared:
    async with house(tmp_path, ledger=SOON) as home:
        ada = await work(home)
        return Prepared(home.config, ada, home.operator_key, await rows(home.database))


async def work(home: House) -> Credential:
    """Leave something in the ledger that must not be lost."""
    ada = await home.agent(ceiling=Level.staging)
    for ref in ("next", "main"):
        assert isinstance(await home.call(ada, "deploy", service="web", environment="staging", ref=ref), Done)
    return ada


async def rows(database: Database) -> list[tuple[int, str]]:
    await database.write(lambda _: None)
    return [(int(number), str(body)) for number, body in await database.fetch("SELECT id, body FROM ledger ORDER BY id")]


async def assert_closed(home: House | Reopened, ada: Credential, says: str) -> None:
    """Nothing runs, every refusal says why, and `whoami` answers and says it too."""
    asked = len([a for a in home.place.asked if not a.startswith("resolve")])
    for tool, arguments in CHANGES:
        outcome = await home.call(ada, tool, **arguments)
        assert isinstance(outcome, Refused), (tool, outcome)
        assert outcome.problem.code is Code.unavailable, (tool, outcome)
        assert says in outcome.problem.message, (tool, outcome.problem.message)
        assert outcome.problem.hint
    me = await home.call(ada, "whoami")
    assert isinstance(me, Done), me
    assert says in str(me.result["trouble"])
    assert len([a for a in home.place.asked if not a.startswith("resolve")]) == asked


def assert_kept(config: Config, before: list[tuple[int, str]]) -> None:
    """Every record of before is where it was, and the chain holds from the first to the last."""
    with closing(sqlite3.connect(config.database_path)) as connection:
        found = connection.execute("SELECT id, body FROM ledger ORDER BY id").fetchall()
    assert [tuple(row) for row in found[: len(before)]] == before
    public = keys.load_ledger_key(keys.ledger_key_path(config.state_dir)).public
    finding = verify(config.database_path, [public], [])
    assert isinstance(finding, IntactUpTo), finding
    assert finding.upto == len(found)


async def assert_mended(prepared: Prepared) -> None:
    """After mending, work goes on where it stopped."""
    async with prepared.reopened() as again:
        assert isinstance(await again.call(prepared.ada, "services"), Done)
    assert_kept(prepared.config, prepared.bodies)


@contextmanager
def mounted(target: Path, *options: str) -> Generator[None]:
    """Something mounted for the time of a test; needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; the variants by file mode run instead")
    tried = subprocess.run(["mount", *options, str(target)], capture_output=True, text=True, check=False, timeout=20)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount: {tried.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True, timeout=20)


@pytest.mark.root
async def test_a_read_only_disk_closes_everything_but_whoami(tmp_path: Path):
    prepared = await prepare(tmp_path)
    state = prepared.config.state_dir
    with mounted(state, "--bind", str(state)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(state)], check=True, timeout=20)
        async with prepared.reopened() as closed:
            await assert_closed(closed, prepared.ada, "the database file")
    await assert_mended(prepared)


async def test_a_read_only_file_closes_everything_but_whoami_and_stays_read_only(tmp_path: Path):
    if os.geteuid() == 0:
        pytest.skip("root writes to read-only files; the read-only disk is what stops it")
    prepared = await prepare(tmp_path)
    path = prepared.config.database_path
    path.chmod(0o400)
    async with prepared.reopened() as closed:
        await assert_closed(closed, prepared.ada, "the database file")
    assert path.stat().st_mode & 0o777 == 0o400
    path.chmod(0o600)
    await assert_mended(prepared)


@pytest.mark.root
async def test_a_full_disk_closes_everything_but_whoami(tmp_path: Path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with mounted(state, "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"):
        async with house(tmp_path, ledger=SOON) as home:
            ada = await work(home)
            before = await rows(home.database)
            filler = fill(state / "filler")
            await assert_closed(home, ada, "the disk is full")
            filler.unlink()
            assert isinstance(await home.call(ada, "deploy", service="web", environment="staging"), Done)
        assert_kept(home.config, before)


def fill(path: Path) -> Path:
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 512):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


HOLD_LOCK = (
    "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
)
HOLD_DATABASE = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
    " print('held', flush=True); sys.stdin.read(); c.execute('ROLLBACK')"
)


@contextmanager
def held(program: str, path: Path) -> Generator[None]:
    """Another process holds a lock until the block ends."""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait(timeout=10)


@pytest.mark.parametrize(("program", "suffix"), [(HOLD_LOCK, ".lock"), (HOLD_DATABASE, ".db")], ids=["advisory", "sqlite"])
async def test_a_lock_held_beyond_the_timeout_closes_everything_but_whoami(tmp_path: Path, program: str, suffix: str):
    async with house(tmp_path, ledger=SOON) as home:
        ada = await work(home)
        before = await rows(home.database)
        with held(program, home.config.database_path.with_suffix(suffix)):
            await assert_closed(home, ada, "another process holds the database")
        assert isinstance(await home.call(ada, "deploy", service="web", environment="staging"), Done)
    assert_kept(home.config, before)


def overwrite(path: Path, *, at: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize(
    ("at", "size"), [(0, 4096), (8, 64), (4096, 10**9)], ids=["header", "a part of it", "all but the header"]
)
async def test_a_corrupt_file_closes_everything_but_whoami(tmp_path: Path, at: int, size: int):
    prepared = await prepare(tmp_path)
    path = prepared.config.database_path
    good = shutil.copy(path, tmp_path / "good.db")
    overwrite(path, at=at, size=min(size, path.stat().st_size - at))
    async with prepared.reopened() as closed:
        await assert_closed(closed, prepared.ada, "corrupt")
    shutil.copy(good, path)
    await assert_mended(prepared)


async def test_a_corrupt_page_that_only_a_call_meets_closes_everything_but_whoami(tmp_path: Path):
    """The file opens, its schema, ledger and key are well; what budgets are counted in is not."""
    prepared = await prepare(tmp_path)
    path = prepared.config.database_path
    good = shutil.copy(path, tmp_path / "good.db")
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'spend'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    overwrite(path, at=(page - 1) * size, size=size)
    async with prepared.reopened() as closed:
        asked = list(closed.place.asked)
        for tool in ("deploy", "rollback", "restart"):
            outcome = await closed.call(prepared.ada, tool, service="web", environment="staging")
            assert code_of(outcome) is Code.unavailable, outcome
        me = await closed.call(prepared.ada, "whoami")
        assert isinstance(me, Done)
        assert "corrupt" in str(me.result["trouble"])
        assert closed.place.asked == asked
    shutil.copy(good, path)
    await assert_mended(prepared)


async def test_a_file_that_becomes_corrupt_while_it_is_open_closes_everything_once_it_is_seen(tmp_path: Path):
    async with house(tmp_path, ledger=SOON) as home:
        ada = await work(home)
        path = home.config.database_path
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(path, at=0, size=path.stat().st_size)
        await home.call(ada, "whoami")
        await assert_closed(home, ada, "corrupt")


async def test_records_without_their_key_close_everything_but_whoami(tmp_path: Path):
    prepared = await prepare(tmp_path)
    key = keys.ledger_key_path(prepared.config.state_dir)
    away = key.rename(tmp_path / "away.key")
    async with prepared.reopened() as closed:
        await assert_closed(closed, prepared.ada, "is missing")
    assert not key.exists(), "no new key may continue an old ledger"
    away.rename(key)
    await assert_mended(prepared)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda key: key.write_text("no key"), "no usable ledger key"),
        (lambda key: key.chmod(0o644), "can be reached by other users"),
    ],
    ids=["garbage", "readable by others"],
)
async def test_a_key_that_cannot_be_trusted_closes_everything_but_whoami(
    tmp_path: Path, spoil: Callable[[Path], object], says: str
):
    prepared = await prepare(tmp_path)
    key = keys.ledger_key_path(prepared.config.state_dir)
    text = key.read_text(encoding="utf-8")
    spoil(key)
    async with prepared.reopened() as closed:
        await assert_closed(closed, prepared.ada, says)
    key.write_text(text, encoding="utf-8")
    key.chmod(0o600)
    await assert_mended(prepared)


async def test_a_newer_schema_closes_everything_but_whoami(tmp_path: Path):
    prepared = await prepare(tmp_path)
    migrate(prepared.config.database_path, 99)
    async with prepared.reopened() as closed:
        await assert_closed(closed, prepared.ada, "schema 99")
    migrate(prepared.config.database_path, SCHEMA_VERSION)
    await assert_mended(prepared)


async def test_a_schema_that_becomes_newer_while_it_is_open_closes_everything_but_whoami(tmp_path: Path):
    async with house(tmp_path, ledger=SOON) as home:
        ada = await work(home)
        before = await rows(home.database)
        migrate(home.config.database_path, 99)
        await assert_closed(home, ada, "schema 99")
    migrate(home.config.database_path, SCHEMA_VERSION)
    assert_kept(home.config, before)


def migrate(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


async def test_an_invalid_policy_at_the_start_closes_everything_but_whoami_until_it_is_mended(tmp_path: Path):
    prepared = await prepare(tmp_path)
    file = prepared.config.config_dir / "policies" / "mine.cedar"
    file.parent.mkdir(parents=True)
    file.write_text("permit (everybody, everything);", encoding="utf-8")
    async with prepared.reopened() as closed:
        await assert_closed(closed, prepared.ada, "mine.cedar")
        file.write_text('permit (principal, action == Action::"services", resource);', encoding="utf-8")
        assert isinstance(await closed.call(prepared.ada, "services"), Done)
        refused = [body for _, body in await rows(closed.database) if '"policy.refused"' in body]
        assert len(refused) == 1
    assert_kept(prepared.config, prepared.bodies)


async def test_an_invalid_edit_of_a_policy_leaves_the_last_good_one_in_force_and_is_recorded(tmp_path: Path):
    async with house(tmp_path, ledger=SOON) as home:
        ada = await home.agent()
        file = home.config.config_dir / "policies" / "mine.cedar"
        file.parent.mkdir(parents=True)
        file.write_text('@id("no-restart") forbid (principal, action == Action::"restart", resource);', encoding="utf-8")
        assert code_of(await home.call(ada, "restart", service="web", environment="staging")) is Code.not_permitted
        file.write_text("permit (principal, action, resource", encoding="utf-8")
        assert code_of(await home.call(ada, "restart", service="web", environment="staging")) is Code.not_permitted
        assert isinstance(await home.call(ada, "services"), Done)
        (told,) = await home.records("policy.refused")
        assert "mine.cedar" in str(told["reason"])


async def test_policies_that_can_no_longer_be_listed_stay_in_force(tmp_path: Path):
    async with house(tmp_path, ledger=SOON) as home:
        ada = await home.agent()
        folder = home.config.config_dir / "policies"
        folder.mkdir(parents=True)
        (folder / "mine.cedar").write_text(
            '@id("no") forbid (principal, action == Action::"restart", resource);', encoding="utf-8"
        )
        assert code_of(await home.call(ada, "restart", service="web", environment="staging")) is Code.not_permitted
        folder.rename(folder.with_name("gone"))
        folder.write_text("no folder", encoding="utf-8")
        for _ in range(2):
            assert code_of(await home.call(ada, "restart", service="web", environment="staging")) is Code.not_permitted
        assert len(await home.records("policy.refused")) == 1


def code_of(outcome: Outcome) -> Code | None:
    return outcome.problem.code if isinstance(outcome, Refused | Failed) else None


async def test_below_the_free_space_floor_only_what_ends_or_stops_work_is_written(tmp_path: Path):
    prepared = await prepare(tmp_path)
    async with prepared.reopened(free_space_floor_bytes=2**62) as closed:
        await assert_closed(closed, prepared.ada, "nearly full")
        step = Record(kind="operation.step", at=START, operation="op_1", reason="a step of what runs")
        await closed.database.write(lambda tx: tx.record(step), vital=True)
        await closed.database.write(
            ordered(prepared, FreezeChanges(environment=EnvironmentName("staging"), reason="full")), vital=True
        )
        await closed.database.write(ordered(prepared, Kill(agent=AgentName("ada"), reason="full")), vital=True)
        with pytest.raises(Unavailable):
            await closed.database.write(lambda tx: tx.record(step))
        kinds = [body for _, body in await rows_of(closed.database)][-3:]
    assert [any(kind in body for body in kinds) for kind in ("operation.step", "freeze", "kill")] == [True, True, True]
    assert_kept(prepared.config, prepared.bodies)


async def rows_of(database: Database) -> list[tuple[int, str]]:
    return [(int(number), str(body)) for number, body in await database.fetch("SELECT id, body FROM ledger ORDER BY id")]


def ordered(prepared: Prepared, verb: Verb) -> Callable[[Transaction], object]:
    at = START + timedelta(hours=2)
    by = "olga"
    signature = keys.operator_signature(prepared.operator_key, verb_message(verb, by=by, at=at))
    signed = Signed.model_validate({"verb": verb, "by": by, "at": at, "signature": signature})
    terms = Terms(environments=prepared.config.environments, approvals=prepared.config.settings.approvals, boundary=False)
    return carry_out(signed, terms=terms, now=at)


async def test_a_call_that_was_running_when_the_disk_filled_is_settled(tmp_path: Path):
    """The floor turns new work away; what was admitted before still ends in the ledger."""
    async with house(tmp_path, ledger=SOON) as home:
        ada = await home.agent()
        inner, floor = home.place.resolve, replace(home.database.terms, free_space_floor_bytes=2**62)

        async def fills_the_disk(binding: Any, ref: str | None) -> Any:
            home.database.terms = floor
            return await inner(binding, ref)

        home.place.resolve = fills_the_disk  # type: ignore[method-assign]
        outcome = await home.call(ada, "deploy", service="web", environment="staging")
        assert code_of(outcome) is Code.unavailable
        home.database.terms = replace(floor, free_space_floor_bytes=0)
        assert [r["verdict"] for r in await home.records("call.settled")] == ["failed"]
        assert await home.count("operations") == 0


@pytest.mark.parametrize("tool", ["no_such_tool", "deploy"])
async def test_a_loop_of_refusals_grows_the_ledger_by_less_than_a_megabyte_a_minute(tmp_path: Path, tool: str):
    """Two thousand real calls within one minute, each with as much in its arguments as is kept of them."""
    async with house(tmp_path, ledger=SOON) as home:
        ada = await home.agent(ceiling=Level.sandbox)
        before = await size(home)
        for number in range(2000):
            arguments: dict[str, Json] = {"service": "web", "environment": "production", "ref": f"{number:0>200}"}
            if tool == "no_such_tool":
                arguments["ref"] = "x" * 8000
            assert isinstance(await home.call(ada, tool, **arguments), Refused)
            home.advance(seconds=0.0299)
        assert home.now[0] - START < timedelta(minutes=1)
        assert await size(home) - before < 1_000_000
        home.advance(minutes=1)
        await home.call(ada, "no_such_tool")
        (many,) = await home.records("call.refused_many")
        assert isinstance(many["data"], dict)
        assert many["data"]["refused"] == 2000


async def size(home: House) -> int:
    """Bytes of the whole database, indexes and heads included."""
    await home.database.write(lambda _: None)
    with closing(sqlite3.connect(home.config.database_path)) as connection:
        (pages,), (page,) = connection.execute("PRAGMA page_count").fetchone(), connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page)
