"""What a command works with: configuration, database, clock, and the operator's hand that signs. Prints nothing of its own."""

import os
import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, TypeVar

import click
from pydantic import ValidationError

from ops_mcp.config import Config, load
from ops_mcp.domain.identity import OperatorName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, NotPermitted, Unauthenticated
from ops_mcp.operator.acts import Terms, carry_out
from ops_mcp.operator.deeds import Deed
from ops_mcp.operator.verbs import FreezeChanges, Kill, Name, Retain, Signed, Verb, message
from ops_mcp.ports import Clock
from ops_mcp.secrets import others_may_read
from ops_mcp.store import keys
from ops_mcp.store.chain import Signer, SigningKey
from ops_mcp.store.database import Database
from ops_mcp.store.database import Terms as DatabaseTerms
from ops_mcp.store.seam import Connection
from ops_mcp.values import Secret, Value

V = TypeVar("V", bound=Value)

Hand: TypeAlias = tuple[OperatorName, SigningKey]
"""The operator who gives orders, with their opened key."""

TOKEN_PREFIX = "opsmcp_"  # noqa: S105  # how a token begins, not a token


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the terminal takes from its process. Tests bring their own."""

    environ: Mapping[str, str]
    clock: Clock
    new_secret: Callable[[], str]
    can_ask: bool

    @classmethod
    def real(cls) -> "Surroundings":
        return cls(
            environ=os.environ,
            clock=lambda: datetime.now(UTC),
            new_secret=lambda: secrets.token_urlsafe(32),
            can_ask=sys.stdin.isatty() and sys.stderr.isatty(),
        )

    @property
    def home(self) -> Path:
        return Path(self.environ.get("HOME") or Path.home())


@dataclass(frozen=True, slots=True)
class Desk:
    """One command's surroundings and common options."""

    around: Surroundings
    as_json: bool = False
    config_dir: Path | None = None
    state_dir: Path | None = None
    operator: str | None = None
    passphrase_file: Path | None = None

    def config(self) -> Config:
        return load(self.around.environ, config_dir=self.config_dir, state_dir=self.state_dir)

    def now(self) -> datetime:
        return self.around.clock()

    def new_token(self) -> str:
        """A token for an agent: 32 random bytes."""
        return TOKEN_PREFIX + self.around.new_secret()

    @asynccontextmanager
    async def database(self, *, create: bool = False) -> AsyncGenerator[Database]:
        """The governed database. Only `init` makes one."""
        config = self.config()
        if not create and config.address is None and not config.database_path.exists():
            raise NotConfigured(f"There is no database in {config.state_dir} yet.", hint="Run: ops-mcp init")
        async with Database.open(config.database, signer=ledger_signer(config), terms=_database_terms(config)) as database:
            yield database

    def environment(self, name: str) -> EnvironmentName:
        """Raises `NotFound` listing those there are."""
        there = self.config().environments
        if name not in there:
            raise NotFound(f"There is no environment {name!r}.", hint=f"Environments: {', '.join(there)}.")
        return EnvironmentName(name)

    def ask(self, question: str, *, hidden: bool = False, twice: bool = False) -> str:
        """Ask the person at the terminal. Raises `InvalidArguments` where nobody can be asked."""
        if not self.around.can_ask:
            raise InvalidArguments(f"{question} is missing, and nobody can be asked here.", hint="See --help for the option.")
        answer: str = click.prompt(
            question, hide_input=hidden, confirmation_prompt=twice, err=True, default="", show_default=False
        )
        return answer

    def refuse_agents(self) -> None:
        """An agent's own process never acts as an operator, whatever key files it can read."""
        if "OPS_MCP_TOKEN" in self.around.environ:
            raise NotPermitted(
                "This process carries an agent's token; an agent cannot act as operator.",
                hint="Use a terminal of your own, without OPS_MCP_TOKEN in its environment.",
            )

    def signer(self) -> Hand:
        """The operator who gives the orders, with their opened key. An agent's own process is refused."""
        self.refuse_agents()
        folder = self.config().config_dir / "operators"
        name = self.operator or self.around.environ.get("OPS_MCP_OPERATOR") or _only_key(folder)
        path = keys.operator_key_path(self.config().config_dir, parsed_name(name))
        if not path.exists():
            raise NotPermitted(f"There is no key of an operator {name!r} here.", hint=_keys_hint(folder))
        return OperatorName(name), keys.load_operator_key(path, self.passphrase(path))

    def passphrase(self, key_file: Path) -> Secret:
        """The passphrase of a key that has one: from a file, else asked for."""
        if not keys.operator_key_is_protected(key_file):
            return Secret("")
        if (file := self.passphrase_source()) is not None:
            return passphrase_in(file)
        if not self.around.can_ask:
            raise Unauthenticated(
                f"The key {key_file.name} has a passphrase, and nobody can be asked here.",
                hint="Give --passphrase-file FILE, or set OPS_MCP_OPERATOR_PASSPHRASE_FILE.",
            )
        return Secret(self.ask(f"Passphrase of {key_file.stem}", hidden=True))

    def passphrase_source(self) -> Path | None:
        """The file that holds the passphrase, if one was named."""
        named = self.around.environ.get("OPS_MCP_OPERATOR_PASSPHRASE_FILE")
        return self.passphrase_file or (Path(named) if named else None)

    async def order(self, database: Database, verb: Verb, hand: Hand, *, at: datetime | None = None) -> Deed:
        """Sign a verb and have it carried out."""
        by, key = hand
        at = at or self.now()
        signature = keys.operator_signature(key, message(verb, by=by, at=at))
        signed = Signed(verb=verb, by=by, at=at, signature=signature)
        vital = isinstance(verb, FreezeChanges | Kill | Retain)
        return await database.write(carry_out(signed, terms=operator_terms(self.config()), now=self.now()), vital=vital)

    async def order_alone(self, verb: Verb) -> Deed:
        """Open the key first and the database after it, sign, carry out, close."""
        hand = self.signer()
        async with self.database() as database:
            return await self.order(database, verb, hand)


def operator_terms(config: Config) -> Terms:
    """`boundary`: whoever states TLS serves other machines, and there a key without passphrase is refused."""
    settings = config.settings
    return Terms(
        environments=config.environments,
        approvals=settings.approvals,
        boundary=settings.http.tls,
        supervise=settings.supervise,
    )


def ledger_signer(config: Config) -> Callable[[Connection], Signer]:
    """Where the ledger's key comes from."""
    key_file = keys.ledger_key_path(config.state_dir)
    return keys.signer_at(config.database, key_file, new_ledger_id=lambda: secrets.token_hex(16))


def parsed(model: type[V], **fields: object) -> V:
    """A value from what was typed. Raises `InvalidArguments` naming the option, without echoing the value."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise InvalidArguments(f"{where}: {first['msg']}.", hint=HINTS.get(where, "See --help.")) from error


HINTS = {
    "name": "Names have lower-case letters, digits and '-', at most 63, beginning with a letter or digit.",
    "reason": "Say why in one line, at most 500 characters; it is recorded.",
    "slack_id": "A Slack member id looks like U024BE7LH; in Slack: profile, more, copy member ID.",
    "public_key": "The 64 hexadecimal digits that `ops-mcp operator add` printed elsewhere.",
    "score": "A score lies between 0 and 999.",
}


def passphrase_in(file: Path) -> Secret:
    """A passphrase from a file that only its owner can read."""
    try:
        if others_may_read(file):
            raise NotConfigured(f"{file} is readable by others.", hint=f"Run: chmod 600 {file}, and change the passphrase.")
        return Secret(file.read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(f"The passphrase file {file} cannot be read.", hint="It holds the passphrase on one line.") from error


class _Named(Value):
    name: Name


def parsed_name(name: str) -> str:
    """A name that cannot leave its directory."""
    return parsed(_Named, name=name).name


def _database_terms(config: Config) -> DatabaseTerms:
    ledger = config.settings.ledger
    return DatabaseTerms(lock_seconds=ledger.lock_seconds, free_space_floor_bytes=ledger.free_space_floor_bytes)


def key_names(folder: Path) -> tuple[str, ...]:
    """Operators whose key files lie here."""
    return tuple(sorted(file.stem for file in folder.glob("*.key"))) if folder.is_dir() else ()


def _only_key(folder: Path) -> str:
    names = key_names(folder)
    if len(names) == 1:
        return names[0]
    if names:
        raise InvalidArguments("Several operators have their key here.", hint=f"Give --operator NAME: {', '.join(names)}.")
    raise NotPermitted("There is no operator's key here.", hint=_keys_hint(folder))


def _keys_hint(folder: Path) -> str:
    names = key_names(folder)
    if names:
        return f"Keys here: {', '.join(names)}."
    return "This needs an operator. On a new installation run: ops-mcp init"
