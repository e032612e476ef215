"""`ops-mcp` with a PostgreSQL: prepared once, refused otherwise, moved to from a file; nobody is shown a password."""

import json
import re
import stat
from collections.abc import Generator
from pathlib import Path

import pytest

from ops_mcp.domain.addresses import Address
from ops_mcp.store import keys, verify
from ops_mcp.store.postgres import connected
from ops_mcp.store.schema import SCHEMA_VERSION, migrations
from tests import databases
from tests.cli.conftest import Terminal

pytestmark = pytest.mark.postgres
NEWEST = re.findall(r"CREATE TABLE (\w+)", migrations()[-1][1])
"""The tables of the newest migration."""


@pytest.fixture
def url(server: str, tmp_path: Path) -> Generator[str]:
    """Where nothing is yet. A password is not asked for here, and must not be told either."""
    address = databases.address_for(tmp_path, server)
    user = server.split("@", maxsplit=1)[0]
    try:
        yield f"{server.replace(user, f'{user}:s3cret')}?schema={address.room}"
    finally:
        databases.dropped(address)


@pytest.fixture
def ops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path / "one", capsys)


def test_init_prepares_it_once_and_every_later_command_finds_it(ops: Terminal, url: str) -> None:
    made = ops("init", "--no-passphrase", "--database", url, "--json")
    assert made.code == 0, made.err
    address = Address.parse(url)
    assert made.data["database"] == address.shown
    file = Path(made.data["config_dir"]) / "config.toml"
    assert f"database_url = {json.dumps(url)}" in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ops("agent", "add", "ada", "--json").code == 0
    checked = ops("db", "check", "--json")
    assert (checked.code, checked.data["whole"], checked.data["schema"]) == (0, True, SCHEMA_VERSION)
    assert checked.data["rows"]["agents"] == 1
    assert ops("audit", "verify", "--json").data["verdict"] == "IntactUpTo"
    assert not (Path(made.data["state_dir"]) / "ops.db").exists()
    again = ops("init", "--no-passphrase", "--database", url, "--json")
    assert (again.code, again.problem["code"]) == (1, "conflict")
    assert "s3cret" not in "".join(
        told.out + told.err for told in (made, checked, again, ops("doctor"), ops("status"), ops("db", "migrate"))
    )
    assert f"{address.shown}, schema {SCHEMA_VERSION}." in ops("doctor", "--json").out


def test_an_export_verifies_without_the_database(ops: Terminal, url: str, tmp_path: Path) -> None:
    assert ops("init", "--no-passphrase", "--database", url).code == 0
    told = ops("audit", "export", str(tmp_path / "ledger.jsonl.gz"), "--json")
    finding = verify.verify(tmp_path / "ledger.jsonl.gz", [told.data["public_key"]], [])
    assert isinstance(finding, verify.IntactUpTo)
    assert told.data["last"] > 0


def test_a_server_without_the_ledgers_key_writes_nothing_and_says_where_it_is(
    ops: Terminal, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ops("init", "--no-passphrase", "--database", url).code == 0
    other = Terminal(tmp_path / "two", capsys, environ={"OPS_MCP_DATABASE_URL": url})
    refused = other("status", "--json")
    listed = other("db", "check", "--json")
    assert refused.code == 0  # to read needs no key
    assert (listed.code, listed.problem["code"]) == (6, "unavailable")
    assert "Copy keys/ledger.key" in listed.problem["hint"]
    keys.create_ledger_key(keys.ledger_key_path(tmp_path / "two" / ".local/state/ops-mcp"))
    assert "is not the key of the database's ledger" in other("db", "check", "--json").problem["message"]
    assert "is not the key of the database's ledger" in other("doctor").out


def test_a_database_that_nobody_prepared_is_refused_and_left_empty(ops: Terminal, url: str) -> None:
    ops.environ["OPS_MCP_DATABASE_URL"] = url
    refused = ops("init", "--no-passphrase", "--json")
    assert (refused.code, refused.problem["code"]) == (6, "unavailable")
    assert refused.problem["hint"] == "Run `ops-mcp init --database URL` once, or correct the URL."
    assert ops("db", "migrate", "--json").problem["code"] == "unavailable"
    with connected(Address.parse(url)) as server:
        rows = server.execute("SELECT 1 FROM pg_tables WHERE schemaname = ?", (Address.parse(url).room,)).rows
    assert rows == []


@pytest.mark.parametrize(
    ("present", "hint"), [(SCHEMA_VERSION + 1, "Restart this server with the newer version"), (SCHEMA_VERSION - 1, "db migrate")]
)
def test_another_schema_is_refused_and_never_migrated_on_the_way(ops: Terminal, url: str, present: int, hint: str) -> None:
    assert ops("init", "--no-passphrase", "--database", url).code == 0
    with connected(Address.parse(url)) as server:
        server.execute("UPDATE facts SET value = ? WHERE name = 'schema'", (str(present),))
    refused = ops("freeze", "--all", "--reason", "x", "--json")
    assert (refused.code, refused.problem["code"]) == (6, "unavailable")
    assert hint in refused.problem["hint"]
    checked = ops("db", "check", "--json")
    assert (checked.code, checked.data["schema"], checked.data["whole"]) == (5, present, False)


def test_migrate_brings_an_older_schema_up_to_date(ops: Terminal, url: str) -> None:
    assert ops("init", "--no-passphrase", "--database", url).code == 0
    with connected(Address.parse(url)) as server:  # as a release of before would have left it
        for table in NEWEST:
            server.execute(f"DROP TABLE {table}")
        server.execute("UPDATE facts SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION - 1),))
    told = ops("db", "migrate", "--json")
    assert (told.code, told.data) == (0, {"before": SCHEMA_VERSION - 1, "schema": SCHEMA_VERSION})
    assert ops("db", "migrate", "--json").data["before"] == SCHEMA_VERSION
    assert ops("freeze", "--all", "--reason", "x").code == 0


def test_a_migration_that_fails_leaves_the_schema_as_it_was(ops: Terminal, url: str) -> None:
    assert ops("init", "--no-passphrase", "--database", url).code == 0
    with connected(Address.parse(url)) as server:
        server.execute(f"DROP TABLE {NEWEST[0]}")  # the others are still there: the script fails half-way
        server.execute("UPDATE facts SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION - 1),))
    assert ops("db", "migrate", "--json").problem["code"] == "unavailable"
    with connected(Address.parse(url)) as server:
        assert server.execute(f"SELECT to_regclass('{NEWEST[0]}')").rows == [(None,)]
        assert server.execute("SELECT value FROM facts WHERE name = 'schema'").rows == [(str(SCHEMA_VERSION - 1),)]


def test_everything_moves_from_a_file_and_the_ledger_still_verifies(ops: Terminal, url: str, tmp_path: Path) -> None:
    assert ops("init", "--no-passphrase").code == 0
    assert ops("agent", "add", "ada", "--json").code == 0
    assert ops("freeze", "--all", "--reason", "moving").code == 0
    before = ops("audit", "search", "--json").data["records"]
    told = ops("db", "copy", "--to", url, "--json")
    assert told.code == 0, told.err
    assert (told.data["verdict"], told.data["rows"]["ledger"]) == ("IntactUpTo", len(before))
    ops.environ["OPS_MCP_DATABASE_URL"] = url
    assert ops("audit", "search", "--json").data["records"] == before
    assert ops("unfreeze", "--all", "--reason", "moved", "--json").code == 0
    assert ops("db", "check", "--json").data["whole"] is True
    assert ops("audit", "verify", "--json").data["verdict"] == "IntactUpTo"
    assert len(ops("audit", "search", "--json").data["records"]) == len(before) + 1
    assert ops("db", "copy", "--to", url, "--json").problem["code"] == "conflict"


def test_a_copy_goes_into_an_empty_database_only(
    ops: Terminal, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ops("init", "--no-passphrase", "--database", url).code == 0
    other = Terminal(tmp_path / "two", capsys)
    assert other("init", "--no-passphrase").code == 0
    refused = other("db", "copy", "--to", url, "--json")
    assert (refused.code, refused.problem["code"]) == (1, "conflict")
    assert ops("db", "check", "--json").data["rows"]["ledger"] == 1
