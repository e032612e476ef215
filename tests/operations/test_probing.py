"""Probes against real sockets on loopback: what counts as healthy, and what a probe never does."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import anyio.abc
import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, Presence, ProbeResult, Release
from ops_mcp.operations.probing import prober
from ops_mcp.values import Json, JsonObject
from tests.operations.fakes import FakeProvider, VirtualTime

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@asynccontextmanager
async def answering(reply: bytes, *, hang: bool = False) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """A server that answers every connection with these bytes; the requests it was sent."""
    asked: list[bytes] = []

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            if hang:
                await anyio.sleep_forever()
            await stream.send(reply)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield port, asked
        group.cancel_scope.cancel()


async def probe(
    port: int, probe: JsonObject, *, url: Callable[[int], str | None] = lambda p: f"http://127.0.0.1:{p}"
) -> ProbeResult:
    settings: dict[str, Json] = {"service": "web", "environment": "staging", "provider": "fake", "options": {"port": port}}
    binding = Binding.model_validate({**settings, "health": {"probe": probe}})
    release = Release(content=Content(identity="v1"), binding=binding)
    observed = Observed(deployment=DeploymentId("dep_1"), presence=Presence.running, url=url(port))
    with anyio.fail_after(10):
        placement = Placement(deployment=observed.deployment, release=release, asked_at=AT)
        return await prober(lambda: AT)(placement, FakeProvider(VirtualTime()), observed)


def http(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 2", *headers, "", "ok"]).encode()


async def test_an_expected_status_is_healthy_and_the_evidence_is_our_own_words() -> None:
    async with answering(http("200 OK", "X-Secret: hush")) as (port, asked):
        result = await probe(port, {"kind": "http", "path": "/ready"})
    assert (result.healthy, result.evidence, result.at) == (True, "HTTP 200", AT)
    assert asked[0].startswith(b"GET /ready HTTP/1.1")


@pytest.mark.parametrize("status", ["500 Broken", "404 Gone", "302 Found"])
async def test_any_other_status_is_not_healthy(status: str) -> None:
    async with answering(http(status)) as (port, _):
        result = await probe(port, {"kind": "http"})
    assert (result.healthy, result.evidence) == (False, f"HTTP {status[:3]}")


async def test_a_redirect_is_not_followed() -> None:
    async with (
        answering(http("200 OK")) as (other, asked),
        answering(http("302 Found", f"Location: http://127.0.0.1:{other}/")) as (port, _),
    ):
        assert not (await probe(port, {"kind": "http"})).healthy
        assert asked == []


async def test_what_does_not_answer_in_time_is_not_healthy() -> None:
    async with answering(b"", hang=True) as (port, _):
        result = await probe(port, {"kind": "http", "timeout_seconds": 0.2})
    assert (result.healthy, result.evidence) == (False, "no answer within 0.2 s")


async def test_what_speaks_no_http_or_nobody_is_not_healthy() -> None:
    async with answering(b"SSH-2.0-hello\r\n") as (port, _):
        assert not (await probe(port, {"kind": "http"})).healthy
    assert "no HTTP answer" in (await probe(port, {"kind": "http"})).evidence


async def test_a_tcp_probe_needs_only_a_connection() -> None:
    async with answering(b"") as (port, _):
        assert (await probe(port, {"kind": "tcp"})).healthy
    assert not (await probe(port, {"kind": "tcp"})).healthy


async def test_the_port_of_the_binding_is_asked_where_the_provider_names_no_address() -> None:
    async with answering(http("200 OK")) as (port, _):
        assert (await probe(port, {"kind": "http"}, url=lambda _: None)).healthy


async def test_a_command_probe_where_none_can_run_is_not_healthy() -> None:
    result = await probe(1, {"kind": "command", "argv": ["true"]})
    assert (result.healthy, result.evidence) == (False, "the fake provider runs no command probes")
