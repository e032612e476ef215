"""What an agent says of its task, the line that keeps it until it is stored, and what the server answers. Pure values."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, NamedTuple, cast

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, ValidationError

from ops_mcp.domain.tasks import ArtifactKind, CheckpointStatus, ContextLevel, TaskState
from ops_mcp.errors import Problem
from ops_mcp.values import JsonObject, Value

log = logging.getLogger(__name__)

LOCAL = "local_"
"""How the name of a task begins that the server does not know yet."""
NAME = r"^(task_[0-9a-z]{8,40}|local_[0-9a-f]{28})$"
_LONGEST_ACTION, _LONGEST_WORDS = 2_000, 4_096
FINAL = (CheckpointStatus.error, CheckpointStatus.complete, CheckpointStatus.cancelled)


def _shortened(action: str) -> str:
    """An action as the server takes it: too long is no reason to lose it."""
    return action if len(action) <= _LONGEST_ACTION else action[: _LONGEST_ACTION - 1] + "…"


def _words(text: str) -> str:
    return text if len(text) <= _LONGEST_WORDS else text[: _LONGEST_WORDS - 1] + "…"


Words = Annotated[str, AfterValidator(_words)]


class MadeArtifact(Value):
    """Something the task made. The server takes https URLs only, and at most 64 KB of content."""

    kind: ArtifactKind = ArtifactKind.other
    name: str = Field(min_length=1, max_length=300)
    url: str = Field(default="", max_length=2_000)
    content: str = Field(default="", max_length=65_536)


class AgentCheckpoint(Value):
    """One report on a task. `tokens_used` is a total, `tokens_delta` adds to it; only one of them. `state` is what a restarted
    agent wants to find again. `force` has it posted at once."""

    action: Annotated[str, Field(min_length=1), AfterValidator(_shortened)]
    status: CheckpointStatus = CheckpointStatus.checkpoint
    progress: int | None = Field(default=None, ge=0, le=100)
    tokens_used: int | None = Field(default=None, ge=0)
    tokens_delta: int | None = Field(default=None, ge=0)
    reason: str = Field(default="", max_length=500)
    error: Words = ""
    result: Words = ""
    retry: bool = False
    force: bool = False
    hand_to: str | None = None
    approval: str | None = None
    artifacts: tuple[MadeArtifact, ...] = Field(default=(), max_length=20)
    state: JsonObject | None = None

    def arguments(self) -> JsonObject:
        """The arguments of the tool `checkpoint`, without the task."""
        said = self.model_dump(mode="json", exclude_defaults=True, exclude={"approval"})
        said |= {"action": self.action, "status": self.status.value}
        if self.approval:
            said["about"] = {"approval": self.approval}
        return cast(JsonObject, said)


def lenient(action: str, said: Mapping[str, object]) -> AgentCheckpoint:
    """A checkpoint from whatever was said. What cannot be meant is left out with a log line: it is no reason to break a job."""
    given = {name: value for name, value in said.items() if value is not None}
    action = action.strip() or "…"
    try:
        return AgentCheckpoint.model_validate({"action": action, **given})
    except ValidationError as error:
        wrong = {str(found["loc"][0]): found["msg"] for found in error.errors(include_input=False, include_url=False)}
        for name, words in wrong.items():
            log.warning("A checkpoint was sent without its %s: %s", name, words)
        return AgentCheckpoint.model_validate({"action": action, **{n: v for n, v in given.items() if n not in wrong}})


class Line(Value):
    """One checkpoint as it lies in the spool. `key` makes it arrive once, however often it is sent; `opens` begins its task."""

    key: str
    at: datetime
    opens: bool = False
    arguments: JsonObject

    @property
    def is_final(self) -> bool:
        return self.arguments.get("status") in FINAL


class Receipt(Value):
    """What came of a checkpoint. One that is not `stored` yet is `spooled` and sent later; `problem` says why, or why not."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    task: str
    stored: bool = True
    spooled: bool = False
    problem: Problem | None = None
    state: TaskState | None = None
    status: CheckpointStatus | None = None
    number: int = 0
    progress: int = 0
    context: ContextLevel = ContextLevel.none
    context_percent: float = 0
    advice: str = ""
    warnings: tuple[str, ...] = ()
    posted: str = ""
    cancel_requested: bool = False
    cancel_by: str = ""
    cancel_reason: str = Field(default="", validation_alias=AliasChoices("untrusted_cancel_reason", "cancel_reason"))


class Accepted(NamedTuple):
    """The server has it."""

    receipt: Receipt


class Refused(NamedTuple):
    """The server will never take it."""

    problem: Problem


class Later(NamedTuple):
    """It is not known to be stored: to be sent again. `busy`: another process is sending the same task's lines."""

    problem: Problem
    busy: bool = False
