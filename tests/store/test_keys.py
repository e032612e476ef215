"""Key files on a real disk: who may read them, when they are made, and what happens when they are missing."""

import sqlite3
import threading
from pathlib import Path

import pytest

from ops_mcp.errors import Conflict, NotConfigured, OpsError, Unauthenticated, Unavailable
from ops_mcp.store import keys
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.keys import FirstStep
from ops_mcp.values import Secret

MIGRATION = Path(__file__).parents[2] / "src/ops_mcp/store/migrations/0001_governed.sql"


@pytest.mark.parametrize(
    ("has_records", "has_key", "step"),
    [
        (False, False, FirstStep.create),  # a first start
        (True, True, FirstStep.load),  # every later one
        (False, True, FirstStep.load),  # a first start that crashed between key and record
        (True, False, FirstStep.refuse),  # the key was lost or taken
    ],
)
def test_records_without_their_key_fail_closed(has_records: bool, has_key: bool, step: FirstStep):
    assert keys.first_step(has_records=has_records, has_key=has_key) is step


def test_a_ledger_key_is_private_and_loads_as_what_was_made(tmp_path: Path):
    path = keys.ledger_key_path(tmp_path / "state")
    made = keys.create_ledger_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["ledger.key"]
    assert keys.load_ledger_key(path).public == made.public


def test_processes_that_start_together_end_with_one_key(tmp_path: Path):
    path = keys.ledger_key_path(tmp_path)
    barrier, seen = threading.Barrier(8), list[str]()

    def start() -> None:
        barrier.wait(5)
        seen.append(keys.create_ledger_key(path).public)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert set(seen) == {keys.load_ledger_key(path).public}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_can_reach_is_refused_with_the_cure(tmp_path: Path, mode: int):
    path = keys.ledger_key_path(tmp_path)
    keys.create_ledger_key(path)
    path.chmod(mode)
    with pytest.raises(NotConfigured) as refused:
        keys.load_ledger_key(path)
    assert "chmod 600" in refused.value.hint


def test_a_key_that_is_a_link_or_missing_or_damaged_is_refused(tmp_path: Path):
    path = keys.ledger_key_path(tmp_path)
    keys.create_ledger_key(path)
    link = tmp_path / "link.key"
    link.symlink_to(path)
    damaged = tmp_path / "damaged.key"
    damaged.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", encoding="utf-8")
    damaged.chmod(0o600)
    for bad in (link, damaged, tmp_path / "missing.key"):
        with pytest.raises(NotConfigured):
            keys.load_ledger_key(bad)


def test_a_first_start_makes_key_and_ledger_id_and_a_second_finds_them(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "ops.db", isolation_level=None)
    connection.executescript(MIGRATION.read_text(encoding="utf-8"))
    path = keys.ledger_key_path(tmp_path)
    first = keys.ledger_signer(connection, path, new_ledger_id="led_1")
    second = keys.ledger_signer(connection, path, new_ledger_id="led_2")
    assert (first.ledger, second.ledger) == ("led_1", "led_1")
    assert first.key.public == second.key.public
    connection.execute("INSERT INTO ledger (id, body, hash) VALUES (1, '{}', 'x')")
    path.unlink()
    with pytest.raises(Unavailable, match="key"):
        keys.ledger_signer(connection, path, new_ledger_id="led_3")
    assert not path.exists()
    connection.close()


def test_records_that_lost_their_ledgers_id_fail_closed(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "ops.db", isolation_level=None)
    connection.executescript(MIGRATION.read_text(encoding="utf-8"))
    path = keys.ledger_key_path(tmp_path)
    keys.ledger_signer(connection, path, new_ledger_id="led_1")
    connection.execute("INSERT INTO ledger (id, body, hash) VALUES (1, '{}', 'x')")
    connection.execute("DELETE FROM facts")
    with pytest.raises(Unavailable, match="own id"):
        keys.ledger_signer(connection, path, new_ledger_id="led_2")
    connection.close()


def test_an_operator_key_opens_with_its_passphrase_only(tmp_path: Path):
    path = keys.operator_key_path(tmp_path, "alice")
    made = keys.create_operator_key(path, Secret("correct horse"))
    assert keys.operator_key_is_protected(path)
    assert keys.load_operator_key(path, Secret("correct horse")).public == made.public
    for wrong in ("wrong horse", ""):
        with pytest.raises(Unauthenticated) as refused:
            keys.load_operator_key(path, Secret(wrong))
        assert "horse" not in refused.value.message + refused.value.hint


def test_an_operator_key_with_an_empty_passphrase_says_that_it_is_unprotected(tmp_path: Path):
    path = keys.operator_key_path(tmp_path, "bob")
    made = keys.create_operator_key(path, Secret(""))
    assert not keys.operator_key_is_protected(path)
    assert keys.load_operator_key(path, Secret("")).public == made.public
    assert keys.load_operator_key(path, Secret("needless")).public == made.public


def test_an_operator_key_is_never_overwritten(tmp_path: Path):
    path = keys.operator_key_path(tmp_path, "alice")
    keys.create_operator_key(path, Secret("one"))
    before = path.read_bytes()
    with pytest.raises(Conflict):
        keys.create_operator_key(path, Secret("two"))
    assert path.read_bytes() == before


def test_an_operators_signature_counts_for_its_message_its_key_and_its_domain_only():
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = keys.operator_signature(key, b"approve apr_1")
    assert keys.operator_signed(key.public, b"approve apr_1", signature)
    assert not keys.operator_signed(key.public, b"approve apr_2", signature)
    assert not keys.operator_signed(other.public, b"approve apr_1", signature)
    assert not keys.operator_signed(key.public, b"approve apr_1", key.sign(b"approve apr_1"))


def test_a_public_key_is_copied_as_text_and_read_back():
    key = SigningKey.generate()
    text = keys.public_text(keys.LEDGER_PREFIX, key.public)
    assert text.startswith("ops-mcp-ledger:")
    assert keys.parse_public_text(keys.LEDGER_PREFIX, f" {text}\n") == key.public
    assert keys.parse_public_text(keys.LEDGER_PREFIX, key.public.upper()) == key.public
    for bad in ("", "ops-mcp-ledger:", "ops-mcp-operator:" + key.public, key.public[:-2]):
        with pytest.raises(OpsError):
            keys.parse_public_text(keys.LEDGER_PREFIX, bad)
