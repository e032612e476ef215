"""What a decision reads besides the call and the policy: a snapshot taken inside the ledger's transaction."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

from ops_mcp.domain.calls import Approval, Freeze
from ops_mcp.domain.identity import Caller


class GuardLevel(StrEnum):
    """The load guard of the host where the service runs.

    `not_applicable` allows; `unknown` means a reading failed, and blocks.
    """

    info = "info"
    warn = "warn"
    critical = "critical"
    emergency = "emergency"
    not_applicable = "not_applicable"
    unknown = "unknown"


class Window(NamedTuple):
    """One budget window of one scope with what is already spent or reserved in it. None is unlimited.

    `scope` is the key of the counter row (`agent:tier:line`, or `everyone`); `name` is `2026-11-20T17` or `2026-11-20`, in UTC.
    A NamedTuple because a governed read builds four of them.
    """

    scope: str
    name: str
    span: Literal["hour", "day"]
    resets_at: datetime
    calls_limit: int | None
    tokens_limit: int | None
    usd_micros_limit: int | None
    calls: int
    tokens: int
    usd_micros: int


class RateState(NamedTuple):
    """The caller's token bucket for this effect after refilling up to now, before this call takes one."""

    level: float
    per_minute: float
    burst: int


class Loaded(NamedTuple):
    """The load guard's word on the host of one change: the level, since when, and the measure (with its percentage) that it is
    for. `in_flight` counts changes there that belong to no incident; `incident` says that this one does."""

    level: GuardLevel
    since: datetime | None = None
    measure: str = ""
    percent: float | None = None
    in_flight: int = 0
    incident: bool = False


UNGUARDED = Loaded(GuardLevel.not_applicable)
"""Where there is no host of ours whose load could concern a call."""


class History(NamedTuple):
    """`phase` is `admit` for every call and `commit` when a plan is about to become real; approval is judged at commit.

    `freeze` is the one that covers the call's environment, if any. `approval` is the granted, unexpired one bound to this
    plan's digest. `open_approvals` counts the agent's pending requests.
    """

    caller: Caller
    at: datetime
    phase: Literal["admit", "commit"]
    windows: tuple[Window, ...]
    rate: RateState
    freeze: Freeze | None = None
    everyone_killed: bool = False
    guard: Loaded = UNGUARDED
    approval: Approval | None = None
    open_approvals: int = 0
