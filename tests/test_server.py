"""MCP in memory, both eras: what clients see, what reaches the gate, and what never leaves."""

import json
from dataclasses import replace
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, MCPError
from mcp.types import CallToolResult, PromptReference, ResourceTemplateReference, TextContent, TextResourceContents

from ops_mcp import tools
from ops_mcp.domain.identity import Effect
from ops_mcp.domain.outcomes import Failed
from ops_mcp.errors import Code, Problem
from ops_mcp.server import build, hints, to_result
from ops_mcp.tool import input_schema, made_schemas, output_schema
from tests.wire.fakes import CALL_ID, TOOLS, FakeCalls, done, door, refused, token

pytestmark = pytest.mark.anyio

Era = Literal["legacy", "auto"]
PROBLEM = "dev.ops-mcp/problem"


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Era:
    return request.param


@pytest.fixture
def calls() -> FakeCalls:
    return FakeCalls()


def connect(calls: FakeCalls, era: Era) -> Client:
    return Client(build(calls, TOOLS, door=door(token())), mode=era)


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def test_a_done_call_answers_with_the_result_twice_as_structure_and_as_compact_text(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        result = await client.call_tool("say", {"text": "grüß"})
    assert result.structured_content == {"said": "grüß"}
    assert text_of(result) == '{"said":"grüß"}'
    assert not result.is_error
    assert (result.meta or {})["dev.ops-mcp/call"] == CALL_ID


async def test_the_credential_comes_from_the_door_and_arguments_arrive_untouched(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        await client.call_tool("say", {"text": "x", "agent": "someone-else", "nested": {"a": [1, None]}})
    (received,) = calls.received
    assert received.credential == token()
    assert received.arguments == {"text": "x", "agent": "someone-else", "nested": {"a": [1, None]}}


async def test_a_refusal_is_a_result_the_model_can_read_and_carries_the_problem_in_meta(calls: FakeCalls, era: Era):
    calls.outcomes["deploy"] = refused(Code.rate_limited, retryable=True, retry_after_seconds=12.5, details={"left": 0})
    async with connect(calls, era) as client:
        result = await client.call_tool("deploy", {"service": "web", "environment": "staging"})
    assert result.is_error
    assert result.structured_content is None
    assert text_of(result) == (
        'rate_limited: Not in this environment.\nAsk ada for staging.\nRetry after 12.5 s.\ndetails: {"left":0}'
    )
    assert (result.meta or {})[PROBLEM] == {
        "code": "rate_limited",
        "message": "Not in this environment.",
        "hint": "Ask ada for staging.",
        "retryable": True,
        "retry_after_seconds": 12.5,
        "details": {"left": 0},
    }


async def test_an_unknown_tool_reaches_the_gate_and_answers_with_a_protocol_error(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("rm_rf", {"path": "/"})
    assert caught.value.code == -32602
    assert caught.value.data[PROBLEM]["code"] == "unknown_tool"
    assert [r.name for r in calls.received] == ["rm_rf"]


async def test_the_text_of_an_unexpected_exception_never_leaves(calls: FakeCalls, era: Era, caplog: pytest.LogCaptureFixture):
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("say", {"text": "crash"})
        again = await client.call_tool("say", {"text": "still here"})
    assert (caught.value.code, caught.value.message, caught.value.data) == (-32603, "Internal error", None)
    assert not again.is_error
    assert "hunter2" not in caplog.text
    assert "RuntimeError" in caplog.text


async def test_a_result_that_no_client_could_read_is_an_internal_error(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("say", {"text": "unencodable"})
    assert caught.value.code == -32603


async def test_progress_reaches_the_client_that_asked_and_nobody_else(calls: FakeCalls, era: Era):
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))

    calls.release.set()
    async with connect(calls, era) as client:
        with anyio.fail_after(5):
            await client.call_tool("say", {"text": "wait"}, progress_callback=on_progress)
            await client.call_tool("say", {"text": "wait"})
    assert seen == [(1, 2, "half way")]


async def test_a_client_that_gives_up_cancels_the_call_which_still_settles(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "say", {"text": "wait"})
                await calls.entered.wait()
                group.cancel_scope.cancel()
            while not calls.settled:
                await anyio.lowlevel.checkpoint()
    assert calls.settled == ["say"]


async def test_tools_are_listed_in_registry_order_with_exact_schemas_and_four_hints(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == list(TOOLS)
    for tool in listed:
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert None not in tool.annotations.model_dump(exclude={"title"}).values()


def test_hints_follow_from_the_effect():
    def told(name: str, effect: Effect | None = None) -> tuple[bool | None, bool | None]:
        tool = TOOLS[name] if effect is None else replace(TOOLS[name], effect=effect)
        return hints(tool).read_only_hint, hints(tool).destructive_hint

    assert told("whoami") == (True, False)
    assert told("whoami", Effect.record) == (False, False)
    assert told("deploy") == (False, True)  # replaces what runs
    assert told("deployment_cancel") == (False, False)  # a change that replaces nothing
    assert told("deployment_cancel", Effect.destroy) == (False, True)


async def test_lists_have_one_page_so_every_cursor_is_refused(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        for ask in (client.list_tools, client.list_resources, client.list_resource_templates, client.list_prompts):
            with pytest.raises(MCPError) as caught:
                await ask(cursor="made-up")
            assert caught.value.code == -32602


async def test_every_resource_is_read_through_the_gate(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        pages = [str(r.uri) for r in (await client.list_resources()).resources]
        templates = [t.uri_template for t in (await client.list_resource_templates()).resource_templates]
        for uri in [*pages, *(t.replace("{id}", "dep_1") for t in templates)]:
            await client.read_resource(uri)
    assert pages == ["ops://status", "ops://inventory"]
    assert templates == ["ops://deployments/{id}", "ops://approvals/{id}"]
    assert [r.name for r in calls.received] == ["whoami", "services", "services", "deployment", "approval"]
    assert all(r.credential == token() for r in calls.received)


async def test_a_page_of_two_tools_shows_both_results_as_json(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        (content,) = (await client.read_resource("ops://status")).contents
    assert isinstance(content, TextResourceContents)
    assert json.loads(content.text) == {"caller": {"said": "whoami"}, "services": {"said": "services"}}


@pytest.mark.parametrize(
    "uri", ["ops://nothing", "ops://deployments/", "ops://deployments/../x", "ops://deployments/a/b", "file:///etc/passwd", ""]
)
async def test_an_address_that_is_no_resource_is_not_found_and_still_passes_the_gate(calls: FakeCalls, era: Era, uri: str):
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
    assert caught.value.code == -32602
    assert [(got.name, got.arguments) for got in calls.received] == [("resources/read", {"uri": uri})]


async def test_a_refused_resource_says_why_and_shows_nothing(calls: FakeCalls, era: Era):
    calls.outcomes["services"] = refused()
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("ops://inventory")
    assert caught.value.code == -32010
    assert "Ask ada for staging." in caught.value.message
    assert caught.value.data[PROBLEM]["code"] == "not_permitted"


async def test_a_thing_that_does_not_exist_is_not_found_with_its_address(calls: FakeCalls, era: Era):
    calls.outcomes["deployment"] = Failed(CALL_ID, Problem(code=Code.not_found, message="No deployment dep_9."))
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("ops://deployments/dep_9")
    assert caught.value.code == -32602
    assert caught.value.data["uri"] == "ops://deployments/dep_9"


def test_resources_of_a_disabled_tool_are_not_offered():
    from ops_mcp.resources import Shelf

    shelf = Shelf(lambda *_: None, {"services": TOOLS["services"]})  # type: ignore[arg-type, return-value]
    assert list(shelf._pages) == ["ops://inventory"]
    assert shelf._entries == []


async def test_prompts_are_listed_and_filled_with_the_callers_words(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        names = [p.name for p in (await client.list_prompts()).prompts]
        given = {"service": "web", "environment": "staging", "reason": "line\u202e one\x07"}
        prompt = await client.get_prompt("safe-deploy", given)
    assert names == ["incident-response", "postmortem", "safe-deploy"]
    assert isinstance(prompt.messages[0].content, TextContent)
    assert prompt.messages[0].content.text.startswith("Deploy web to staging. What to deploy: the service's default ref.")
    assert "line  one " in prompt.messages[0].content.text
    assert calls.received == []


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("no-such", {}, "Valid names: incident-response, postmortem, safe-deploy"),
        ("safe-deploy", {"service": "web"}, "needs environment"),
        ("safe-deploy", {"service": "web", "environment": "s", "evn": "x"}, "does not take evn"),
        ("safe-deploy", {"service": "x" * 501, "environment": "s"}, "at most 500 characters for service"),
    ],
)
async def test_a_wrong_prompt_request_names_what_is_wrong(
    calls: FakeCalls, era: Era, name: str, arguments: dict[str, str], says: str
):
    async with connect(calls, era) as client:
        with pytest.raises(MCPError, match=says) as caught:
            await client.get_prompt(name, arguments)
    assert caught.value.code == -32602


async def test_nothing_is_completed_for_an_argument_nobody_knows(calls: FakeCalls, era: Era):
    async with connect(calls, era) as client:
        done = await client.complete(PromptReference(name="safe-deploy"), {"name": "reason", "value": "w"})
    assert done.completion.values == []
    assert calls.received == []


async def test_a_refused_completion_shows_nothing(calls: FakeCalls, era: Era):
    calls.outcomes["deployments"] = refused()
    async with connect(calls, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.complete(ResourceTemplateReference(uri="ops://deployments/{id}"), {"name": "id", "value": ""})
    assert caught.value.code == -32010


async def test_the_server_says_who_it_is_in_both_eras(calls: FakeCalls, era: Era):
    from ops_mcp import __version__

    async with connect(calls, era) as client:
        assert client.server_info.name == "ops-mcp"
        assert client.server_info.version == __version__
        assert "whoami" in (client.instructions or "")


def test_a_replayed_result_is_marked():
    assert (to_result(done({}, replayed=True)).meta or {})["dev.ops-mcp/replayed"] is True


def test_lists_may_be_cached_and_operational_data_may_not():
    server: Any = build(FakeCalls(), TOOLS, door=door())
    assert server.cache_hints["tools/list"].scope == "public"
    assert server.cache_hints["resources/read"].ttl_ms == 0
    assert server.cache_hints["resources/read"].scope == "private"


def test_the_schemas_that_are_written_down_are_those_of_the_models():
    for tool in tools.load(tools.TOOLSETS).values():
        made = made_schemas(tool)
        assert [input_schema(tool), output_schema(tool)] == list(made.values()), f"{tool.name}: run `make docs`"
