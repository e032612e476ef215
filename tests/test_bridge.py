"""`--remote`: a stdio client behind the bridge sees what it would see at the server, and clear errors when there is none."""

import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, MCPError, StdioServerParameters

from ops_mcp.bridge import UNREACHABLE, bridge
from ops_mcp.errors import Code, NotConfigured
from ops_mcp.values import Secret
from tests.test_pipes import HELLO, Talk, call, talking
from tests.wire.fakes import refused, token
from tests.wire.http_world import Era, World, http_world

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with http_world() as world:
        yield world


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Era:
    return request.param


@asynccontextmanager
async def bridged(world: World, era: Era, bearer: str = "ops_ada") -> AsyncIterator[Client]:
    process = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tests.wire.bridge_process", f"{world.url}/mcp"],
        env={"OPS_MCP_TOKEN": bearer},
        cwd=ROOT,
    )
    with anyio.fail_after(30):
        async with Client(process, mode=era) as client:
            yield client


async def test_a_call_arrives_with_the_bridges_token_and_its_result_comes_back(world: World, era: Era):
    async with bridged(world, era) as client:
        result = await client.call_tool("say", {"text": "grüß\nzweite Zeile"})
        tools = [tool.name for tool in (await client.list_tools()).tools]
        prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
        resource = await client.read_resource("ops://inventory")
    assert result.structured_content == {"said": "grüß\nzweite Zeile"}
    assert "deploy" in tools
    assert "safe-deploy" in prompts
    assert len(resource.contents) == 1
    assert all(received.credential == token("ops_ada") for received in world.calls.received)


async def test_refusals_and_protocol_errors_come_back_as_they_are(world: World, era: Era):
    world.calls.outcomes["deploy"] = refused(Code.frozen)
    async with bridged(world, era) as client:
        result = await client.call_tool("deploy", {"service": "web", "environment": "staging"})
        with pytest.raises(MCPError) as caught:
            await client.call_tool("no_such_tool", {})
    assert result.is_error
    assert (result.meta or {})["dev.ops-mcp/problem"]["code"] == "frozen"
    assert caught.value.code == -32602


async def test_progress_and_cancellation_travel_through(world: World, era: Era):
    seen: list[float] = []

    async with bridged(world, era) as client:
        async with anyio.create_task_group() as group:

            async def on_progress(done: float, total: float | None, message: str | None) -> None:
                seen.append(done)
                group.cancel_scope.cancel()

            group.start_soon(partial(client.call_tool, "say", {"text": "wait"}, progress_callback=on_progress))
        with anyio.fail_after(10):
            while not world.calls.settled:
                await anyio.sleep(0.01)
        again = await client.call_tool("say", {"text": "still here"})
    assert seen == [1]
    assert again.structured_content == {"said": "still here"}


async def test_many_calls_at_once_are_answered_each(world: World, era: Era):
    answers: dict[int, Any] = {}

    async def ask(client: Client, number: int) -> None:
        answers[number] = (await client.call_tool("say", {"text": f"t{number}"})).structured_content

    async with bridged(world, era) as client, anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(ask, client, number)
    assert answers == {number: {"said": f"t{number}"} for number in range(40)}


async def test_a_token_that_the_server_does_not_know_is_said_so(world: World):
    async with bridged(world, "auto") as client:
        world.credentials.tokens.clear()
        with pytest.raises(MCPError, match="ops-mcp agent add") as caught:
            await client.call_tool("say", {"text": "x"})
    assert caught.value.code == UNREACHABLE
    assert caught.value.data["dev.ops-mcp/problem"]["code"] == "unauthenticated"
    assert "ops_ada" not in str(caught.value.error)


def through(url: str) -> Any:
    return talking(module="tests.wire.bridge_process", arguments=(url,), env={"OPS_MCP_TOKEN": "ops_ada"})


def test_a_server_that_is_down_is_an_error_with_a_next_step_and_the_bridge_lives_on():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/mcp"
        with through(url) as talk:
            for message in (call(1, "x"), HELLO, call("third", "y")):
                talk.send(message)
                error = talk.reply(message["id"])["error"]
                assert error["code"] == UNREACHABLE
                assert "idempotency_key" in error["message"]
            code, out, err = talk.end()
    assert (code, out) == (0, b"")
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "ends in /mcp"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/steal\r\ncontent-length: 0\r\n\r\n", "redirects"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<h1>", "HTTP 502"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}", "HTTP 200"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {\r\n\r\n", "before its end"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", "No answer"),
        (b"no http at all\r\n\r\n", "No answer"),
    ],
)
async def test_an_answer_that_is_no_mcp_is_an_error_that_names_it(answer: bytes, says: str):
    async def answer_once(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await _whole_request(stream)
            await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer_once)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(30), through(f"http://127.0.0.1:{port}/mcp") as talk:
            error = (await to_thread.run_sync(_ask, talk))["error"]
        group.cancel_scope.cancel()
    await listener.aclose()
    assert error["code"] == UNREACHABLE
    assert says in error["message"]


async def _whole_request(stream: anyio.abc.SocketStream) -> None:
    """Reads to the end of the body: closing over unread bytes resets the connection, and the answer with it."""
    buffered = BufferedByteReceiveStream(stream)
    head = await buffered.receive_until(b"\r\n\r\n", 65_536)
    length = re.search(rb"content-length: *(\d+)", head.lower())
    assert length is not None, head
    await buffered.receive_exactly(int(length[1]))


def _ask(talk: Talk) -> Any:
    talk.send(call(1, "x"))
    return talk.reply(1)


@pytest.mark.parametrize(
    ("url", "secret", "says"),
    [
        ("http://ops.example.com/mcp", "ops_ada", "unencrypted"),
        ("http://127.0.0.1.example.com/mcp", "ops_ada", "unencrypted"),
        ("ftp://ops.example.com/mcp", "ops_ada", "cannot be used"),
        ("https://me:pw@ops.example.com/mcp", "ops_ada", "cannot be used"),
        ("nonsense", "ops_ada", "cannot be used"),
        ("https://ops.example.com/mcp", "", "OPS_MCP_TOKEN"),
        ("https://ops.example.com/mcp", "${OPS_MCP_TOKEN}", "OPS_MCP_TOKEN"),
        ("https://ops.example.com/mcp", "two\nlines", "OPS_MCP_TOKEN"),
        ("https://ops.example.com/mcp", "ops_ada", "needs pipes"),
    ],
)
async def test_a_url_or_token_that_cannot_be_used_is_refused_before_anything_is_sent(url: str, secret: str, says: str):
    with pytest.raises(NotConfigured, match=says):
        await bridge(url, Secret(secret), None)


def test_the_bridge_imports_neither_store_nor_providers():
    heavy = "('ops_mcp.store', 'ops_mcp.providers', 'ops_mcp.call')"
    code = f"import sys, ops_mcp.bridge; print(*[m for m in sys.modules if m.startswith({heavy})])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == ""
