"""A PostgreSQL and a Redis that are up, down, slow, starting, locked and accepting but silent are told apart, on real servers."""

import anyio
import pytest

from ops_mcp.domain.inventory import Found, HealthState, PostgresAsked, RedisAsked
from ops_mcp.operations.probes.postgres import Answer, startup_packet
from ops_mcp.operations.probes.postgres import read as read_postgres
from ops_mcp.operations.probes.redis import Reply
from ops_mcp.operations.probes.redis import read as read_redis
from tests.operations.probes.servers import (
    HOST,
    delayed,
    found,
    free_port,
    listening,
    paused,
    postgres_cluster,
    redis_server,
    saying,
    silent,
    slamming,
)

pytestmark = pytest.mark.anyio
H, D, U, Q = HealthState.healthy, HealthState.degraded, HealthState.unhealthy, HealthState.unknown
UNHURRIED = 2000.0
"""Milliseconds that a busy machine may take for what takes one."""


def redis_at(port: int, **terms: object) -> RedisAsked:
    return RedisAsked.model_validate({"port": port, "timeout_seconds": 5, "latency_ms": UNHURRIED, **terms})


def postgres_at(port: int, **terms: object) -> PostgresAsked:
    return PostgresAsked.model_validate({"port": port, "timeout_seconds": 5, "latency_ms": UNHURRIED, **terms})


async def started(probe: PostgresAsked) -> Found:
    """What is found once it says no more that it is starting, or recovering from a sudden end."""
    with anyio.fail_after(30):
        while (seen := await found(probe)).evidence == Answer.not_now.value:
            await anyio.sleep(0.02)
    return seen


async def test_a_real_redis_is_up_slow_silent_and_down() -> None:
    with redis_server() as (port, process):
        up = await found(redis_at(port))
        async with delayed(port, 0.05) as far:
            slow = await found(redis_at(far, latency_ms=10))
        with paused(process.pid):
            still = await found(redis_at(port, timeout_seconds=0.5))
        again = await found(redis_at(port))
    down = await found(redis_at(port))
    assert [one.state for one in (up, slow, still, again, down)] == [H, D, U, H, U]
    assert up.evidence == "PONG"
    assert up.latency_ms is not None
    assert slow.evidence.startswith("PONG, slow: ")
    assert slow.evidence.endswith(" ms, more than 10 ms")
    assert still.evidence == "it accepts connections and is silent: no answer within 0.5 s"
    assert down.evidence == "it refuses connections"


async def test_a_real_redis_with_a_password_says_who_may_not_come_in() -> None:
    with redis_server("--requirepass", "right horse") as (port, _):
        without = await found(redis_at(port))
        wrong = await found(redis_at(port, secret="cache"), cache="wrong")
        right = await found(redis_at(port, secret="cache"), cache="right horse")
        named = await found(redis_at(port, secret="cache", username="default"), cache="right horse")
        missing = await found(redis_at(port, secret="cache"))
    assert [one.state for one in (without, wrong, right, named, missing)] == [D, D, H, H, Q]
    assert without.evidence == "it runs and wants a login: NOAUTH"
    assert wrong.evidence == "it runs and refuses the login"
    assert missing.evidence == "There is no secret 'cache'."


async def test_a_real_redis_without_a_password_refuses_one() -> None:
    with redis_server() as (port, _):
        assert await found(redis_at(port, secret="cache"), cache="x") == (D, "it runs and refuses the login", None, None, None)


async def test_a_real_postgresql_is_up_slow_silent_starting_and_down() -> None:
    with postgres_cluster() as cluster:
        never = await found(postgres_at(cluster.port))
        cluster.start(pre_auth_delay="1")
        slow = await started(postgres_at(cluster.port, latency_ms=500))
        cluster.stop()
        cluster.start()
        up = await started(postgres_at(cluster.port, user="nobody-of-this-name", database="nothing"))
        with paused(cluster.pid):
            still = await found(postgres_at(cluster.port, timeout_seconds=0.5))
        cluster.stop()
        (cluster.folder / "standby.signal").touch()
        cluster.start(hot_standby="off", restore_command="false")
        starting = await found(postgres_at(cluster.port))
        cluster.stop()
        down = await found(postgres_at(cluster.port))
    assert [one.state for one in (never, slow, up, still, starting, down)] == [U, D, H, U, U, U]
    assert slow.evidence.startswith("it accepts sessions, slow: ")
    assert up.evidence == "it accepts sessions"
    assert still.evidence == "it accepts connections and is silent: no answer within 0.5 s"
    assert starting.evidence == "it is starting, stopping or recovering, and takes up no sessions (57P03)"
    assert down.evidence == never.evidence == "it refuses connections"


@pytest.mark.parametrize("probe", [redis_at, postgres_at], ids=["redis", "postgres"])
async def test_what_is_something_else_is_told_apart_from_what_is_down(probe: type) -> None:
    async with listening(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        other = await found(probe(port))
    async with listening(slamming) as port:
        closed = await found(probe(port))
    async with listening(silent) as port:
        still = await found(probe(port, timeout_seconds=0.3))
    async with listening(saying(b"\x00\xff\x1b[2J" * 400)) as port:
        garbage = await found(probe(port))
    async with listening(saying(*[b"-"] * 100, pause=0.05)) as port:
        dripping = await found(probe(port, timeout_seconds=0.3))
    assert other.evidence.startswith("what answers is no ")
    assert closed.evidence in ("it closed the connection without an answer", "it broke off the connection")
    assert still.evidence == "it accepts connections and is silent: no answer within 0.3 s"
    assert garbage.evidence.startswith("what answers is no ")
    assert dripping.evidence in ("its answer had no end within 0.3 s", "what answers is no PostgreSQL")
    assert {one.state for one in (other, closed, still, garbage, dripping)} == {U}


async def test_a_name_without_an_address_is_told_apart() -> None:
    nameless = await found(RedisAsked(host="nothing.invalid"))
    assert nameless == (U, "its name has no address", None, None, None)
    refused = await found(PostgresAsked(host=HOST, port=free_port()))
    assert refused.evidence == "it refuses connections"


# From the documentation of the protocols.
@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"+PONG", Reply.pong),
        (b"+OK", Reply.ok),
        (b"-NOAUTH Authentication required.", Reply.wants_login),
        (b"-WRONGPASS invalid username-password pair or user is disabled.", Reply.refuses_login),
        (b"-NOPERM this user has no permissions to run the 'ping' command", Reply.refuses_login),
        (b"-LOADING Redis is loading the dataset in memory", Reply.loading),
        (b"-DENIED Redis is running in protected mode", Reply.protected),
        (b"-MASTERDOWN Link with MASTER is down", Reply.error),
        (b"$4", Reply.foreign),
        (b"+PONG\x1b[2J", Reply.foreign),
        (b"", Reply.foreign),
    ],
)
def test_a_line_of_redis_is_read_by_its_first_word(line: bytes, reply: Reply) -> None:
    assert read_redis(line) is reply


def error(state: bytes) -> bytes:
    return b"SFATAL\x00VFATAL\x00C" + state + b"\x00MA message, in any language\x00\x00"


@pytest.mark.parametrize(
    ("kind", "body", "answer"),
    [
        (b"R", b"\x00\x00\x00\x00", Answer.accepts),
        (b"R", b"\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00", Answer.accepts),
        (b"E", error(b"28000"), Answer.accepts),
        (b"E", error(b"28P01"), Answer.accepts),
        (b"E", error(b"3D000"), Answer.accepts),
        (b"E", error(b"57P03"), Answer.not_now),
        (b"E", error(b"53300"), Answer.full),
        (b"E", error(b"XX000"), Answer.refuses),
        (b"E", b"", Answer.foreign),
        (b"E", None, Answer.foreign),
        (b"R", None, Answer.foreign),
        (b"H", b"TTP", Answer.foreign),
    ],
)
def test_a_first_message_of_postgresql_is_read_by_its_kind_and_state(kind: bytes, body: bytes | None, answer: Answer) -> None:
    assert read_postgres(kind, body) is answer


def test_a_start_up_packet_is_what_the_documentation_says() -> None:
    packet = startup_packet("ada", "shop")
    assert int.from_bytes(packet[:4], "big") == len(packet)
    assert packet[4:8] == b"\x00\x03\x00\x00"
    assert packet[8:] == b"user\x00ada\x00database\x00shop\x00application_name\x00ops-mcp\x00\x00"
