"""What people are told of tasks, and when. Pure: the words, the pace, and the notice that carries them."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.domain.tasks import Artifact, CheckpointStatus, ContextLevel, Posting, Task, TaskState
from ops_mcp.supervising.settings import SuperviseTerms

LOOKS = {
    CheckpointStatus.starting: ("🚀", "#0099ff"),
    CheckpointStatus.planning: ("🧠", "#9933ff"),
    CheckpointStatus.working: ("⚙️", "#00cc00"),
    CheckpointStatus.checkpoint: ("📍", "#ffcc00"),
    CheckpointStatus.waiting_approval: ("⏳", "#ff9900"),
    CheckpointStatus.blocked: ("🚧", "#ff6600"),
    CheckpointStatus.error: ("❌", "#ff0000"),
    CheckpointStatus.complete: ("✅", "#00cc00"),
    CheckpointStatus.cancelled: ("🛑", "#808080"),
}
"""Emoji and colour of each status."""

FORCED_SECONDS = 1.0
"""Before a post that is forced, and before one that says again what was urgent already: no agent floods a channel with those."""

_BAR_CELLS = 10
_LONGEST_STEP = 50


class When(StrEnum):
    """What becomes of the telling of one checkpoint."""

    now = "now"
    later = "later"
    none = "none"


class Pace(NamedTuple):
    """Whether to post, and if not, when the newest withheld checkpoint is due."""

    when: When
    due_at: datetime | None = None


def pace(status: CheckpointStatus, posted: Posting, terms: SuperviseTerms, *, force: bool, crossed: bool, at: datetime) -> Pace:
    """What is newly urgent at once; what is forced, urgent still or a context level just reached within a second; others no
    closer together than the operator wants."""
    if not terms.channel:
        return Pace(When.none)
    if posted.at is None or _is_newly_urgent(status, posted.status):
        return Pace(When.now)
    quick = force or crossed or status.is_urgent
    due = posted.at + timedelta(seconds=min(FORCED_SECONDS, terms.min_interval_seconds) if quick else terms.min_interval_seconds)
    if at >= due or at < posted.at:  # a clock set back must not silence a task
        return Pace(When.now)
    return Pace(When.later, due)


def _is_newly_urgent(status: CheckpointStatus, told: CheckpointStatus | None) -> bool:
    """Once a task's trouble was told, only another end of it is news."""
    if told is None or not told.is_urgent:
        return status.is_urgent
    return status.is_final and status is not told


def title(task: Task) -> str:
    """`🚀 Agent `ada` – STARTING`; a stalled task says so."""
    emoji = LOOKS[task.status][0]
    if task.state is TaskState.stalled:
        return f"💤 Agent `{_in_code(task.agent)}` – STALLED"
    return f"{emoji} Agent `{_in_code(task.agent)}` – {task.status.value.upper()}"


def lines(task: Task, artifacts: tuple[Artifact, ...] = ()) -> str:
    """All that is known of a task, in the order in which people read it. What agents wrote is in it: a channel quotes it."""
    said = [f"Task: {_line(task.name)}", f"Progress: {bar(task.progress)}"]
    if task.repo:
        said.append(f"Repo: {_line(task.repo)}")
    said.append(f"Context: {context(task)}")
    said.append(f"Last Action: {_line(task.action)}")
    said.append(f"Elapsed: {elapsed(task.elapsed_seconds)}")
    if task.parent:
        said.append(f"Part of: {task.parent}")
    if task.handed_from and task.handed_to:
        said.append(f"Handed: {task.handed_from} → {task.handed_to}")
    for label, text in (("Reason", task.reason), ("Error", task.error), ("Result", task.result)):
        if text:
            said.append(f"{label}: {text}")
    if task.cancel_by:
        said.append(f"Cancel requested by {task.cancel_by}" + (f": {task.cancel_reason}" if task.cancel_reason else ""))
    if len(task.steps) > 1:
        said.append("Steps: " + " → ".join(_short(step) for step in task.steps))
    said += [f"• {a.kind.value}: {_line(a.name)}" + (f" {a.url}" if a.url else "") for a in artifacts]
    return "\n".join(said)


def bar(progress: int) -> str:
    """`▓▓▓▓▓░░░░░ 50%`."""
    full = progress * _BAR_CELLS // 100
    return "▓" * full + "░" * (_BAR_CELLS - full) + f" {progress}%"


def context(task: Task) -> str:
    """`150,000 / 200,000 (75.0%)`, with a warning from 70 % on."""
    share = task.tokens_used / task.token_limit * 100
    mark = {ContextLevel.none: "", ContextLevel.warn: " ⚠️ over 70 %", ContextLevel.critical: " 🔴 over 85 %"}[task.context]
    return f"{task.tokens_used:,} / {task.token_limit:,} ({share:.1f}%){mark}"


def elapsed(seconds: float) -> str:
    """`59s`, `1m 1s`, `1h 1m`."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    return f"{whole // 3600}h {whole % 3600 // 60}m"


def _line(text: str) -> str:
    """One line, whatever an agent wrote: it must not forge the next one."""
    return " ".join(text.split())


def _short(step: str) -> str:
    flat = _line(step)
    return flat if len(flat) <= _LONGEST_STEP else flat[: _LONGEST_STEP - 1] + "…"


def _in_code(name: str) -> str:
    return name.replace("`", "'")
