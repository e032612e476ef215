"""The writer thread's view of people, remembered until the governance version moves. Not shared between threads."""

from ops_mcp.domain.calls import Freeze
from ops_mcp.domain.identity import Agent, Caller, Credential, OnBehalf, System, Token
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.store.database import Transaction
from ops_mcp.store.people import People

_MOST_REMEMBERED = 4096


class Callers:
    """`People` without asking the same twice: every change to them bumps `facts.governance`, which is read each time."""

    def __init__(self, *, reputation: bool) -> None:
        self._reputation = reputation
        self._people = People()
        self._version: str | None = None
        self._by_token: dict[str, Caller] = {}
        self._freezes: dict[EnvironmentName | None, Freeze | None] = {}
        self._everyone_killed: bool | None = None

    def refresh(self, tx: Transaction) -> None:
        """Forget everything when something changed. Called once at the start of each unit that judges."""
        version = tx.memory.get("facts")
        if version is None:
            rows = tx.fetch("SELECT value FROM facts WHERE name = 'governance'")
            version = tx.memory["facts"] = f"{rows[0][0] if rows else 0} {tx.undone}"
        if version != self._version or len(self._by_token) > _MOST_REMEMBERED:
            self._version = version
            self._by_token.clear()
            self._freezes.clear()
            self._everyone_killed = None

    def caller(self, tx: Transaction, credential: Credential) -> Caller:
        """Who calls, with reputation switched off where the operator switched it off for everybody."""
        if not isinstance(credential, Token):
            return self._judged(self._people.caller(tx, credential))
        token = credential.secret.get_secret_value()
        known = self._by_token.get(token)
        if known is None:
            known = self._by_token[token] = self._judged(self._people.caller(tx, credential))
        return known

    def again(self, tx: Transaction, caller: Caller) -> Caller:
        """The same caller as it stands now, for a check that is repeated later in its call."""
        match caller:
            case Agent(name=name):
                found = self._people.caller(tx, OnBehalf(operation="", agent=name))
                return self._judged(found.agent) if isinstance(found, System) else found
            case System(operation=operation, agent=agent):
                return self._judged(self._people.caller(tx, OnBehalf(operation=operation, agent=agent.name)))
            case _:
                return caller

    def freeze(self, tx: Transaction, environment: EnvironmentName | None) -> Freeze | None:
        if environment not in self._freezes:
            self._freezes[environment] = self._people.freeze(tx, environment)
        return self._freezes[environment]

    def everyone_killed(self, tx: Transaction) -> bool:
        if self._everyone_killed is None:
            self._everyone_killed = self._people.everyone_killed(tx)
        return self._everyone_killed

    def _judged(self, caller: Caller) -> Caller:
        if self._reputation:
            return caller
        match caller:
            case Agent():
                return caller.evolve(reputation=False)
            case System():
                return caller.evolve(agent=caller.agent.evolve(reputation=False))
            case _:
                return caller
