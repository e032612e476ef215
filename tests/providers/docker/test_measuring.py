"""Counters of an engine, by cgroups of both versions, and events of the last ten minutes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ops_mcp.providers.docker.answers import Stats
from ops_mcp.providers.docker.looking import _recent
from ops_mcp.providers.docker.measuring import Pair, cores_used, memory_used, samples
from ops_mcp.providers.docker.observing import Recent
from tests.providers.docker.fake_engine import FakeEngine

AT = datetime(2026, 11, 24, tzinfo=UTC)


def stats(*, own: int = 0, system: int = 0, online: int = 2, memory: dict[str, Any] | None = None) -> Stats:
    cpu = {"cpu_usage": {"total_usage": own}, "system_cpu_usage": system, "online_cpus": online}
    return Stats.model_validate({"cpu_stats": cpu, "memory_stats": memory or {}, "pids_stats": {"current": 3}, "name": "/x"})


@pytest.mark.parametrize(
    ("before", "after", "cores"),
    [
        ((0, 0), (500, 1000), 1.0),
        ((100, 1000), (100, 2000), 0.0),
        ((0, 0), (1000, 1000), 2.0),
        ((500, 1000), (100, 2000), None),
        ((0, 1000), (100, 1000), None),
    ],
)
def test_processors_used_are_the_share_of_the_systems_time(
    before: tuple[int, int], after: tuple[int, int], cores: float | None
) -> None:
    pair = Pair(stats(own=before[0], system=before[1]), stats(own=after[0], system=after[1]))
    assert cores_used(pair) == cores


@pytest.mark.parametrize(
    ("memory", "used"),
    [
        ({"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 1}}, 70),
        ({"usage": 100, "stats": {"inactive_file": 40}}, 60),
        ({"usage": 100, "stats": None}, 100),
        ({"usage": 100, "stats": {"inactive_file": 400}}, 0),
        ({}, 0),
    ],
)
def test_memory_leaves_out_the_file_cache_that_can_go(memory: dict[str, Any], used: int) -> None:
    assert memory_used(stats(memory=memory)) == used


def test_replicas_are_added_up_and_what_cannot_be_told_is_left_out() -> None:
    memory = {"usage": 100, "limit": 500}
    pair = Pair(stats(own=0, system=0), stats(own=250, system=1000, memory=memory))
    found = {one.name: one.value for one in samples([pair, pair], at=AT)}
    assert found == {
        "memory_bytes": 200,
        "memory_limit_bytes": 1000,
        "pids": 6,
        "replicas": 2,
        "cpu_cores": 1.0,
        "cpu_percent": 100.0,
    }
    still = Pair(stats(), stats())
    assert "cpu_cores" not in {one.name for one in samples([pair, still], at=AT)}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("actions", "recent"),
    [
        ([], Recent()),
        (["die", "die", "die"], Recent(ends=3)),
        (["die", "stop", "die", "stop"], Recent(ends=0, stopped=True)),
        (["die", "stop", "die"], Recent(ends=1)),
        (["oom", "die", "oom"], Recent(ends=1, out_of_memory=2)),
        (["stop"], Recent(ends=0, stopped=True)),
    ],
)
async def test_ends_that_were_asked_for_are_not_counted(actions: list[str], recent: Recent) -> None:
    fake = FakeEngine().on("GET", "/events", lines=[{"Type": "container", "Action": action} for action in actions])
    assert await _recent(fake.engine(), "dep_1", AT) == recent
    asked = fake.asked[-1][2]
    assert float(asked["until"]) - float(asked["since"]) == 600


@pytest.mark.anyio
async def test_an_engine_that_tells_no_events_can_still_be_looked_at() -> None:
    assert await _recent(FakeEngine().engine(), "dep_1", AT) == Recent()
