"""Three real servers on one PostgreSQL: one is killed in the middle, or PostgreSQL is; what was promised once happens once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.operations.probes.servers import free_port
from tests.postgres.team import SECONDS, Said, Server, Team, team

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

SETTINGS = """\
[guard]
enabled = false
[budgets.everyone]
[budgets.work]
[rates]
read = {per_minute = 1000000, burst = 100000}
change = {per_minute = 1000000, burst = 100000}
[ledger]
free_space_floor_bytes = 0
"""


async def spend(team: Team, happens: dict[int, Callable[[], None]], seen: Counter[str], number: int) -> None:
    """Read until the budget is spent, at whichever server answers; `happens` is done once so many answers were seen."""
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        turn = number
        while True:
            said = await team.call(http, team.servers[turn % len(team.servers)], "ada", "services")
            seen[said.code] += 1
            if said.code == "over_budget":
                return
            if said.code != "done":
                turn += 1
            if (act := happens.pop(seen["done"], None)) is not None:
                await anyio.to_thread.run_sync(act)


async def test_three_servers_spend_exactly_what_a_budget_holds_whoever_dies(tmp_path: Path) -> None:
    with team(tmp_path) as ours:
        ours.prepare(f"[budgets.read]\ncalls_per_day = 300\ncalls_per_hour = 100000\n{SETTINGS}", ("ada", "staging"))
        for state in ("first", "second", "third"):
            ours.serve(state)
        seen: Counter[str] = Counter()
        happens: dict[int, Callable[[], None]] = {80: ours.servers[2].kill, 160: ours.restart}
        with anyio.fail_after(120):
            async with anyio.create_task_group() as group:
                for number in range(12):
                    group.start_soon(spend, ours, happens, seen, number)
        assert happens == {}
        admitted = await ours.fetch("SELECT COUNT(*) FROM ledger WHERE caller = 'ada' AND kind = 'call.admitted'")
        spent = await ours.fetch("SELECT calls FROM spend WHERE scope = 'ada:sandbox:read' AND length(win) = 10")
        assert (admitted, spent) == ([(300,)], [(300,)])
        assert 300 - seen["lost"] - seen["unavailable"] <= seen["done"] <= 300
        assert set(seen) <= {"done", "lost", "over_budget", "unavailable"}
        assert ours.ops("db", "check")["whole"]
        assert ours.ops("audit", "verify")["verdict"] == "IntactUpTo"


BINDING = """\
[sandbox]
provider = "local"
options = {{ source = "sample", port = {port}, grace_seconds = 2 }}
health = {{ verify_seconds = 4, watch_seconds = 1, interval_seconds = 0.3 }}
"""


def bind(team: Team) -> int:
    port = free_port()
    services = team.folder / "config" / "services"
    services.mkdir(exist_ok=True)
    (services / "hello.toml").write_text(BINDING.format(port=port), encoding="utf-8")
    return port


async def deploy_everywhere(team: Team, times: int, **arguments: Any) -> list[Said]:
    """The same deployment at every server so many times, all at once."""
    said: list[Said] = []
    async with httpx2.AsyncClient(timeout=SECONDS, limits=httpx2.Limits(max_connections=100)) as http:

        async def one(server: Server) -> None:
            said.append(await team.call(http, server, "ada", "deploy", service="hello", environment="sandbox", **arguments))

        async with anyio.create_task_group() as group:
            for server in team.servers:
                for _ in range(times):
                    group.start_soon(one, server)
    return said


async def until_final(team: Team) -> list[tuple[str, str]]:
    """Every deployment with its state, once no operation is open."""
    with anyio.fail_after(SECONDS):
        while await team.fetch("SELECT 1 FROM operations WHERE final = 0 LIMIT 1"):
            await anyio.sleep(0.2)
    return await team.fetch("SELECT id, state FROM deployments ORDER BY id")


async def stopped(team: Team) -> None:
    """Nothing that was deployed outlives the test: servers end first, so that nobody brings it back."""
    from ops_mcp.config import load
    from ops_mcp.domain.identity import NoToken  # noqa: F401
    from ops_mcp.startup import open_app
    from tests.test_worker import EVERYTHING

    for server in team.servers:
        server.kill()
    config = load({}, config_dir=team.folder / "config", state_dir=team.folder / "first")
    async with open_app(config, wake_worker=lambda: None) as opened:
        for deployment in (await opened.app.deployments.page(EVERYTHING)).items:
            await opened.app.world().providers["local"].stop(deployment.placement)


async def test_a_key_and_a_grant_are_each_used_once_by_three_servers(tmp_path: Path) -> None:
    with team(tmp_path) as ours:
        asks = '[environments.sandbox]\ntier = "sandbox"\napproval = "always"\n'
        ours.prepare(SETTINGS + asks, ("ada", "staging"))
        bind(ours)
        for _ in range(3):
            ours.serve()
        try:
            with anyio.fail_after(150):
                asked = await deploy_everywhere(ours, 1)
                assert {said.code for said in asked} == {"needs_approval"}
                requests = await ours.fetch("SELECT id FROM approvals")
                assert len(requests) == 1
                await anyio.to_thread.run_sync(ours.ops, "approve", requests[0][0], "--yes")
                used = await deploy_everywhere(ours, 5, idempotency_key="release-1")
                ended = await until_final(ours)
            assert len(ended) == 1, (used, ended)
            assert await ours.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'approval.consumed'") == [(1,)]
            assert await ours.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'call.committed'") == [(1,)]
            assert {said.code for said in used} <= {"done", "in_progress", "timeout"}, Counter(said.code for said in used)
            assert ours.ops("audit", "verify")["verdict"] == "IntactUpTo"
        finally:
            await stopped(ours)


@pytest.mark.parametrize("dies", ["the server that works", "PostgreSQL"])
async def test_a_deployment_happens_once_or_is_said_to_be_unknown(tmp_path: Path, dies: str) -> None:
    with team(tmp_path) as ours:
        ours.prepare(SETTINGS, ("ada", "staging"))
        port = bind(ours)
        for _ in range(3):
            ours.serve()
        try:
            with anyio.fail_after(150):
                async with anyio.create_task_group() as group:
                    group.start_soon(_deploy_with_a_key, ours)
                    while not await ours.fetch("SELECT 1 FROM steps LIMIT 1"):
                        await anyio.sleep(0.02)
                    if dies == "PostgreSQL":
                        await anyio.to_thread.run_sync(ours.restart)
                    else:
                        await kill_who_works(ours)
                await _deploy_with_a_key(ours)
                ended = await until_final(ours)
            assert sum(server.process.poll() is None for server in ours.servers) == (3 if dies == "PostgreSQL" else 2)
            assert len(ended) == 1, ended
            assert ended[0][1] in {"healthy", "unknown", "rolled_back", "failed", "down"}
            starts = await ours.fetch("SELECT step, event FROM steps ORDER BY sequence")
            assert Counter(starts).most_common(1)[0][1] == 1 or ended[0][1] == "healthy", starts
            if ended[0][1] == "healthy":
                async with httpx2.AsyncClient(timeout=10) as http:
                    assert (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200
            assert await ours.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'call.committed'") == [(1,)]
            assert await ours.fetch("SELECT COUNT(*) FROM ledger WHERE kind = 'operation.settled'") == [(1,)]
            assert ours.ops("db", "check")["whole"]
            assert ours.ops("audit", "verify")["verdict"] == "IntactUpTo"
        finally:
            await stopped(ours)


async def _deploy_with_a_key(team: Team) -> None:
    """As a client that insists: with the same key at the next server, until one has answered."""
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        turn = 0
        while True:
            server = team.servers[turn % len(team.servers)]
            said = await team.call(
                http, server, "ada", "deploy", service="hello", environment="sandbox", idempotency_key="release-1"
            )
            if said.code not in {"lost", "unavailable"}:
                return
            turn += 1
            await anyio.sleep(0.2)


async def kill_who_works(team: Team) -> None:
    """SIGKILL for the server whose worker holds the lease."""
    holder = str((await team.fetch("SELECT holder FROM leases"))[0][0])
    (server,) = [one for one in team.servers if f"/{one.process.pid}/" in holder]
    server.kill()
