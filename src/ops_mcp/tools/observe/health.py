"""The health of what should run: everything in an environment, or one thing with its probes."""

from collections.abc import Sequence
from datetime import datetime

from ops_mcp.answers import count_that_fits
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.errors import NotFound, Unavailable
from ops_mcp.observing import ProbeState, ServiceHealth
from ops_mcp.ports import Ops
from ops_mcp.tool import Args, EnvironmentArg, Result, ServiceArg, Target, read

REPLY_TOKENS = 8000
_FOR_THE_REST = 500
_LONGEST_EVIDENCE = 300
_NAMES_TOLD = 20


class HealthArgs(Args):
    service: ServiceArg | None = None
    environment: EnvironmentArg | None = None

    def target(self) -> Target:
        return Target(environment=self.environment)


class ProbeView(Result):
    """One probe: what it last found, and how many times in a row it failed."""

    name: str
    kind: str
    state: str
    since: datetime | None = None
    checked_at: datetime | None = None
    latency_ms: float | None = None
    evidence: str
    failures: int | None = None
    flapping: bool | None = None


class HealthView(Result):
    """One thing. `explained_by` is the dependency whose trouble explains this one's; `availability` is that of 24 hours."""

    service: str
    environment: str
    state: str
    expected: str
    since: datetime | None = None
    evidence: str
    flapping: bool | None = None
    depends_on: list[str] | None = None
    explained_by: str | None = None
    last_change: str | None = None
    availability: float | None = None
    probes: list[ProbeView] | None = None


class HealthShown(Result):
    """The worst first. `counts` has all of them; `cut` says that not all fitted below."""

    counts: dict[str, int]
    services: list[HealthView]
    cut: bool = False
    trouble: str = ""


@read(toolset="observe", title="Health", reply_tokens=REPLY_TOKENS, answers_when_down=True)
async def health(args: HealthArgs, ops: Ops) -> HealthShown:
    """What should run and how it is, worst first: since when, evidence, last change, explaining dependency; of one its probes."""
    seen = [name for name in ops.visible() if args.environment in (None, name)]
    if ops.trouble and not seen:
        return HealthShown(counts={}, services=[], trouble=f"{ops.trouble} Nobody can be told apart now, so nothing is shown.")
    try:
        found = await ops.sights.health.of(seen, ServiceName(args.service) if args.service else None)
        still = await ops.sights.health.standstill()
    except Unavailable as down:
        return HealthShown(counts={}, services=[], trouble=f"No health can be told. {down.message}")
    if args.service is not None and not found:
        raise _nothing_of_the_name(args.service, await ops.sights.health.of(seen))
    views = [_view(one, with_probes=args.service is not None) for one in found]
    fits = count_that_fits(iter(views), REPLY_TOKENS - _FOR_THE_REST)
    counts = {state: n for state in ("unhealthy", "degraded", "unknown", "healthy") if (n := _count(found, state))}
    return HealthShown(counts=counts, services=views[:fits], cut=fits < len(views), trouble=ops.trouble or still)


def _count(found: Sequence[ServiceHealth], state: str) -> int:
    return sum(one.state == state for one in found)


def _nothing_of_the_name(service: str, others: Sequence[ServiceHealth]) -> NotFound:
    names = sorted({one.service for one in others})
    more = ", ..." if len(names) > _NAMES_TOLD else ""
    hint = f"There are: {', '.join(names[:_NAMES_TOLD])}{more}." if names else "The inventory is empty."
    return NotFound(f"The inventory has no {service} there.", hint=hint)


def _view(one: ServiceHealth, *, with_probes: bool) -> HealthView:
    return HealthView(
        service=one.service,
        environment=EnvironmentName(one.environment),
        state=one.state.value,
        expected=one.expected,
        since=one.since,
        evidence=one.evidence[:_LONGEST_EVIDENCE],
        flapping=one.flapping or None,
        depends_on=list(one.depends_on) or None,
        explained_by=one.explained_by or None,
        last_change=one.last_change or None,
        availability=one.availability,
        probes=[_probe(probe) for probe in one.probes] if with_probes else None,
    )


def _probe(probe: ProbeState) -> ProbeView:
    return ProbeView(
        name=probe.name,
        kind=probe.kind,
        state=probe.state.value,
        since=probe.since,
        checked_at=probe.checked_at,
        latency_ms=probe.latency_ms,
        evidence=probe.evidence[:_LONGEST_EVIDENCE],
        failures=probe.failures or None,
        flapping=probe.flapping or None,
    )
