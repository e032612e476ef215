"""Who calls and what they may reach: tiers, levels, effects, agents, operators, credentials."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType, TypeAlias

from ops_mcp.values import Secret, Value

AgentName = NewType("AgentName", str)
OperatorName = NewType("OperatorName", str)


class Tier(StrEnum):
    """How much damage an environment can take; ordered from harmless to precious."""

    sandbox = "sandbox"
    staging = "staging"
    prod = "prod"

    @property
    def rank(self) -> int:
        return list(Tier).index(self)


class Level(StrEnum):
    """What an agent may change. The operator sets a ceiling in these words; the score earns a level in them."""

    sandbox = "sandbox"
    staging = "staging"
    prod_low = "prod_low"
    prod = "prod"

    @property
    def rank(self) -> int:
        return list(Level).index(self)

    @property
    def tier(self) -> Tier:
        return Tier.prod if self is Level.prod_low else Tier(self.value)


class Effect(StrEnum):
    """`record` writes only ops-mcp's own memory of the caller's work; `change` can be undone; `destroy` cannot."""

    read = "read"
    record = "record"
    change = "change"
    destroy = "destroy"


class Risk(StrEnum):
    """The operator's label on a service; `low` prod services open at level `prod_low`."""

    low = "low"
    full = "full"


class Agent(Value):
    """A registered agent as the ledger's transaction saw it."""

    name: AgentName
    owner: OperatorName
    ceiling: Level = Level.sandbox
    score: int = 100
    reputation: bool = True
    killed: bool = False
    revoked: bool = False


class Anonymous(Value):
    """stdio without a token: sandbox environments only, the shipped sample only."""

    name: Literal["anonymous"] = "anonymous"


class System(Value):
    """The worker acting for an agent: its operation's name and the agent on whose behalf the call is judged."""

    operation: str
    agent: Agent

    @property
    def name(self) -> str:
        return f"system:{self.operation}"


class Unknown(Value):
    """A credential that matches nobody: present but wrong, revoked, or an unexpanded placeholder."""

    name: Literal["unknown"] = "unknown"
    why: str


Caller: TypeAlias = Agent | Anonymous | System | Unknown


class Operator(Value):
    """A person. Their decisions are signed by an Ed25519 key whose public half is kept here, in hexadecimal."""

    name: OperatorName
    public_key: str
    slack_id: str | None = None
    protected: bool = True
    revoked_at: datetime | None = None


class NoToken(Value):
    """stdio, and `OPS_MCP_TOKEN` is not set."""


class Token(Value):
    """The bearer token that a transport presented; it is hashed before it is looked up and never stored."""

    secret: Secret


class OnBehalf(Value):
    """Made by the worker only: an operation wants a call, judged as the agent it works for."""

    operation: str
    agent: AgentName


Credential: TypeAlias = NoToken | Token | OnBehalf


class Client(Value):
    """What the client says of itself. Display and attribution only; no decision reads it."""

    name: str = ""
    version: str = ""
    transport: Literal["stdio", "http", "worker", "terminal", "memory"] = "memory"
    session: str = ""
    address: str = ""
