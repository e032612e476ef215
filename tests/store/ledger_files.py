"""Ledgers on disk for the tests of verification: written straight from the migration and the documented format, not by the code
under test, and an attacker who can write the file and, if the test says so, holds the ledger's key."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops_mcp.store.verify import Anchor

MIGRATION = Path(__file__).parents[2] / "src/ops_mcp/store/migrations/0001_governed.sql"
LEDGER = "led_test"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
PUBLIC = KEY.public_key().public_bytes_raw().hex()
FINGERPRINT = sha256(bytes.fromhex(PUBLIC)).hexdigest()[:16]


def record(number: int) -> bytes:
    """The body of an ordinary record."""
    body = {
        "at": f"2026-11-20T17:00:{number % 60:02d}Z",
        "call": f"call_{number}",
        "caller": "deployer",
        "data": {"digest": "sha256:" + sha256(str(number).encode()).hexdigest(), "tokens": number},
        "kind": "call.admitted",
        "tool": "deploy",
        "v": 1,
        "verdict": "allow",
    }
    return dumped(body)


def dumped(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hashes_of(bodies: Sequence[bytes], previous: str = "0" * 64) -> list[str]:
    """The chain over `bodies`, by the documented rule."""
    found: list[str] = []
    for body in bodies:
        previous = sha256(bytes.fromhex(previous) + body).hexdigest()
        found.append(previous)
    return found


def head_signature(number: int, hash: str, *, key: Ed25519PrivateKey = KEY, ledger: str = LEDGER) -> str:
    return key.sign(b"ops-mcp ledger head v1\x00" + f"{ledger}\x00{number}\x00{hash}".encode()).hex()


def anchor(number: int, hash: str, *, ledger: str = LEDGER) -> Anchor:
    return Anchor(ledger, number, hash, FINGERPRINT, head_signature(number, hash, ledger=ledger))


@cache
def _migrated() -> bytes:
    """An empty database after the migration; made once, because thousands of ledgers start from it."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(MIGRATION.read_text(encoding="utf-8"))
        return db.serialize()


@dataclass
class LedgerFile:
    """What a database file holds; the attacker changes the lists and writes it out again."""

    bodies: list[bytes]
    heads: list[int]
    hashes: list[str] = field(default_factory=list[str])
    ledger: str | None = LEDGER
    key: Ed25519PrivateKey = KEY
    stubs: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    first: int = 1
    ids: list[int] | None = None
    head_hashes: list[tuple[int, str]] | None = None

    def __post_init__(self) -> None:
        self.hashes = self.hashes or hashes_of(self.bodies)

    def anchors(self, numbers: Sequence[int]) -> list[Anchor]:
        """Anchors as they were copied away while the ledger was as it is now."""
        return [anchor(n, self.hashes[n - self.first]) for n in numbers]

    def write(self, path: Path) -> Path:
        path.write_bytes(_migrated())
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("BEGIN")
            ids = self.ids or range(self.first, self.first + len(self.bodies))
            rows = [(n, b.decode(), h) for n, b, h in zip(ids, self.bodies, self.hashes, strict=True)]
            db.executemany("INSERT INTO ledger (id, body, hash) VALUES (?, ?, ?)", rows)
            db.executemany("INSERT INTO ledger_heads (id, hash, key, signature) VALUES (?, ?, ?, ?)", self._signed_heads())
            db.executemany("INSERT INTO ledger_stubs (first_id, last_id, body) VALUES (?, ?, ?)", self.stubs)
            if self.ledger is not None:
                db.execute("INSERT INTO facts (name, value) VALUES ('ledger_id', ?)", (self.ledger,))
            db.execute("COMMIT")
        return path

    def _signed_heads(self) -> list[tuple[int, str, str, str]]:
        heads = self.head_hashes
        if heads is None:
            heads = [(n, self.hashes[n - self.first]) for n in self.heads if n - self.first < len(self.hashes)]
        return [(n, h, FINGERPRINT, head_signature(n, h, key=self.key, ledger=str(self.ledger))) for n, h in heads]


def honest(length: int, *, head_every: int = 3) -> LedgerFile:
    """A ledger as the writer leaves it: a signed head every few records, and always at the newest."""
    heads = sorted({n for n in range(1, length + 1) if n % head_every == 0} | {length} if length else set())
    return LedgerFile([record(n) for n in range(1, length + 1)], heads)
