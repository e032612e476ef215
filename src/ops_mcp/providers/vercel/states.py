"""What the state of a Vercel deployment means: READY alone is not live. Pure.

States and fields are those of Vercel's published specification: readyState, readySubstate, aliasAssigned, aliasError,
checksState, checksConclusion. Values are added to it without notice, so each unknown one has a meaning here, too.
"""

from enum import StrEnum
from typing import NamedTuple

from ops_mcp.domain.releases import Presence
from ops_mcp.providers.vercel.answers import Deployed
from ops_mcp.providers.vercel.options import PRODUCTION, Options


class Phase(StrEnum):
    """Where a deployment is on its way. The last five do not change by themselves; `staged` and `up` can still be moved."""

    waiting = "waiting"
    blocked = "blocked"
    building = "building"
    checking = "checking"
    assigning = "assigning"
    rolling = "rolling"
    unknown = "unknown"
    staged = "staged"
    up = "up"
    failed = "failed"
    cancelled = "cancelled"
    deleted = "deleted"


UNBUILT = (Phase.waiting, Phase.blocked, Phase.building)
"""Nothing of it can be served yet, and it can be cancelled."""
UNDECIDED = (*UNBUILT, Phase.checking, Phase.assigning, Phase.rolling, Phase.unknown)
BUILT = (Phase.checking, Phase.assigning, Phase.rolling, Phase.staged, Phase.up)

_BY_STATE = {
    "QUEUED": Phase.waiting,
    "INITIALIZING": Phase.waiting,
    "BUILDING": Phase.building,
    "BLOCKED": Phase.blocked,
    "ERROR": Phase.failed,
    "CANCELED": Phase.cancelled,
    "DELETED": Phase.deleted,
}
_WORDS = {
    Phase.waiting: "Vercel has queued it.",
    Phase.building: "Vercel builds it.",
    Phase.checking: "It is built; its checks are running, and no domain is assigned before they pass.",
    Phase.assigning: "It is built; its domains are not assigned yet.",
    Phase.rolling: "Vercel shifts production's traffic to it by stages.",
    Phase.unknown: "Vercel reports a state that is not known here.",
    Phase.staged: "STAGED: built for production, and on none of its domains.",
    Phase.up: "It is ready.",
    Phase.cancelled: "Its build was cancelled.",
    Phase.deleted: "It was deleted at Vercel.",
}
_PRESENCE = {
    Phase.staged: Presence.running,
    Phase.up: Presence.running,
    Phase.failed: Presence.exited,
    Phase.cancelled: Presence.exited,
    Phase.deleted: Presence.absent,
    Phase.unknown: Presence.unknown,
}


def phase_of(found: Deployed) -> Phase:
    """Where it is. A READY deployment whose checks run, or whose domains are not assigned, is not up."""
    if found.state != "READY":
        return _BY_STATE.get(found.state, Phase.unknown)
    if found.checks in ("registered", "running"):
        return Phase.checking
    if found.alias_error is not None or (found.checked in ("failed", "canceled") and not found.assigned):
        return Phase.failed
    if found.substate == "STAGED":
        return Phase.staged
    if found.substate == "ROLLING":
        return Phase.rolling
    return Phase.up if found.assigned else Phase.assigning


def presence_of(phase: Phase) -> Presence:
    """What a phase says of a deployment that nothing else has to point to."""
    return _PRESENCE.get(phase, Presence.building)


def described(found: Deployed, phase: Phase) -> str:
    """The phase in words, for progress and details; only words of ours and codes of Vercel's."""
    if phase is Phase.failed:
        return failure(found).what
    if phase is Phase.blocked:
        return f"BLOCKED{_coded(found.blocked)}: Vercel waits until somebody there approves it or gives its author a seat."
    return _WORDS[phase]


class Failure(NamedTuple):
    """What went wrong with a deployment, and what to do about it."""

    what: str
    hint: str


def failure(found: Deployed) -> Failure:
    """Why it will not be served. Vercel's own words may quote the build, so only its codes are repeated."""
    if found.state == "READY" and found.alias_error is not None:
        return Failure(
            f"It was built, and its domains could not be assigned{_coded(found.alias_error)}.",
            "Look at the project's domains at Vercel; what served before still serves.",
        )
    if found.state == "READY":
        return Failure(
            f"It was built, and its checks ended {found.checked}; Vercel assigns no domain to it.",
            "Look at the checks at Vercel, mend the release or re-run them there, and deploy again.",
        )
    step = f" in step {found.error_step}" if found.error_step else ""
    return Failure(
        f"The build failed{step}{_coded(found.error_code)}.",
        "Mend the build; its last lines are in details. What served before still serves.",
    )


def is_meant_for(found: Deployed, options: Options) -> bool:
    """Whether Vercel took it for the target that was asked for. It can infer another one from a branch."""
    if PRODUCTION in (options.target, found.target):
        return found.target == options.target
    return not found.custom or options.target in found.custom


def _coded(word: str | None) -> str:
    return f" ({word})" if word else ""
