"""The simulator as a process of its own on a loopback port: the provider's real clock and connections, and sites that answer."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Placement, Presence, Release
from ops_mcp.errors import ProviderError
from ops_mcp.operations.probing import prober
from ops_mcp.providers._outside import Outside
from ops_mcp.providers.vercel.logs import Listening
from ops_mcp.providers.vercel.options import HOSTS, KIND, Settings
from ops_mcp.providers.vercel.place import Vercel
from ops_mcp.values import Json, Secret
from tests.providers.local.fakes import free_port

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
ONE, TWO = "1" * 40, "2" * 40


@contextmanager
def served(port: int) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "sandbox.vercel",
        "--port",
        str(port),
        "--token",
        "the-token",
        "--domain",
        f"localhost:{port}",
    ]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "answers on" in process.stdout.readline()
            yield
        finally:
            process.send_signal(signal.SIGKILL)


@dataclass
class Here:
    port: int
    vercel: Vercel
    control: httpx2.AsyncClient

    def placed(self, sha: str, name: str, **options: Json) -> Placement:
        given: dict[str, Json] = {"project": "web", "target": "production", **options}
        binding = Binding.model_validate({"service": "web", "environment": "production", "provider": KIND, "options": given})
        release = Release(content=Content(identity=sha, ref="main"), binding=binding)
        return Placement(deployment=DeploymentId(name), release=release, asked_at=datetime.now(UTC))


async def unheard(doing: str, *, handle: str = "") -> None:
    """Nobody is told."""


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncGenerator[Here]:
    port = free_port()
    with served(port):
        url = f"http://127.0.0.1:{port}"
        settings = Settings.model_validate({"api": url, "tokens": {"production": "token"}, "team": "acme"})
        vercel = Vercel(
            settings=settings,
            outside=Outside(KIND, url, HOSTS, lambda: datetime.now(UTC)),
            secret=lambda _: Secret("the-token"),
            clock=lambda: datetime.now(UTC),
            sleep=anyio.sleep,
            state_dir=tmp_path,
            allowed_refs=("refs/heads/*",),
            listening=Listening(quiet_seconds=0.5),
        )
        async with httpx2.AsyncClient(base_url=url) as control:
            with anyio.fail_after(20):
                while True:
                    try:
                        await control.get("/_sandbox/seen")
                        break
                    except httpx2.TransportError:
                        await anyio.sleep(0.05)
            yield Here(port, vercel, control)
        await vercel.aclose()


async def test_a_site_is_deployed_probed_and_rolled_back_over_real_connections(here: Here) -> None:
    await here.control.post("/_sandbox/commits", json={"sha": TWO, "outcome": {"site": "errors"}})
    first, second = here.placed(ONE, "dep_1"), here.placed(TWO, "dep_2")
    probe = prober(lambda: datetime.now(UTC))
    good = await here.vercel.deploy(first, replaces=None, tell=unheard)
    assert good.url == f"http://127.0.0.1:{here.port}/_sites/{good.handle}"
    assert (await probe(first, here.vercel, good)).healthy
    bad = await here.vercel.deploy(second, replaces=first, tell=unheard)
    result = await probe(second, here.vercel, bad)
    assert (result.healthy, result.evidence) == (False, "HTTP 500")
    first = first.evolve(handle=good.handle)
    back = await here.vercel.rollback(first, restores=first, ends=second.evolve(handle=bad.handle), tell=unheard)
    assert (await probe(first, here.vercel, back)).healthy
    page = await here.vercel.logs(second.evolve(handle=bad.handle), LogQuery(severity="error"))
    assert [line.text for line in page.items] == ["GET /health 500 Unhandled error"]
    told = (await here.control.get("/_sandbox/world")).json()
    assert told["projects"]["web"]["history"] == [good.handle, bad.handle, good.handle]


async def test_a_domain_of_production_is_asked_by_its_name(here: Here) -> None:
    placement = here.placed(ONE, "dep_1", domain=f"localhost:{here.port}")
    observed = await here.vercel.deploy(placement, replaces=None, tell=unheard)
    assert observed.url == f"http://localhost:{here.port}"
    assert (await here.control.get("/", headers={"host": f"localhost:{here.port}"})).json()["deployment"] == observed.handle


async def test_a_connection_that_is_reset_or_cut_short_makes_nothing_twice(here: Here) -> None:
    for kind in ("reset", "truncated"):
        await here.control.post("/_sandbox/faults", json={"operation": "createDeployment", "kind": kind, "after": True})
        name = f"dep_{kind}"
        observed = await here.vercel.deploy(here.placed(ONE, name), replaces=None, tell=unheard)
        told = (await here.control.get("/_sandbox/world")).json()["deployments"]
        assert [d["id"] for d in told if d["meta"].get("opsMcpDeployment") == name] == [observed.handle]


async def test_a_time_out_is_a_temporary_failure(here: Here) -> None:
    here.vercel.outside.client().timeout = httpx2.Timeout(0.5)
    await here.control.post("/_sandbox/faults", json={"operation": "getProject", "kind": "timeout"})
    placement = here.placed(ONE, "dep_1")
    with pytest.raises(ProviderError, match="in time") as caught:
        await here.vercel.status(placement)
    assert caught.value.temporary
    assert (await here.vercel.status(placement)).presence is Presence.absent
    seen = (await here.control.get("/_sandbox/seen")).json()
    assert seen["operations"]["getProject"]["requests"] == 2
