"""One look at whether a container answers as its binding wants, before it takes over from another. The caller judges for good."""

from ops_mcp.domain.places import CommandProbe, HttpProbe, TcpProbe
from ops_mcp.domain.releases import ProbeResult
from ops_mcp.errors import OpsError
from ops_mcp.ports import Clock
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.executing import execute
from ops_mcp.providers.docker.ground import Ground
from ops_mcp.providers.docker.observing import url_of
from ops_mcp.providers.docker.switching import ProbeOnce


def prober(ground: Ground, clock: Clock) -> ProbeOnce:
    """Asks by the binding's own probe. A connection alone says nothing here: the engine's proxy accepts it for the container."""

    async def probe(ours: Ours) -> ProbeResult | None:
        wanted = ground.binding.health.probe
        match wanted:
            case HttpProbe():
                url = url_of(ours, ground.endpoint.address)
                if url is None:
                    return None
                evidence, healthy = await _asked(url + wanted.path, wanted)
                return ProbeResult(healthy=healthy, at=clock(), evidence=evidence)
            case CommandProbe():
                return await _executed(ground, ours, wanted, clock)
            case TcpProbe():
                return None

    return probe


async def _executed(ground: Ground, ours: Ours, wanted: CommandProbe, clock: Clock) -> ProbeResult:
    try:
        return await execute(ground.engine, ours, wanted, at=clock())
    except OpsError as error:
        return ProbeResult(healthy=False, at=clock(), evidence=error.message)


async def _asked(url: str, wanted: HttpProbe) -> tuple[str, bool]:
    import httpx2  # 60 ms, and only who deploys needs it

    client = httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=False, timeout=wanted.timeout_seconds)
    try:
        async with client, client.stream("GET", url, headers={"connection": "close"}) as response:
            return f"HTTP {response.status_code}", response.status_code in wanted.status
    except httpx2.HTTPError as error:
        return f"no HTTP answer: {type(error).__name__}", False
