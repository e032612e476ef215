"""The plan of a message to people, and what came of it. Loaded when the first one is sent."""

from collections.abc import Sequence
from typing import Literal

import anyio

from ops_mcp.channels._parsing import terms_of
from ops_mcp.domain.notices import Told
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.releases import Plan, PostNotice
from ops_mcp.errors import NotConfigured, NotFound
from ops_mcp.governance.pacing import ChannelTerms
from ops_mcp.governance.recipients import recipients
from ops_mcp.ports import Ops
from ops_mcp.targets import asked_by
from ops_mcp.tool import Committed
from ops_mcp.tools.supervise.notify import Notified, NotifyArgs, ToldView

_LOOK_SECONDS = 0.1
_OPEN = frozenset({"waiting", "claimed"})


async def plan(args: NotifyArgs, ops: Ops) -> Plan:
    """Exactly what is sent where."""
    settings = ops.config.settings
    asked = asked_by(args, ops)
    severity = args.severity or "info"
    found = recipients(args.channels, severity, args.environment, _channels(ops), settings.routes)
    untrusted = "\n\n".join(ops.redact(text) for text in (args.title.strip(), args.message) if text)
    write = PostNotice(
        channels=found.channels,
        severity=severity,
        title=f"[{severity.upper()}] {asked.agent} in {args.environment}",
        text=f"A message from the agent {asked.agent}.",
        untrusted=untrusted,
        thread=f"notify {asked.agent} {ops.redact(args.thread)}" if args.thread else "",
    )
    named = ", ".join(found.channels)
    return Plan(
        tool=asked.tool,
        agent=asked.agent,
        environment=EnvironmentName(args.environment),
        arguments=asked.arguments,
        summary=f"Tell {named}: a message of severity {severity} about {args.environment}.",
        content=f"To: {named}\n{write.title}\n{write.text}\n\n{write.untrusted}",
        warnings=found.notes,
        writes=(write,),
        ceiling=asked.ceiling,
    )


async def finished(committed: Committed, ops: Ops) -> Notified:
    """Where the message stands in each channel, once it stands still or a moment has passed."""
    if committed.applied is None or not committed.applied.written:
        raise NotFound("The first call with this key told nobody.", hint="Use a new key.")
    id = committed.applied.written[0].id
    until = anyio.current_time() + ops.config.settings.telling.wait_seconds
    found = await ops.sights.notices.told(id)
    while any(one.state in _OPEN for one in found) and anyio.current_time() < until:
        await anyio.sleep(_LOOK_SECONDS)
        found = await ops.sights.notices.told(id)
    return Notified(
        id=id,
        outcome=outcome([one.state for one in found]),
        channels=[_view(one, ops) for one in found],
        warnings=list(committed.applied.warnings),
    )


def outcome(states: Sequence[str]) -> Literal["ok", "partial", "failed", "waiting"]:
    """How it stands as a whole. Delivered ones are forgotten after a week: with nothing left, it was ok."""
    lost = sum(state in ("dead", "unknown") for state in states)
    if lost:
        return "failed" if lost == len(states) else "partial"
    return "waiting" if any(state in _OPEN for state in states) else "ok"


def _view(one: Told, ops: Ops) -> ToldView:
    match one.state:
        case "delivered" | "dead" | "unknown":
            state: Literal["waiting", "delivered", "dead", "unknown"] = one.state
        case _:
            state = "waiting"
    return ToldView(channel=one.channel, state=state, outside=one.outside, trouble=ops.redact(one.trouble))


def _channels(ops: Ops) -> dict[str, ChannelTerms]:
    """What the operator says of each channel; one whose table cannot be used is left to `doctor`, and to nobody else."""
    found: dict[str, ChannelTerms] = {}
    for name, table in ops.config.settings.channels.items():
        try:
            found[name] = terms_of(name, table)
        except NotConfigured:
            continue
    return found
