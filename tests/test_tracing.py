"""Traces of the call path: what a real collector receives, what never leaves, and that nothing is made where nobody asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from ops_mcp import tracing
from ops_mcp.call import call
from ops_mcp.domain.identity import Level
from ops_mcp.domain.outcomes import Done
from ops_mcp.server import build, stdio_door
from tests.house import NOBODY, House, house

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """What was posted to `/v1/traces`, decoded as the protocol defines it."""

    url: str = ""
    status: int = 200
    paths: list[str] = field(default_factory=list[str])
    requests: list[ExportTraceServiceRequest] = field(default_factory=list[ExportTraceServiceRequest])

    @property
    def spans(self) -> list[Span]:
        return [span for r in self.requests for rs in r.resource_spans for ss in rs.scope_spans for span in ss.spans]

    def named(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@contextmanager
def collector(status: int = 200) -> Iterator[Collector]:
    found = Collector(status=status)

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            found.paths.append(self.path)
            found.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def said(span: Span) -> dict[str, Any]:
    values = {a.key: a.value for a in span.attributes}
    return {key: value.bool_value if value.HasField("bool_value") else value.string_value for key, value in values.items()}


async def test_a_change_is_one_span_with_its_parts_inside(tmp_path: Path):
    with collector() as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home:
            ada = await home.agent()
            outcome = await home.call(ada, "deploy", service="web", environment="staging")
    whole = found.named("call deploy")
    assert said(whole) == {
        "ops_mcp.tool": "deploy",
        "ops_mcp.call": outcome.call,
        "ops_mcp.agent": "ada",
        "ops_mcp.environment": "staging",
        "ops_mcp.verdict": "allow",
        "ops_mcp.outcome": "done",
        "ops_mcp.dry_run": False,
    }
    parts = [span for span in found.spans if span.parent_span_id == whole.span_id]
    assert {span.name for span in parts} == {"admit", "plan", "commit", "act", "settle"}
    assert {span.trace_id for span in found.spans} == {whole.trace_id}
    assert all(whole.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in parts)
    assert set(found.paths) == {"/v1/traces"}
    resource = {a.key: a.value.string_value for a in found.requests[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "ops-mcp"


async def test_a_refusal_is_traced_with_its_verdict_and_has_no_other_parts(tmp_path: Path):
    with collector() as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home:
            await home.call(NOBODY, "deploy", service="web", environment="production")
            await home.call(NOBODY, "no tool of ours <b>")
    whole = found.named("call deploy")
    assert (said(whole)["ops_mcp.verdict"], said(whole)["ops_mcp.outcome"]) == ("deny", "refused")
    assert [s.name for s in found.spans if s.parent_span_id == whole.span_id] == ["admit"]
    assert said(found.named("call unknown"))["ops_mcp.outcome"] == "refused"


async def test_a_trace_that_a_client_began_goes_on_here(tmp_path: Path):
    meta: Any = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with collector() as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home:
            await home.agent()
            async with Client(_server(home)) as client:
                await client.call_tool("whoami", {}, meta=meta)
                await client.call_tool("services", {})
    assert found.named("call whoami").trace_id.hex() == TRACE
    assert found.named("call whoami").parent_span_id.hex() == PARENT
    assert found.named("call services").trace_id.hex() != TRACE
    assert found.named("call services").parent_span_id == b""


@pytest.mark.parametrize("carried", ["garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 10_000, 7, None])
async def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(tmp_path: Path, carried: Any):
    with collector() as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home, Client(_server(home)) as client:
            assert not (await client.call_tool("whoami", {}, meta={"traceparent": carried})).is_error
    assert found.named("call whoami").parent_span_id == b""


async def test_no_argument_and_no_text_of_anybody_leaves_with_a_trace(tmp_path: Path):
    with collector() as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home:
            ada = await home.agent("ada", Level.prod, score=200)
            await home.call(ada, "deploy", service="web", environment="staging", reason="hunter2 is the word")
            home.place.refs["hunter2-branch"] = "d" * 40
            await home.call(ada, "deploy", service="web", environment="staging", ref="hunter2-branch")
            await home.call(ada, "checkpoint", environment="staging", name="hunter2", action="hunter2")
    assert len([s for s in found.spans if s.name.startswith("call ")]) == 3
    assert not [r for r in found.requests if b"hunter2" in r.SerializeToString()]


async def test_a_crash_is_an_error_without_its_text(tmp_path: Path):
    with collector() as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home:
            ada = await home.agent()
            with pytest.raises(KeyError, match="hunter2"):  # the memory place knows no such ref
                await home.call(ada, "deploy", service="web", environment="staging", ref="hunter2")
    whole = found.named("call deploy")
    assert (whole.status.code, whole.status.message) == (Status.STATUS_CODE_ERROR, "")
    assert said(whole)["ops_mcp.outcome"] == "crashed"
    assert not [span for span in found.spans if span.events]


async def test_a_collector_that_fails_changes_no_answer(tmp_path: Path):
    with collector(status=400) as found:
        async with house(tmp_path, tracing={"endpoint": found.url}) as home:
            outcome = await home.call(await home.agent(), "whoami")
    assert isinstance(outcome, Done)


async def test_nothing_is_traced_or_imported_where_no_collector_is_named(tmp_path: Path):
    async with house(tmp_path) as home:
        assert home.app.tracer is None
        assert tracing.OFF.part("admit") is tracing.OFF.part("settle")


def _server(home: House) -> Any:
    async def calls(*given: Any, **named: Any) -> Any:
        return await call(home.app, *given, **named)

    return build(calls, home.app.tools, door=stdio_door(None))
