"""The life of a deployment as data: which event leads from which state to which, and which states are final."""

from collections.abc import Mapping
from enum import StrEnum

from ops_mcp.domain.releases import DeploymentState
from ops_mcp.errors import Conflict

S = DeploymentState


class Event(StrEnum):
    """What can happen to a deployment."""

    withdrawn = "withdrawn"
    begun = "begun"
    released = "released"
    applied = "applied"
    act_failed = "act_failed"
    act_stopped = "act_stopped"
    verified = "verified"
    watched = "watched"
    newer_release = "newer_release"
    undo_begun = "undo_begun"
    restored = "restored"
    stopped = "stopped"
    undone_on_request = "undone_on_request"
    undo_failed = "undo_failed"
    lost_sight = "lost_sight"


FINAL: frozenset[DeploymentState] = frozenset(
    {S.healthy, S.superseded, S.rolled_back, S.down, S.failed, S.cancelled, S.unknown, S.applied}
)

HOLDS_LOCK: frozenset[DeploymentState] = frozenset({S.queued, S.releasing, S.verifying, S.undoing})
"""States in which a deployment keeps others away from its service and environment."""

TRANSITIONS: Mapping[tuple[DeploymentState, Event], DeploymentState] = {
    (S.queued, Event.withdrawn): S.cancelled,
    (S.queued, Event.begun): S.releasing,
    (S.releasing, Event.released): S.verifying,
    (S.releasing, Event.applied): S.applied,
    (S.releasing, Event.act_failed): S.failed,
    (S.releasing, Event.act_stopped): S.cancelled,
    (S.verifying, Event.verified): S.watching,
    (S.watching, Event.watched): S.healthy,
    (S.watching, Event.newer_release): S.superseded,
    (S.releasing, Event.undo_begun): S.undoing,
    (S.verifying, Event.undo_begun): S.undoing,
    (S.watching, Event.undo_begun): S.undoing,
    (S.undoing, Event.restored): S.rolled_back,
    (S.undoing, Event.stopped): S.down,
    (S.undoing, Event.undone_on_request): S.cancelled,
    (S.undoing, Event.undo_failed): S.failed,
    (S.queued, Event.lost_sight): S.unknown,
    (S.releasing, Event.lost_sight): S.unknown,
    (S.verifying, Event.lost_sight): S.unknown,
    (S.watching, Event.lost_sight): S.unknown,
    (S.undoing, Event.lost_sight): S.unknown,
}


def advance(state: DeploymentState, event: Event) -> DeploymentState:
    """The state after `event`. Raises `Conflict` naming the events that are possible instead."""
    after = TRANSITIONS.get((state, event))
    if after is not None:
        return after
    possible = sorted(e.value for s, e in TRANSITIONS if s is state)
    raise Conflict(
        f"A deployment that is {state.value} cannot become {event.value}.",
        hint=f"Possible now: {', '.join(possible)}." if possible else f"{state.value} is final; start a new deployment.",
    )


def is_final(state: DeploymentState) -> bool:
    return state in FINAL
