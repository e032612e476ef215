"""Who knocks on the HTTP door: which tokens are known, and how many requests without one came from where."""

from collections import Counter

import anyio

from ops_mcp.domain.identity import Agent, Operator, Token
from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import OpsError
from ops_mcp.ports import Clock
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.people import holder, token_hash

WRITE_SECONDS = 60.0
_ADDRESSES = 100
_KNOWN_AGENT = "SELECT 1 FROM agents WHERE token_hash = ? AND revoked = 0"


class StoredVisitors:
    """Reads tokens on the read-only connection. Counts in memory, so that a flood of strangers costs no write each."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turned_away: Counter[str] = Counter()

    async def known(self, token: Token) -> bool:
        return bool(await self._database.fetch(_KNOWN_AGENT, token_hash(token.secret.get_secret_value())))

    async def guest(self, token: Token) -> Agent | Operator | None:
        """Who may look around beside MCP: an agent, or an operator with a token for reading. Nobody who is revoked."""
        return await holder(self._database, token.secret.get_secret_value())

    async def turned_away(self, address: str) -> None:
        self.count(address)

    def count(self, address: str) -> None:
        """One more that was turned away."""
        # Addresses beyond the first hundred of a minute share one line: their number is the attacker's choice.
        at = address if address in self._turned_away or len(self._turned_away) < _ADDRESSES else "others"
        self._turned_away[at] += 1

    async def ready(self) -> bool:
        """Whether the ledger can be read."""
        try:
            await self._database.fetch("SELECT 1 FROM facts LIMIT 1")
        except OpsError:
            return False
        return True

    async def write_counts(self) -> None:
        """Once a minute, and at the end, one record of all that were turned away since."""
        try:
            while True:
                await anyio.sleep(WRITE_SECONDS)
                self._write()
        finally:
            self._write()

    def _write(self) -> None:
        if not self._turned_away:
            return
        counted, self._turned_away = dict(self._turned_away), Counter()
        record = Record(
            kind="http.unauthenticated", at=self._clock(), data={"requests": sum(counted.values()), "by_address": dict(counted)}
        )

        def unit(tx: Transaction) -> None:
            tx.record(record)

        self._database.write_later(unit)
