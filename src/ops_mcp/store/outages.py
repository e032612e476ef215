"""What keeps the ledger from being written, in ops-mcp's own words."""

import sqlite3

from ops_mcp.errors import OpsError, Unavailable


def unavailable(error: Exception) -> Unavailable:
    """An outside storage error in ops-mcp's own words."""
    text = str(error) if isinstance(error, sqlite3.Error | OSError) else type(error).__name__
    known = {
        "database is locked": "another process holds the database",
        "attempt to write a readonly database": "the database file is read-only",
        "database or disk is full": "the disk is full",
        "disk I/O error": "the disk reports an I/O error",
        "file is not a database": "the database file is corrupt",
        "database disk image is malformed": "the database file is corrupt",
        "unable to open database file": "the database file cannot be opened",
        "Read-only file system": "the database file is read-only",
        "Permission denied": "the database file is read-only",
        "No space left on device": "the disk is full",
    }
    why = next((said for shown, said in known.items() if shown in text), text)
    return Unavailable(
        f"The ledger cannot be written: {why}.",
        hint="Nothing that changes anything runs until this is mended. An operator can run `ops-mcp doctor`.",
        retry_after_seconds=5.0,
    )


def closed(error: OpsError) -> Unavailable:
    """Whatever keeps the ledger from being opened, a key that cannot be used too, means that it is unavailable."""
    return error if isinstance(error, Unavailable) else Unavailable(error.message, hint=error.hint, details=error.details)
