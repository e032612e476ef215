"""Whether a port accepts connections."""

from dataclasses import dataclass

from ops_mcp.domain.inventory import Found, TcpAsked
from ops_mcp.operations.probes.reaching import Means, Seen, judged_by_latency, reach, unanswered


@dataclass(slots=True)
class TcpSeen(Seen):
    """Nothing besides that it was reached."""


async def ask(probe: TcpAsked, _means: Means, seen: TcpSeen) -> None:
    async with await reach(probe.host, probe.port, seen):
        pass


def verdict(probe: TcpAsked, seen: TcpSeen) -> Found:
    return unanswered(seen, probe.timeout_seconds) or judged_by_latency(seen, probe.latency_ms, "it accepts connections")
