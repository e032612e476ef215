"""Asking a release whether it is healthy: over HTTP, by a connection, or by a command. The answer's body is never read."""

from urllib.parse import urlsplit

import anyio

from ops_mcp.domain.places import CommandProbe, HttpProbe, TcpProbe
from ops_mcp.domain.releases import Observed, Placement, ProbeResult, Release
from ops_mcp.errors import OpsError
from ops_mcp.operations.parts import Probe
from ops_mcp.ports import Clock, Provider, RunsCommands

LOOPBACK = "127.0.0.1"


def prober(clock: Clock) -> Probe:
    """The probe that the worker uses."""

    async def probe(placement: Placement, provider: Provider, observed: Observed) -> ProbeResult:
        wanted = placement.release.binding.health.probe
        began = anyio.current_time()
        try:
            with anyio.fail_after(wanted.timeout_seconds):
                healthy, evidence = await _asked(placement, provider, observed)
        except TimeoutError:
            healthy, evidence = False, f"no answer within {wanted.timeout_seconds:g} s"
        except OSError as error:
            healthy, evidence = False, f"no connection: {type(error).__name__}"
        except OpsError as error:
            healthy, evidence = False, error.message
        took = round((anyio.current_time() - began) * 1000, 1)
        return ProbeResult(healthy=healthy, at=clock(), latency_ms=took, evidence=evidence)

    return probe


async def _asked(placement: Placement, provider: Provider, observed: Observed) -> tuple[bool, str]:
    wanted = placement.release.binding.health.probe
    match wanted:
        case HttpProbe():
            base = _base(placement.release, observed)
            return await _http(base.rstrip("/") + wanted.path, wanted) if base else (False, "it has no port or address to ask")
        case TcpProbe():
            base = _base(placement.release, observed)
            return await _connected(base) if base else (False, "it has no port or address to ask")
        case CommandProbe():
            if not isinstance(provider, RunsCommands):
                return False, f"the {provider.kind} provider runs no command probes"
            result = await provider.probe_command(placement, wanted)
            return result.healthy, result.evidence


async def _http(url: str, wanted: HttpProbe) -> tuple[bool, str]:
    import httpx2  # 60 ms, and only the process that probes needs it

    # Proxies of the environment are not for us, and certificates are not loaded for plain HTTP. A redirect is an answer like
    # any other: following it would ask somebody else.
    client = httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=url.startswith("https:"), timeout=None)
    try:
        async with client, client.stream("GET", url, headers={"connection": "close"}) as response:
            return response.status_code in wanted.status, f"HTTP {response.status_code}"
    except httpx2.TransportError as error:
        return False, f"no HTTP answer: {type(error).__name__}"


async def _connected(base: str) -> tuple[bool, str]:
    parts = urlsplit(base)
    stream = await anyio.connect_tcp(parts.hostname or LOOPBACK, parts.port or 80)
    await stream.aclose()
    return True, "it accepts connections"


def _base(release: Release, observed: Observed) -> str | None:
    """Where it answers: as the provider says, else on the port of its binding."""
    if observed.url:
        return observed.url
    port = release.binding.options.get("port")
    return f"http://{LOOPBACK}:{port}" if isinstance(port, int) else None
