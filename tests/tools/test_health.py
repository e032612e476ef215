"""Health through the one path: what should run, how it is, what explains it, and what nobody can tell."""

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.deploying.standing import UNASKED, after
from ops_mcp.domain.identity import Credential, Level
from ops_mcp.domain.inventory import RELEASE, Found, HealthState, digest_of, name_of
from ops_mcp.domain.outcomes import Done, Failed, Outcome, Refused
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.domain.releases import DeploymentState
from ops_mcp.errors import Code, NotConfigured, Problem
from ops_mcp.operations.loop import Rhythm, work
from ops_mcp.operations.parts import Reins
from ops_mcp.startup import open_app
from ops_mcp.store import health as rows
from ops_mcp.store import leases
from ops_mcp.store.health import Asking, ProbeKey, Stored
from ops_mcp.values import Json, digest
from ops_mcp.worker import claim_of, desk_of
from tests.house import NOBODY, House, house
from tests.operations.probes.servers import paused, redis_server

pytestmark = pytest.mark.anyio

STATES = {"h": HealthState.healthy, "d": HealthState.degraded, "u": HealthState.unhealthy}


def done(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done), outcome
    return outcome.result


def problem(outcome: Outcome) -> Problem:
    assert isinstance(outcome, Refused | Failed), outcome
    return outcome.problem


def write(tmp_path: Path, **files: str) -> None:
    """Inventory files by their names."""
    folder = tmp_path / "config" / "inventory"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)


CACHE = """
[staging]
[[staging.probes]]
kind = "redis"
host = "10.0.0.5"
"""
SITE = """
[staging]
depends_on = ["cache", "web"]
[[staging.probes]]
kind = "http"
url = "https://shop.test/"
[[staging.probes]]
name = "login"
kind = "tcp"
host = "shop.test"
port = 22
"""


async def find(home: House, service: str, probe: str, findings: str) -> None:
    """Let a probe of staging find this, one finding every 30 s, the last one now."""
    thing = next(t for t in home.config.inventory if (t.service, t.environment) == (service, "staging"))
    asked = {name_of(one): (one.kind, digest_of(one)) for one in thing.probes}
    kind, question = asked.get(probe, (RELEASE, digest({})))
    standing = UNASKED
    key = ProbeKey(EnvironmentName("staging"), ServiceName(service), probe)
    for number, sign in enumerate(findings):
        at = home.now[0] - timedelta(seconds=30 * (len(findings) - 1 - number))
        found, before = Found(STATES[sign], f"found {sign}", 12.5), standing
        standing = after(before, found, at=at, pace=thing.pace)
        asking = Asking(Stored(key, kind, question, standing), before, found, at)
        await home.database.write(lambda tx, asking=asking: rows.put(tx, asking))


async def told(home: House, agent: Credential, **asked: Json) -> dict[str, Any]:
    return done(await home.call(agent, "health", **asked))


async def one(home: House, agent: Credential, service: str) -> dict[str, Any]:
    (found,) = (await told(home, agent, service=service, environment="staging"))["services"]
    return found


async def test_what_was_never_probed_or_deployed_is_unknown_and_never_healthy(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE, mail="[staging]\n")
    async with house(tmp_path) as home:
        found = await told(home, await home.agent(), environment="staging")
    assert found["counts"] == {"unknown": 5}
    assert {s["service"]: s["evidence"] for s in found["services"]} == {
        "cache": "redis: not asked yet",
        "docs": "nothing was ever deployed here",
        "hello": "nothing was ever deployed here",
        "mail": "no probe is configured",
        "web": "nothing was ever deployed here",
    }


async def test_the_worst_comes_first_with_since_evidence_last_change_and_what_explains_it(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE, site=SITE)
    async with house(tmp_path) as home:
        agent = await home.agent()
        await find(home, "cache", "redis", "hhuuu")
        await find(home, "site", "http", "hhhuu")
        await find(home, "site", "login", "h")
        deployed = done(await home.call(agent, "deploy", service="web", environment="staging"))["deployment"]["id"]
        found = await told(home, agent, environment="staging")
        assert found["counts"] == {"unhealthy": 2, "unknown": 2, "healthy": 1}
        cache, site, web = [next(s for s in found["services"] if s["service"] == name) for name in ("cache", "site", "web")]
        assert [s["service"] for s in found["services"]] == ["cache", "site", "docs", "hello", "web"]
    assert cache == {
        "service": "cache",
        "environment": "staging",
        "state": "unhealthy",
        "expected": "running",
        "since": "2026-11-20T12:09:30Z",
        "evidence": "redis: found u",
        "last_change": "redis: healthy to unhealthy at 2026-11-20T12:09:30Z",
        "availability": 0.4,
    }
    assert (site["explained_by"], site["depends_on"], site["evidence"]) == ("cache", ["cache", "web"], "http: found u")
    assert (web["state"], web["evidence"]) == ("healthy", f"deployment: {deployed} is healthy")
    assert web["last_change"] == f"deploy {deployed} (healthy) at 2026-11-20T12:10:00Z"


async def test_one_thing_is_shown_with_each_of_its_probes(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE, site=SITE)
    async with house(tmp_path) as home:
        await find(home, "site", "http", "hhu")
        site = await one(home, await home.agent(), "site")
    assert site["state"] == "unknown"  # the other one was never asked
    assert site["probes"] == [
        {
            "name": "http",
            "kind": "http",
            "state": "healthy",
            "since": "2026-11-20T12:09:00Z",
            "checked_at": "2026-11-20T12:10:00Z",
            "latency_ms": 12.5,
            "evidence": "found u",
            "failures": 1,
        },
        {"name": "login", "kind": "tcp", "state": "unknown", "evidence": "not asked yet"},
    ]


async def test_what_was_found_too_long_ago_says_nothing_about_now(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE)
    async with house(tmp_path) as home:
        agent = await home.agent()
        await find(home, "cache", "redis", "h")
        done(await home.call(agent, "deploy", service="web", environment="staging"))
        home.advance(seconds=100)
        late = await one(home, agent, "cache")
        assert (late["state"], late["evidence"]) == ("healthy", "redis: found h (late: asked 100 s ago)")
        home.advance(seconds=25)
        found = {s["service"]: s for s in (await told(home, agent, environment="staging"))["services"]}
    assert (found["cache"]["state"], found["web"]["state"]) == ("unknown", "unknown")
    assert found["cache"]["evidence"] == "redis: last asked 125 s ago, which says nothing about now"


async def test_what_another_question_found_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE)
    async with house(tmp_path) as home:
        agent = await home.agent()
        await find(home, "cache", "redis", "hh")
    write(tmp_path, cache=CACHE.replace("10.0.0.5", "10.0.0.6"))
    async with house(tmp_path) as home:
        assert (await one(home, agent, "cache"))["evidence"] == "redis: not asked yet"


async def test_a_deployment_that_failed_is_unhealthy_whatever_an_old_look_said(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        home.finish[0] = DeploymentState.down
        await home.call(agent, "deploy", service="web", environment="staging")
        await find(home, "web", RELEASE, "hh")
        web = await one(home, agent, "web")
    assert web["state"] == "unhealthy"
    assert web["evidence"].endswith("ended as down")


async def test_a_bound_service_may_be_given_probes_and_dependencies_by_a_file_of_its_name(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE, web=CACHE.replace("[staging]\n", '[staging]\ndepends_on = ["cache"]\n', 1))
    async with house(tmp_path) as home:
        agent = await home.agent()
        done(await home.call(agent, "deploy", service="web", environment="staging"))
        await find(home, "cache", "redis", "huu")
        await find(home, "web", "redis", "hdd")
        await find(home, "web", RELEASE, "hh")
        web = await one(home, agent, "web")
    assert (web["state"], web["explained_by"], web["evidence"]) == ("degraded", "cache", "redis: found d")
    assert [(p["name"], p["kind"]) for p in web["probes"]] == [("release", "release"), ("redis", "redis")]


async def test_what_should_be_stopped_and_answers_is_degraded(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE.replace("[staging]\n", '[staging]\nexpected = "stopped"\n', 1))
    async with house(tmp_path) as home:
        agent = await home.agent()
        await find(home, "cache", "redis", "h")
        cache = await one(home, agent, "cache")
        assert (cache["state"], cache["evidence"]) == ("degraded", "redis: it answers, and should be stopped: found h")
        await find(home, "cache", "redis", "huu")
        assert (await one(home, agent, "cache"))["state"] == "healthy"


async def test_a_name_that_the_inventory_lacks_is_not_found_and_the_names_it_has_are_told(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE)
    async with house(tmp_path) as home:
        said = problem(await home.call(await home.agent(), "health", service="cash", environment="staging"))
    assert said.code is Code.not_found
    assert said.hint == "There are: cache, docs, hello, web."


async def test_a_private_environment_is_not_shown_to_those_who_may_not_read_it(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE.replace("staging", "production"))
    async with house(tmp_path) as home:
        agent, prod = await home.agent(), await home.agent("bob", ceiling=Level.prod)
        for caller in (agent, NOBODY):
            assert {s["environment"] for s in (await told(home, caller))["services"]} <= {"sandbox", "staging"}
            assert problem(await home.call(caller, "health", service="cache")).code is Code.not_found
            assert problem(await home.call(caller, "health", environment="production")).code is Code.not_permitted
        assert {s["environment"] for s in (await told(home, prod))["services"]} == {"sandbox", "staging", "production"}


async def test_an_inventory_of_hundreds_is_cut_to_its_bound_with_the_worst_kept(tmp_path: Path) -> None:
    write(tmp_path, **{f"cache-{n}": CACHE for n in range(400)})
    async with house(tmp_path) as home:
        await find(home, "cache-399", "redis", "uu")
        found = await told(home, await home.agent(), environment="staging")
    assert found["cut"]
    assert found["services"][0]["service"] == "cache-399"
    assert found["counts"] == {"unhealthy": 1, "unknown": 402}


async def test_health_still_answers_and_says_so_when_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE, prod=CACHE.replace("staging", "production"))
    async with house(tmp_path, ledger={"lock_seconds": 0.5, "free_space_floor_bytes": 0}) as home:
        agent = await home.agent()
        await find(home, "cache", "redis", "huu")
        with closing(sqlite3.connect(home.database.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for asked in ({}, {"environment": "staging"}, {"service": "cache"}, {"environment": "production"}):
                found = await told(home, agent, **asked)
                assert "another process holds the database." in found["trouble"]
                assert "nothing is shown" in found["trouble"]
                assert (found["counts"], found["services"]) == ({}, [])
            assert isinstance(await home.call(agent, "services"), Refused)


async def test_health_answers_too_when_the_database_cannot_even_be_read(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        config, clock = home.config, home.app.clock
    shutil.copy(Path(__file__), config.database_path)  # no database any more
    for beside in ("-wal", "-shm"):
        Path(f"{config.database_path}{beside}").unlink(missing_ok=True)
    async with open_app(config, wake_worker=lambda: None, clock=clock) as opened:
        found = await told(House(opened, home.place, home.operator_key, home.now, []), agent)
    assert (found["services"], found["counts"]) == ([], {})
    assert "corrupt" in found["trouble"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[staging]\nexpected = 'perhaps'\n", "expected"),
        ("[staging]\nprobes = [{kind = 'ftp'}]\n", "probes"),
        ("[staging]\nprobes = [{kind = 'http', url = 'http://a:secret@b/'}]\n", "the url holds a password"),
        ("[staging]\nprobes = [{kind = 'http', url = 'http://a:99999/'}]\n", "url"),
        ("[staging]\nprobes = [{kind = 'tcp', host = 'a', port = 1}, {kind = 'tcp', host = 'b', port = 1}]\n", "its own name"),
        ("[staging]\nprobes = [{kind = 'tcp', host = 'a', port = 1, name = 'release'}]\n", "its own name"),
        ("[staging]\nshell = 'rm'\n", "shell"),
        ("staging = 1\n", "no table"),
        ("not toml", "cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_with_its_name_and_field(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, cache=text)
    with pytest.raises(NotConfigured) as caught:
        async with house(tmp_path):
            pass
    assert "cache.toml" in caught.value.message
    assert says in caught.value.message


async def test_an_edit_of_the_inventory_is_taken_up_and_an_unusable_one_keeps_the_last_good(tmp_path: Path) -> None:
    write(tmp_path, cache=CACHE)
    async with house(tmp_path) as home:
        config = home.config
    async with open_app(config, wake_worker=lambda: None, look_seconds=0) as opened:
        world = opened.app.world
        assert [t.service for t in world().config.declared] == ["cache"]
        assert world() is world()
        write(tmp_path, queue=CACHE)
        assert [t.service for t in world().config.declared] == ["cache", "queue"]
        write(tmp_path, queue="broken")
        assert [t.service for t in world().config.declared] == ["cache", "queue"]
        (tmp_path / "config" / "inventory" / "queue.toml").unlink()
        assert [t.service for t in world().config.declared] == ["cache"]


@pytest.mark.slow
async def test_a_real_worker_finds_that_a_real_redis_falls_silent_dies_and_comes_back(tmp_path: Path) -> None:
    pace = "interval_seconds = 1\nrecheck_seconds = 1\n"
    probe = '[[staging.probes]]\nkind = "redis"\ntimeout_seconds = 0.5\nlatency_ms = 400\n'
    with redis_server() as (port, process):
        write(tmp_path, cache=f"[staging]\n{pace}{probe}port = {port}\n")
        async with house(tmp_path) as home:
            agent = await home.agent()
            reins = Reins()
            async with anyio.create_task_group() as group:
                group.start_soon(_tick, home)
                desk = desk_of(home.opened, Rhythm(idle_seconds=1))
                group.start_soon(work, desk, reins)
                assert (await _until(home, agent, "healthy"))["evidence"] == "redis: PONG"
                with paused(process.pid):
                    silent = await _until(home, agent, "unhealthy")
                    assert silent["evidence"] == "redis: it accepts connections and is silent: no answer within 0.5 s"
                await _until(home, agent, "healthy")
                process.kill()
                process.wait()
                dead = await _until(home, agent, "unhealthy", says="refuses")
                assert dead["evidence"] == "redis: it refuses connections"
                staging = EnvironmentName("staging")
                listed = await home.app.sights.metrics.source(staging).listed(staging)
                assert {"probe_success", "probe_duration_seconds"} <= {metric.name for metric in listed}
                group.cancel_scope.cancel()


async def _tick(home: House) -> None:
    """Let the house's clock go with the real one."""
    while True:
        await anyio.sleep(0.05)
        home.advance(seconds=0.05)


async def _until(home: House, agent: Credential, state: str, *, says: str = "") -> dict[str, Any]:
    with anyio.fail_after(20):
        while True:
            cache = await one(home, agent, "cache")
            if cache["state"] == state and says in cache["evidence"]:
                return cache
            await anyio.sleep(0.1)


async def test_where_no_worker_is_at_work_health_and_alerts_say_that_they_stand_still(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        tools = ("health", "alerts", "alert_rules")
        assert [done(await home.call(agent, tool))["trouble"] for tool in tools] == ["", "", ""]
        rule = {"name": "Down", "environment": "staging", "expression": "probe_success == 0"}
        assert isinstance(await home.call(agent, "alert_rule_set", **rule), Done)
        for tool in tools:
            assert done(await home.call(agent, tool))["trouble"].startswith("No worker is at work yet: nothing is probed")
        claim, at = claim_of(home.config), home.now[0]
        await home.database.write(lambda tx: leases.take(tx, claim, at=at, seconds=15))
        assert [done(await home.call(agent, tool))["trouble"] for tool in tools] == ["", "", ""]
        home.advance(seconds=16)
        for tool in tools:
            told = done(await home.call(agent, tool))["trouble"]
            assert told.startswith(f"No worker is at work since {at + timedelta(seconds=15):%Y-%m-%d %H:%M:%S} UTC"), told
