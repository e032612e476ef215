"""MCP over Streamable HTTP: who gets in, what is refused before the gate, and that both eras work behind the token."""

import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from mcp import MCPError

from ops_mcp.config import Http
from ops_mcp.errors import NotConfigured
from ops_mcp.web import listen, refuse_exposure
from tests.wire.fakes import token
from tests.wire.http_world import MODERN, Era, World, http_world, said

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with http_world() as world:
        yield world


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Era:
    return request.param


async def test_a_known_token_calls_in_both_eras_and_is_the_credential(world: World, era: Era):
    async with world.client(era) as client:
        result = await client.call_tool("say", {"text": "hi"})
    assert result.structured_content == {"said": "hi"}
    (received,) = world.calls.received
    assert received.credential == token("ops_ada")
    assert received.client.transport == "http"
    assert received.client.address == "127.0.0.1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Basic b3BzX2FkYTo="},
        {"authorization": "Bearer " + "x" * 5000},
        [("authorization", "Bearer ops_ada"), ("authorization", "Bearer ops_bob")],
        {"cookie": "token=ops_ada"},
    ],
)
async def test_without_one_known_token_nothing_is_called_and_the_address_is_counted(world: World, headers: Any):
    async with world.http(None) as http:
        listed = headers.items() if isinstance(headers, dict) else headers
        reply = await http.post("/mcp", json=said("x"), headers=[*MODERN.items(), *listed])
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith('Bearer realm="ops-mcp"')
    assert reply.json()["code"] == "unauthenticated"
    assert world.calls.received == []
    assert world.credentials.turned == ["127.0.0.1"]


async def test_a_token_in_the_address_is_no_credential(world: World):
    async with world.http(None) as http:
        reply = await http.post("/mcp?token=ops_ada&authorization=Bearer%20ops_ada", json=said("x"), headers=MODERN)
    assert reply.status_code == 401


async def test_a_revoked_token_is_out_on_the_next_request_of_an_open_session(world: World, era: Era):
    async with world.client(era) as client:
        await client.call_tool("say", {"text": "hi"})
        world.credentials.tokens.remove("ops_ada")
        with pytest.raises(MCPError):
            await client.call_tool("say", {"text": "again"})
    assert len(world.calls.received) == 1


async def test_a_session_belongs_to_the_token_that_opened_it(world: World):
    hello = {
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    accept = {"accept": MODERN["accept"]}
    async with world.http("ops_ada") as ada, world.http("ops_bob") as bob:
        session = {"mcp-session-id": (await ada.post("/mcp", json=hello, headers=accept)).headers["mcp-session-id"], **accept}
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await bob.post("/mcp", json=ping, headers=session)).status_code == 404
        assert (await bob.delete("/mcp", headers=session)).status_code == 404
        assert (await ada.post("/mcp", json=ping, headers=session)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example.com"}, 421),
        ({"host": "127.0.0.1.evil.com"}, 421),
        ({"origin": "https://evil.example.com"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_a_foreign_host_or_origin_is_refused_before_the_token_is_looked_at(
    world: World, headers: dict[str, str], status: int
):
    async with world.http(None) as http:
        reply = await http.post("/mcp", headers=MODERN | headers, json=said("x"))
    assert reply.status_code == status
    assert world.credentials.turned == []


@pytest.mark.parametrize(
    "headers",
    [{"host": "ops.example.com"}, {"host": "ops.example.com:443"}, {"host": "localhost"}, {"origin": "https://app.example.com"}],
)
async def test_configured_hosts_and_origins_are_served(world: World, headers: dict[str, str]):
    async with world.http() as http:
        reply = await http.post("/mcp", json=said("x"), headers=MODERN | headers)
    assert reply.status_code == 200


async def test_a_body_over_the_limit_is_refused_whether_announced_or_not(world: World):
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    async with world.http() as http:
        assert (await http.post("/mcp", json=said("x" * 5000), headers=MODERN)).status_code == 413
        assert (await http.post("/mcp", content=pieces(), headers=MODERN)).status_code == 413
        assert (await http.post("/mcp", json=said("x"), headers=MODERN)).status_code == 200


@pytest.mark.parametrize("era_headers", [MODERN, {k: v for k, v in MODERN.items() if k != "mcp-protocol-version"}])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 4000, b"nul"])
async def test_a_body_that_is_no_json_is_a_parse_error(world: World, body: bytes, era_headers: dict[str, str]):
    async with world.http() as http:
        reply = await http.post("/mcp", content=body, headers=era_headers)
    assert reply.status_code == 400
    assert json.loads(reply.content)["error"]["code"] == -32700


async def test_an_exception_stays_inside(world: World, era: Era):
    async with world.client(era) as client:
        for text in ("crash", "unencodable"):
            with pytest.raises(MCPError) as caught:
                await client.call_tool("say", {"text": text})
            assert (caught.value.code, caught.value.message) == (-32603, "Internal error")


async def test_progress_and_cancellation_travel(world: World, era: Era):
    seen: list[float] = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        seen.append(done)
        group.cancel_scope.cancel()

    async with world.client(era) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:

                async def ask() -> None:
                    await client.call_tool("say", {"text": "wait"}, progress_callback=on_progress)

                group.start_soon(ask)
            while not world.calls.settled:
                await anyio.lowlevel.checkpoint()
    assert seen == [1]


async def test_health_and_readiness_need_no_token_and_tell_nothing(world: World):
    async with world.http(None) as http:
        health, ready = await http.get("/health"), await http.get("/ready")
        world.is_ready[0] = False
        unready = await http.get("/ready")
        nothing = await http.get("/anything")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert (unready.status_code, unready.json()) == (503, {"status": "not ready"})
    assert nothing.status_code == 404
    assert "server" not in health.headers


async def test_no_token_reaches_a_log(world: World, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    async with world.http() as http, world.http("ops_wrong_one") as stranger:
        await http.post("/mcp", json=said("x"), headers=MODERN)
        await stranger.post("/mcp", json=said("x"), headers=MODERN)
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpcore", "httpx"))]
    assert not [line for line in ours if "ops_ada" in line or "ops_wrong_one" in line]


@pytest.mark.parametrize(
    ("http", "says"),
    [
        (Http(host="0.0.0.0"), "unencrypted"),
        (Http(host="::"), "unencrypted"),
        (Http(host="10.0.0.5"), "unencrypted"),
        (Http(host="ops.example.com"), "unencrypted"),
        (Http(host="0.0.0.0", tls=True), "host names"),
    ],
)
def test_an_address_that_others_can_reach_is_refused_without_tls_and_names(http: Http, says: str):
    with pytest.raises(NotConfigured, match=says):
        listen(http)


@pytest.mark.parametrize(
    "http", [Http(), Http(host="::1"), Http(host="localhost"), Http(host="0.0.0.0", tls=True, allowed_hosts=("ops.example.com",))]
)
def test_loopback_and_stated_tls_are_served(http: Http):
    refuse_exposure(http)


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(NotConfigured, match=str(taken.getsockname()[1])):
            listen(Http(port=taken.getsockname()[1]))
