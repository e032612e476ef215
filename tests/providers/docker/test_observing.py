"""What an engine tells of containers, in our words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ops_mcp.domain.releases import DeploymentId, Observed, Presence
from ops_mcp.providers.docker.answers import Container, Listed
from ops_mcp.providers.docker.containers import Ours
from ops_mcp.providers.docker.marks import Marks
from ops_mcp.providers.docker.observing import Recent, observe
from ops_mcp.providers.docker.tidying import surplus

STARTED, NEVER = "2026-11-24T22:00:00.123456789Z", "0001-01-01T00:00:00Z"


def ours(replica: int = 1, *, port: str = "8000/tcp", published: str = "32768", restarts: int = 0, **state: Any) -> Ours:
    given = {"Status": "running", "StartedAt": STARTED, "FinishedAt": NEVER, **state}
    ports = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": published}] if published else None, "9000/tcp": None}
    container = Container.model_validate(
        {"Id": f"c{replica}", "State": given, "RestartCount": restarts, "NetworkSettings": {"Ports": ports}, "Extra": {"x": 1}}
    )
    return Ours(
        container, Marks(deployment="dep_1", group="dep_1", replica=replica, service="web", environment="staging", port=port)
    )


def seen(*found: Ours, replicas: int = 1, recent: Recent | None = None, address: str = "127.0.0.1") -> Observed:
    return observe(DeploymentId("dep_1"), "dep_1", found, replicas=replicas, address=address, recent=recent or Recent())


@pytest.mark.parametrize(
    ("state", "presence", "said"),
    [
        ({"Status": "running"}, Presence.running, ""),
        ({"Status": "paused"}, Presence.running, "paused"),
        ({"Status": "created", "StartedAt": NEVER}, Presence.building, "not started yet"),
        ({"Status": "exited", "ExitCode": 3}, Presence.exited, "exit code 3"),
        ({"Status": "dead", "ExitCode": 3}, Presence.exited, "exit code 3"),
        ({"Status": "restarting"}, Presence.exited, "again and again"),
        ({"Status": "levitating"}, Presence.unknown, "no state that is known"),
        ({"Status": ""}, Presence.unknown, "no state that is known"),
        ({"Status": "removing"}, Presence.absent, ""),
    ],
)
def test_every_state_and_any_unknown_one_has_a_presence(state: dict[str, Any], presence: Presence, said: str) -> None:
    observed = seen(ours(**state))
    assert observed.presence is presence
    assert said in observed.detail


@pytest.mark.parametrize(
    ("state", "signal", "said"),
    [
        ({"ExitCode": 0}, None, "exit code 0"),
        ({"ExitCode": 1}, None, "exit code 1"),
        ({"ExitCode": 143}, 15, "signal 15 (TERM)"),
        ({"ExitCode": 137}, 9, "signal 9 (KILL); the engine saw no want of memory"),
        ({"ExitCode": 137, "OOMKilled": True}, 9, "out of memory"),
        ({"ExitCode": 139}, 11, "signal 11 (SEGV)"),
        ({"ExitCode": 255}, None, "exit code 255"),
        ({"ExitCode": 127, "Error": "exec: not found"}, None, "could not start it"),
        ({"ExitCode": 128, "Error": "port taken"}, None, "could not start it"),
    ],
)
def test_exit_codes_signals_and_memory_are_told_apart(state: dict[str, Any], signal: int | None, said: str) -> None:
    observed = seen(ours(Status="exited", FinishedAt="2026-11-24T23:00:00Z", **state))
    assert (observed.exit_code, observed.signal) == (state["ExitCode"], signal)
    assert said in observed.detail
    assert observed.since == datetime(2026, 11, 24, 23, tzinfo=UTC)
    assert observed.url is None


def test_short_lives_repeated_ends_and_stops_are_told_apart() -> None:
    quick = ours(Status="exited", ExitCode=1, FinishedAt="2026-11-24T22:00:02.623456789Z")
    assert "it lived for 2.5 s" in seen(quick).detail
    assert "it ended 4 times in 10 minutes" in seen(quick, recent=Recent(ends=4)).detail
    assert "it was stopped" in seen(quick, recent=Recent(ends=4, stopped=True)).detail
    assert "for want of memory, 2 times" in seen(ours(), recent=Recent(out_of_memory=2)).detail
    assert "started it again 3 times" in seen(ours(restarts=3)).detail


@pytest.mark.parametrize(
    ("health", "said"),
    [
        (None, ""),
        ({"Status": "none"}, ""),
        ({"Status": "healthy"}, ""),
        ({"Status": "starting"}, "has not passed yet"),
        ({"Status": "unhealthy", "FailingStreak": 4}, "says unhealthy, 4 failures in a row"),
        ({"Status": "of-tomorrow"}, ""),
    ],
)
def test_the_images_own_check_is_said_while_the_container_runs(health: dict[str, Any] | None, said: str) -> None:
    assert said in seen(ours(Health=health)).detail
    assert "health" not in seen(ours(Status="exited", Health=health)).detail


def test_the_port_is_its_own_only_while_it_runs_and_the_engine_holds_the_mapping() -> None:
    assert seen(ours()).answers is True
    assert seen(ours(published="")).answers is False
    assert seen(ours(Status="paused")).answers is False
    assert seen(ours(Status="exited")).answers is False
    assert seen(ours(port="")).answers is None
    assert seen(ours()).url == "http://127.0.0.1:32768"
    assert seen(ours(published="")).url is None


@pytest.mark.parametrize(
    ("ip", "address", "url"),
    [
        ("0.0.0.0", "engine.example", "http://engine.example:80"),
        ("", "127.0.0.1", "http://127.0.0.1:80"),
        ("::", "::1", "http://[::1]:80"),
        ("10.0.0.5", "engine.example", "http://10.0.0.5:80"),
    ],
)
def test_the_address_is_where_the_engine_publishes(ip: str, address: str, url: str) -> None:
    one = ours()
    ports = {"8000/tcp": [{"HostIp": ip, "HostPort": "80"}]}
    container = Container.model_validate({"Id": "c", "State": {"Status": "running"}, "NetworkSettings": {"Ports": ports}})
    assert seen(Ours(container, one.marks), address=address).url == url


def test_replicas_are_seen_as_one_by_the_worst_of_them() -> None:
    assert seen(ours(1), ours(2), replicas=2).presence is Presence.running
    assert seen(ours(1), ours(2, Status="exited", ExitCode=3), replicas=2).exit_code == 3
    assert seen(ours(1), ours(2, Status="created"), replicas=2).presence is Presence.building
    missing = seen(ours(1), replicas=2)
    assert (missing.presence, missing.detail) == (Presence.building, "1 of 2 replicas run")
    assert seen(ours(1), ours(2, Status="exited"), replicas=1).presence is Presence.running
    newer = seen(ours(1), ours(2, StartedAt="2026-11-24T22:30:00Z"), replicas=2)
    assert newer.since == datetime(2026, 11, 24, 22, 30, tzinfo=UTC)


def test_nulls_and_missing_fields_are_no_errors() -> None:
    odd = {
        "Id": "c",
        "State": {"Status": "running", "Health": None},
        "Config": {"Labels": None},
        "NetworkSettings": {"Ports": None},
    }
    assert Container.model_validate(odd).config.labels == {}
    assert seen(Ours(Container.model_validate({"Id": "c"}), ours().marks)).presence is Presence.unknown


def listed(group: str, created: int, state: str = "exited") -> Listed:
    marks = Marks(deployment=group, group=group, replica=1, service="web", environment="staging")
    return Listed.model_validate({"Id": f"{group}-{created}", "Labels": marks.labels, "State": state, "Created": created})


def test_the_oldest_ended_groups_go_and_never_one_at_work_or_needed() -> None:
    found = [listed("a", 1), listed("b", 2), listed("b", 9, "running"), listed("c", 3), listed("d", 4), listed("e", 5)]
    found.append(Listed.model_validate({"Id": "alien", "Labels": None, "State": "exited", "Created": 0}))
    gone = surplus(found, keep={"c"}, most=2)
    assert [[c.id for c in group] for group in gone] == [["a-1"]]
    assert surplus(found, keep=(), most=9) == []
