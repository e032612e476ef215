"""Telling people, through channels that the operator named."""

import re
from typing import Literal

from pydantic import Field, field_validator

from ops_mcp.answers import PlanView, VerdictView
from ops_mcp.domain.calls import Verdict
from ops_mcp.domain.releases import Plan
from ops_mcp.ports import Ops
from ops_mcp.tool import Committed, Result, Target, WriteArgs, change

SUPERVISE = "supervise"
REPLY_TOKENS = 5_000
MOST_NAMES = 5
LONGEST_MESSAGE, LONGEST_LINE, LONGEST_REASON = 3_000, 150, 500


class NotifyArgs(WriteArgs):
    # Some bounds are not in the schema, which is paid for in every session, but checked all the same.
    channels: list[str]
    message: str = Field(max_length=LONGEST_MESSAGE)
    environment: str
    severity: Literal["critical", "high", "medium", "low", "info"] | None = None
    title: str = ""
    thread: str = ""
    dry_run: bool = False
    idempotency_key: str | None = None
    reason: str = ""

    @field_validator("channels")
    @classmethod
    def _are_few(cls, given: list[str]) -> list[str]:
        if not 1 <= len(given) <= MOST_NAMES:
            raise ValueError(f"must be 1 to {MOST_NAMES} names")
        return given

    @field_validator("message")
    @classmethod
    def _says_something(cls, given: str) -> str:
        if not given.strip():
            raise ValueError("must not be empty")
        return given

    @field_validator("title", "thread")
    @classmethod
    def _is_a_line(cls, given: str) -> str:
        if len(given) > LONGEST_LINE or not given.isprintable():
            raise ValueError(f"must be one line of printable text, at most {LONGEST_LINE} characters")
        return given

    @field_validator("idempotency_key")
    @classmethod
    def _is_a_key(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"[!-~]{1,128}", given):
            raise ValueError("must be 1 to 128 printable characters without spaces")
        return given

    @field_validator("reason")
    @classmethod
    def _is_short(cls, given: str) -> str:
        if len(given) > LONGEST_REASON:
            raise ValueError(f"must have at most {LONGEST_REASON} characters")
        return given

    def target(self) -> Target:
        return Target(environment=self.environment)


class ToldView(Result):
    """`outside` is the channel's own name for the message. What is `waiting` is still tried; `unknown` may have arrived."""

    channel: str
    state: Literal["waiting", "delivered", "dead", "unknown"]
    outside: str = ""
    trouble: str = ""


class Notified(Result):
    """`outcome` is ok where every channel has it, partial where some will not have it, failed where none will. A dry run has
    `plan` and `verdict`."""

    dry_run: bool = False
    id: str = ""
    outcome: Literal["ok", "partial", "failed", "waiting"] | None = None
    channels: list[ToldView] = []
    warnings: list[str] = []
    plan: PlanView | None = None
    verdict: VerdictView | None = None


async def finished(committed: Committed, ops: Ops) -> Notified:
    """Waits a moment for the delivery, and says where it stands."""
    from ops_mcp.tools.supervise import telling

    return await telling.finished(committed, ops)


def planned(plan: Plan, verdict: Verdict) -> Notified:
    """The result of a dry run."""
    from ops_mcp.answers import planned as planned_change

    found = planned_change(plan, verdict)
    return Notified(dry_run=True, warnings=list(plan.warnings), plan=found.plan, verdict=found.verdict)


@change(
    toolset=SUPERVISE, title="Tell people", reply_tokens=REPLY_TOKENS, result=Notified, finish=finished, planned=planned,
    alters_runtime=False, follows=True,
)  # fmt: skip
async def notify(args: NotifyArgs, ops: Ops) -> Plan:
    """Tell people on named channels or routes."""
    from ops_mcp.tools.supervise import telling

    return await telling.plan(args, ops)
