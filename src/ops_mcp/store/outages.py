"""What keeps the ledger from being written, in ops-mcp's own words."""

import sqlite3

from ops_mcp.errors import OpsError, Unavailable

_HINT = "Nothing that changes anything runs until this is mended. An operator can run `ops-mcp doctor`."


class MaybeWritten(Unavailable):
    """The database was lost during a commit and could not be asked since: it may have been carried out."""

    retryable = False

    def __init__(self) -> None:
        super().__init__(
            "The database was lost while this was being written, and it is not known whether it was.",
            hint="Look before you repeat it; with the same idempotency key it is safe to repeat.",
        )


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
    return Unavailable(f"The ledger cannot be written: {why}.", hint=_HINT, retry_after_seconds=5.0)


def from_postgres(error: Exception, where: str) -> Unavailable:
    """The same for a PostgreSQL. Its own words are not passed on where they may quote what was written."""
    if isinstance(error, Unavailable):
        return error
    state = _state(error)
    known = {
        "28": f"{where} does not let this user in",
        "3D": f"{where} does not exist",
        "3F": f"the schema of {where} does not exist",
        "42501": f"this user may not write to {where}",
        "42P01": f"{where} was not prepared by `ops-mcp init --database URL`",
        "53100": f"the disk of {where} is full",
        "53300": f"{where} takes no more connections",
        "55P03": "another process holds the database",
        "57014": f"{where} did not answer in time",
        "25006": f"{where} is read-only; is it a standby?",
    }
    why = known.get(state) or known.get(state[:2])
    if why is None and isinstance(error, TimeoutError):
        why = f"{where} did not answer in time"
    elif why is None and (state[:2] in {"", "08", "57"}):
        why = f"{where} cannot be reached"
    return Unavailable(
        f"The ledger cannot be written: {why or f'{where} reports {type(error).__name__} ({state})'}.",
        hint="Run `ops-mcp init --database URL` once, or correct the URL." if state == "42P01" else _HINT,
        retry_after_seconds=5.0,
    )


def is_postgres_itself(error: Exception) -> bool:
    """Whether the server or the way to it failed, and not what one unit of work asked of it."""
    state = _state(error)
    if state:
        return state[:2] in {"08", "28", "3D", "40", "53", "57", "58", "XX"} or state in {"25006", "25P03", "42501", "55P03"}
    return isinstance(error, OSError | TimeoutError) or type(error).__module__.startswith("asyncpg")


def closed(error: OpsError) -> Unavailable:
    """Whatever keeps the ledger from being opened, a key that cannot be used too, means that it is unavailable."""
    return error if isinstance(error, Unavailable) else Unavailable(error.message, hint=error.hint, details=error.details)


def _state(error: Exception) -> str:
    """PostgreSQL's five characters for what went wrong; empty for anybody else's error."""
    return str(getattr(error, "sqlstate", None) or "")
