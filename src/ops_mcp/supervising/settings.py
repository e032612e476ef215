"""The operator's settings of supervision: tasks, where they are told, and when people are left alone."""

from typing import NamedTuple

from pydantic import Field

from ops_mcp.domain.tasks import Report
from ops_mcp.values import Value


class SuperviseTerms(Value):
    """`channel` is the channel (of `[channels]`) where tasks have their threads; empty tells nobody. Between two posts of a task
    lie `min_interval_seconds` (0 is no throttle). A task is stalled after `stalled_intervals` times `interval_seconds` without a
    checkpoint."""

    channel: str = ""
    min_interval_seconds: float = Field(default=30, ge=0, le=3600)
    interval_seconds: float = Field(default=300, ge=10, le=86_400)
    stalled_intervals: int = Field(default=3, ge=1, le=100)
    token_limit: int = Field(default=200_000, ge=1_000, le=100_000_000)
    keep_days: int = Field(default=90, ge=1, le=3650)


class Keep(NamedTuple):
    """A report to be kept, and the terms that hold for it."""

    report: Report
    terms: SuperviseTerms

    @property
    def needs_worker(self) -> bool:
        """Whether somebody has to be there to tell people now. What may wait is left to the worker that an open task keeps."""
        return bool(self.terms.channel) and (self.report.opens or self.report.force or self.report.status.is_urgent)


class SlackTerms(Value):
    """How people in Slack reach ops-mcp. `signing_secret` and `app_token` name secrets (`ops-mcp secret set`); without the first
    the routes are not served, without the second there is no Socket Mode. `approvals` is the channel (of `[channels]`) where
    requests for approval are posted."""

    signing_secret: str = Field(default="", max_length=63)
    app_token: str = Field(default="", max_length=63)
    socket_mode: bool = False
    approvals: str = Field(default="", max_length=63)
    api: str = Field(default="https://slack.com/api/", max_length=200)
