"""What a deployment's status at Railway means here. A status that is new to this page is `unknown`, and no error."""

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

from ops_mcp.domain.releases import DeploymentId, Observed, Presence, Usage
from ops_mcp.governance.redaction import plain
from ops_mcp.providers.railway.answers import Deployed
from ops_mcp.providers.railway.options import Options

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Phase(StrEnum):
    """Where a deployment is in its life. `ended` is what the pages call Completed: SUCCESS with every instance stopped."""

    making = "making"
    blocked = "blocked"
    live = "live"
    asleep = "asleep"
    ended = "ended"
    failed = "failed"
    crashed = "crashed"
    skipped = "skipped"
    leaving = "leaving"
    gone = "gone"
    unknown = "unknown"


MAKING = frozenset({Phase.making, Phase.blocked})
SERVING = frozenset({Phase.live, Phase.asleep})

_PHASES: Mapping[str, Phase] = {
    "INITIALIZING": Phase.making,
    "QUEUED": Phase.making,
    "WAITING": Phase.making,
    "BUILDING": Phase.making,
    "DEPLOYING": Phase.making,
    "NEEDS_APPROVAL": Phase.blocked,
    "SUCCESS": Phase.live,
    "SLEEPING": Phase.asleep,
    "FAILED": Phase.failed,
    "CRASHED": Phase.crashed,
    "SKIPPED": Phase.skipped,
    "REMOVING": Phase.leaving,
    "REMOVED": Phase.gone,
}

_PRESENCES: Mapping[Phase, tuple[Presence, str]] = {
    Phase.making: (Presence.building, ""),
    Phase.blocked: (Presence.building, "it waits for an approval at Railway"),
    Phase.live: (Presence.running, ""),
    Phase.asleep: (Presence.running, "it sleeps, and wakes when it is asked"),
    Phase.ended: (Presence.exited, "every instance has stopped"),
    Phase.failed: (Presence.exited, "its build or its health check at Railway failed"),
    Phase.crashed: (Presence.exited, "it crashed, and Railway restarts it no more"),
    Phase.skipped: (Presence.absent, "Railway skipped it"),
    Phase.leaving: (Presence.exited, "Railway is removing it"),
    Phase.gone: (Presence.absent, "Railway has removed it"),
    Phase.unknown: (Presence.unknown, "Railway calls it something that is not known here"),
}


def phase_of(found: Deployed) -> Phase:
    phase = _PHASES.get(found.status, Phase.unknown)
    return Phase.ended if phase is Phase.live and found.deployment_stopped else phase


def observed(found: Deployed, *, deployment: DeploymentId, options: Options, loopback: bool, usage: Usage) -> Observed:
    """What was found, in our words. `loopback` says that the API itself is on this machine, and its services may be, too."""
    phase = phase_of(found)
    presence, detail = _PRESENCES[phase]
    if phase is Phase.unknown:
        detail = f"{detail}: {plain(found.status, 40)}"
    codes = {instance.status for instance in found.instances}
    return Observed(
        deployment=deployment,
        presence=presence,
        exit_code=0 if phase is Phase.ended and codes == {"EXITED"} else None,
        since=found.created_at,
        url=_address(found, options, loopback=loopback) if presence in (Presence.running, Presence.unknown) else None,
        handle=found.id,
        usage=usage,
        detail=detail,
    )


def _address(found: Deployed, options: Options, *, loopback: bool) -> str | None:
    """Where the service answers. Railway tells hosts without a scheme; nothing but https leaves this machine."""
    named = options.domain or found.static_url or found.url
    if not named:
        return None
    parts = urlsplit(named if "://" in named else f"//{named}")
    host = parts.hostname or ""
    if host in _LOOPBACK:
        return f"http://{parts.netloc}{parts.path}" if loopback else None
    return f"https://{parts.netloc}{parts.path}" if host else None
