"""The simulated Railway itself: what it must do like the real one, and that it runs by itself."""

import importlib.util
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from ops_mcp.domain.releases import Presence
from sandbox.railway import houses
from sandbox.railway.answering import OWN, read_schema
from sandbox.railway.app import PATH, Railway
from sandbox.railway.clock import Hourglass, real
from sandbox.railway.world import Behaviour, Printed
from tests.providers.railway.house import START, V1, V2, bound, configured, house, provider_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


async def ask(railway: Railway, query: str, variables: dict[str, Any], *, token: str = houses.STAGING_TOKEN) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(railway.app), base_url="http://simulated") as client:
        headers = {"project-access-token": token}
        return await client.post(PATH, json={"query": query, "variables": variables}, headers=headers)


def simulated(**given: Any) -> tuple[Railway, Hourglass]:
    time = Hourglass(START)
    world = houses.world(time.clock)
    world.any_commit = True
    return Railway(world, OWN, **given), time


async def test_logs_come_ascending_and_one_more_than_was_asked_for() -> None:
    railway, time = simulated()
    railway.world.commits[V1] = Behaviour(fate="stuck")
    made = railway.world.deploy(railway.world.instances[houses.WEB, houses.STAGING], V1)
    made.lines = [Printed(START + timedelta(seconds=n), f"line {n}") for n in range(10)]
    time.pass_by(60)
    query = "query($id: String!) { deploymentLogs(deploymentId: $id, limit: 3) { message timestamp } }"
    told = (await ask(railway, query, {"id": made.id})).json()["data"]["deploymentLogs"]
    assert [line["message"] for line in told] == ["line 6", "line 7", "line 8", "line 9"]
    assert told[0]["timestamp"].endswith("000000000Z")


async def test_a_document_that_the_schema_does_not_know_fails_as_it_really_would() -> None:
    railway, _ = simulated()
    wrong = "mutation($id: String!) { deploymentRollback(id: $id) { id status } }"
    answer = await ask(railway, wrong, {"id": "x"})
    assert answer.status_code == 200
    assert "must not have a selection" in answer.json()["errors"][0]["message"]


async def test_the_hours_budget_is_told_counted_and_refused_until_it_begins_anew() -> None:
    railway, time = simulated(hourly=2)
    query = "{ projectToken { projectId } }"
    first = await ask(railway, query, {})
    assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("2", "1")
    await ask(railway, query, {})
    refused = await ask(railway, query, {})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3601")
    time.pass_by(3601)
    assert (await ask(railway, query, {})).status_code == 200
    assert railway.budget.most_in_an_hour() == 3


async def test_what_is_foreign_and_what_is_missing_get_the_same_answer() -> None:
    railway, _ = simulated()
    foreign = railway.world.deploy(railway.world.instances[houses.FOREIGN_WEB, houses.FOREIGN], V1)
    query = "query($id: String!) { deployment(id: $id) { id } }"
    for id in (foreign.id, "deployment-none"):
        answer = (await ask(railway, query, {"id": id})).json()
        assert answer["errors"][0]["message"] == "Not Authorized"


def test_a_schema_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Give the published one"):
        read_schema(tmp_path / "none.graphql")


def test_the_program_says_why_it_cannot_run_without_its_schema(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox.railway", "--schema", str(tmp_path / "none.graphql")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "There is no schema at" in ran.stderr


@pytest.mark.slow
async def test_a_release_that_is_served_on_loopback_answers_a_real_probe(tmp_path: Path) -> None:
    """The simulator as a process of its own, asked over a real socket, at twenty times the speed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sandbox.railway", "--port", str(port), "--speed", "40", "--schema", str(OWN)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        async with httpx2.AsyncClient(trust_env=False) as client:
            await _listening(port, process)
            here = house(tmp_path)
            config = configured(tmp_path, api=f"http://127.0.0.1:{port}{PATH}", subscribe=True)
            fast = FastTime(40)
            provider = provider_of(config, fast, httpx2.AsyncHTTPTransport(trust_env=False))  # type: ignore[arg-type]
            here.time.now = fast.clock()
            found = await provider.deploy(here.placement(1, V1, binding=bound()), replaces=None, tell=here.told)
            assert found.presence is Presence.running
            assert found.url == f"http://127.0.0.1:{port}/served/{houses.WEB}/{houses.STAGING}"
            answer = await client.get(found.url + "/health")
            assert (answer.status_code, answer.json()["commit"]) == (200, V1)
            await provider.stop(here.placement(1, V2, handle=found.handle))
            assert (await client.get(found.url + "/health")).status_code == 404
            told = (await client.get(f"http://127.0.0.1:{port}/simulator")).json()
            assert told["deeds"] == ["deploy 111111111111 in shop-staging", f"stop {found.handle}"]
            assert told["asked"] == told["most_in_an_hour"] <= 60
            assert told["sockets"] >= (1 if importlib.util.find_spec("wsproto") else 0)
            await provider.aclose()
    finally:
        process.terminate()
        process.wait(10)


class FastTime:
    """The simulator's time, as far as another process can know it."""

    def __init__(self, speed: float) -> None:
        self.clock = real(speed)
        self.speed = speed

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / self.speed)


async def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    with anyio.fail_after(30):
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert process.poll() is None
            await anyio.sleep(0.05)
