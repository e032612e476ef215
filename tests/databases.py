"""Where a test's records are: in a file, or in a schema of its own in the PostgreSQL that runs here."""

import hashlib
import os
import socket
from pathlib import Path

from ops_mcp.domain.addresses import Address

HOST, PORT = "127.0.0.1", 5432
_USERS = ("postgres", "test", "root")


class Switch:
    """Which one it is. `tests/postgres/conftest.py` throws it; `made` are the schemas to be dropped."""

    def __init__(self) -> None:
        self.base = ""
        self.made: dict[Path, Address] = {}


SWITCH = Switch()


def address_for(folder: Path, base: str) -> Address:
    """A schema for this folder's tests, which is not made yet."""
    return Address.parse(f"{base}?schema=t_{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}")


def place(folder: Path, key_file: Path) -> Path | Address:
    """The folder's database; a PostgreSQL's is prepared when it is first asked for."""
    if not SWITCH.base:
        return folder / "ops.db"
    if folder not in SWITCH.made:
        SWITCH.made[folder] = prepared(address_for(folder, SWITCH.base), key_file)
    return SWITCH.made[folder]


def prepared(address: Address, key_file: Path) -> Address:
    """Make the tables and the ledger's key, as `ops-mcp init --database` does, in a thread of its own."""
    from concurrent.futures import ThreadPoolExecutor

    from ops_mcp.store import keys, preparing

    key = keys.load_ledger_key(key_file) if key_file.exists() else keys.create_ledger_key(key_file)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(preparing.prepare, address, ledger="led_test", public_key=key.public).result(30)
    return address


def dropped(address: Address) -> None:
    from ops_mcp.store.postgres import connected

    with connected(address) as server:
        server.execute(f"DROP SCHEMA IF EXISTS {address.room} CASCADE")


def found() -> str:
    """The URL of the PostgreSQL that tests may use, or nothing where none answers."""
    if url := os.environ.get("OPS_MCP_TEST_DATABASE_URL"):
        return url
    try:
        socket.create_connection((HOST, PORT), timeout=1).close()
    except OSError:
        return ""
    from ops_mcp.errors import OpsError
    from ops_mcp.store.postgres import look

    for user in _USERS:
        url = f"postgresql://{user}@{HOST}:{PORT}/test"
        try:
            look(Address.parse(url), "SELECT 1")
        except OpsError:
            continue
        return url
    return ""
