"""An alert from its beginning to its end, and a rule with where it stands: what is stored, for whoever looks."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.muting import Acknowledgement
from ops_mcp.alerting.rules import Rule


class LifeState(StrEnum):
    """`pending` has not fired: its rule's `for` is not over."""

    pending = "pending"
    firing = "firing"
    resolved = "resolved"


class Life(NamedTuple):
    """One time that an alert began. `rule` is empty where no rule has or claims it; `acknowledgement` is that of this firing.

    `alert.starts_at` is the moment it fired, and that it began while it is pending.
    """

    id: str
    rule: str
    alert: Alert
    state: LifeState
    pending_at: datetime
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    acknowledgement: Acknowledgement | None = None
    false_positive: bool = False

    def in_hand(self, at: datetime) -> Acknowledgement | None:
        """The acknowledgement, while it holds."""
        known = self.acknowledgement
        return known if known is not None and known.covers(self.alert, at) else None


class LifeEvent(NamedTuple):
    """One line of an alert's history. `actor` is an agent, `operator:NAME`, `source:NAME`, or `rules` for the evaluation."""

    at: datetime
    event: str
    actor: str
    detail: str = ""


class Standing(NamedTuple):
    """A stored rule. `digest` names exactly this content; `state` is None before its first evaluation."""

    rule: Rule
    digest: str
    set_by: str
    set_at: datetime
    evaluated_at: datetime | None = None
    pending: int = 0
    firing: int = 0
    error: str = ""

    @property
    def state(self) -> str | None:
        if self.evaluated_at is None and not (self.firing or self.pending):
            return None
        return "firing" if self.firing else "pending" if self.pending else "inactive"
