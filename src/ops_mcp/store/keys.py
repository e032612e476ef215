"""Key files: the ledger's own key and the operators' keys. Decides nothing about who may use them."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from cryptography.exceptions import UnsupportedAlgorithm

from ops_mcp.domain.addresses import Address
from ops_mcp.errors import Conflict, NotConfigured, Unauthenticated, Unavailable
from ops_mcp.store.chain import Signer, SigningKey, verify_signature
from ops_mcp.store.seam import Connection
from ops_mcp.values import Secret

LEDGER_PREFIX = "ops-mcp-ledger:"
OPERATOR_PREFIX = "ops-mcp-operator:"

_OPERATOR = b"ops-mcp operator v1\x00"


class FirstStep(StrEnum):
    """What opening the ledger does about its key."""

    create = "create"
    load = "load"
    refuse = "refuse"


def first_step(*, has_records: bool, has_key: bool) -> FirstStep:
    """Neither records nor key: both are made. Records without their key: refused, because the next head could not be trusted."""
    if has_key:
        return FirstStep.load
    return FirstStep.refuse if has_records else FirstStep.create


def ledger_key_path(state_dir: Path) -> Path:
    return state_dir / "keys" / "ledger.key"


def operator_key_path(config_dir: Path, name: str) -> Path:
    return config_dir / "operators" / f"{name}.key"


def ledger_signer(connection: Connection, key_file: Path, *, new_ledger_id: str) -> Signer:
    """The signer of this database's ledger, made on the first start. `connection` is in autocommit, under the writers' lock.

    Raises `Unavailable` for records without their key or without their ledger's id.
    """
    has_records = _any_row(connection, "ledger") or _any_row(connection, "ledger_heads") or _any_row(connection, "ledger_stubs")
    key = _ledger_key(key_file, first_step(has_records=has_records, has_key=key_file.exists()))
    if not has_records:
        connection.execute(
            "INSERT INTO facts (name, value) VALUES ('ledger_id', ?) ON CONFLICT (name) DO NOTHING", (new_ledger_id,)
        )
    row = connection.execute("SELECT value FROM facts WHERE name = 'ledger_id'").fetchone()
    if row is None:
        raise Unavailable(
            "The ledger has records but has lost its own id.",
            hint="Restore the database from a backup; `ops-mcp audit verify` with an anchor tells which one is complete.",
        )
    return Signer(str(row[0]), key)


def shared_signer(connection: Connection, key_file: Path) -> Signer:
    """The signer of a ledger that several hosts write. None of them makes the key: `ops-mcp init --database` did.

    Raises `Unavailable` where the installation's own key is not here.
    """
    facts = dict(connection.execute("SELECT name, value FROM facts WHERE name IN ('ledger_id', 'ledger_key')").fetchall())
    if len(facts) < 2:
        raise Unavailable(
            "The database has no ledger of its own.", hint="Prepare one with `ops-mcp init --database URL`, or restore a backup."
        )
    hint = "Copy keys/ledger.key from the state directory where `ops-mcp init --database` ran. A new key must not go on with it."
    if not key_file.exists():
        raise Unavailable(f"The key of the database's ledger is missing: {key_file}.", hint=hint)
    key = load_ledger_key(key_file)
    if key.public != facts["ledger_key"]:
        raise Unavailable(f"{key_file} is not the key of the database's ledger.", hint=hint)
    return Signer(str(facts["ledger_id"]), key)


def signer_at(place: Path | Address, key_file: Path, *, new_ledger_id: Callable[[], str]) -> Callable[[Connection], Signer]:
    """How the ledger's signer is found, once its database is open."""
    if isinstance(place, Path):
        return lambda connection: ledger_signer(connection, key_file, new_ledger_id=new_ledger_id())
    return lambda connection: shared_signer(connection, key_file)


def create_ledger_key(path: Path) -> SigningKey:
    """Make the ledger's key file, 0600 in a directory of 0700. When another process was first, its key is loaded instead."""
    with contextlib.suppress(FileExistsError):
        _write_new(path, SigningKey.generate().to_pem())
    return load_ledger_key(path)


def load_ledger_key(path: Path) -> SigningKey:
    """Raises `NotConfigured` for a missing, damaged or widely readable file."""
    pem = _read_private(path)
    try:
        return SigningKey.from_pem(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NotConfigured(
            f"{path} is no usable ledger key.", hint="Restore it from a backup; without it the ledger stays closed."
        ) from error


def public_text(prefix: str, public_key: str) -> str:
    """The public half as people copy it: `ops-mcp-ledger:` and 64 hexadecimal digits."""
    return prefix + public_key


def parse_public_text(prefix: str, text: str) -> str:
    """The hexadecimal public key in a pasted text, with or without its prefix. Raises `NotConfigured`."""
    bare = text.strip().removeprefix(prefix).lower()
    try:
        usable = len(bytes.fromhex(bare)) == 32
    except ValueError:
        usable = False
    if not usable:
        raise NotConfigured("This is no public key.", hint=f"Paste it as `{prefix}` and 64 hexadecimal digits.")
    return bare


def create_operator_key(path: Path, passphrase: Secret) -> SigningKey:
    """Make an operator's key file, encrypted unless the passphrase is empty. Raises `Conflict` when it exists."""
    key = SigningKey.generate()
    try:
        _write_new(path, key.to_pem(passphrase.get_secret_value().encode() or None))
    except FileExistsError as error:
        raise Conflict(
            f"{path} exists.", hint="Choose another name, or revoke that operator and remove the file first."
        ) from error
    return key


def load_operator_key(path: Path, passphrase: Secret) -> SigningKey:
    """Raises `NotConfigured` for an unusable file and `Unauthenticated` for a wrong or missing passphrase."""
    pem = _read_private(path)
    given = passphrase.get_secret_value().encode() if _is_encrypted(pem) else b""
    if _is_encrypted(pem) and not given:
        raise Unauthenticated(f"{path} is protected by a passphrase.", hint="Give its passphrase.")
    try:
        return SigningKey.from_pem(pem, given or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if given:
            raise Unauthenticated(
                f"The passphrase does not open {path}.", hint="Try again with the passphrase of this key."
            ) from error
        raise NotConfigured(f"{path} is no usable operator key.", hint="Make a new one with `ops-mcp operator add`.") from error


def operator_key_is_protected(path: Path) -> bool:
    """Whether the file needs a passphrase."""
    return _is_encrypted(_read_private(path))


def operator_signature(key: SigningKey, message: bytes) -> str:
    """Sign as an operator. The domain keeps an operator's signature from ever counting as a ledger head."""
    return key.sign(_OPERATOR + message)


def operator_signed(public_key: str, message: bytes, signature: str) -> bool:
    """Whether the operator with this public key (hexadecimal) signed `message`."""
    return verify_signature(public_key, _OPERATOR + message, signature)


def _ledger_key(path: Path, step: FirstStep) -> SigningKey:
    match step:
        case FirstStep.create:
            return create_ledger_key(path)
        case FirstStep.load:
            return load_ledger_key(path)
        case FirstStep.refuse:
            raise Unavailable(
                f"The ledger has records but its key {path} is missing.",
                hint="Restore the key file from a backup. A new key must not continue an old ledger.",
            )
        case _:
            assert_never(step)


def _any_row(connection: Connection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # our own three names


def _write_new(path: Path, content: bytes) -> None:
    """Create a private file that appears whole or not at all. Raises `FileExistsError`, and `NotConfigured` for a bad place."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike rename, refuses to replace a key that another process made meanwhile
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise NotConfigured(
            f"{path} cannot be written: {error.strerror}.", hint="Make its directory writable for this user."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_private(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            _refuse_readable_by_others(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        raise NotConfigured(
            f"{path} cannot be read: {error.strerror}.", hint="It must be a regular file of this user."
        ) from error


def _refuse_readable_by_others(path: Path, status: os.stat_result) -> None:
    if os.name != "nt" and (stat.S_IMODE(status.st_mode) & 0o077 or not stat.S_ISREG(status.st_mode)):
        raise NotConfigured(
            f"{path} can be reached by other users (mode {stat.S_IMODE(status.st_mode):04o}).",
            hint=f"Run `chmod 600 {path}`; if others may have read it, replace the key.",
        )


def _is_encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem
