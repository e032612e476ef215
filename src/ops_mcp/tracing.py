"""Traces of the call path for OpenTelemetry, where the operator names a collector; nothing at all where not."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from ops_mcp.errors import NotConfigured

if TYPE_CHECKING:  # start-up has a bar
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span
    from opentelemetry.trace import Tracer as OtelTracer

CARRIED: ContextVar[Mapping[str, str] | None] = ContextVar("ops_mcp_carried", default=None)
"""What the present request carries of a trace that began elsewhere: `traceparent` and `tracestate`, as they came."""

_CARRIED_NAMES = ("traceparent", "tracestate")
_LONGEST_CARRIED = 512
_SEND_SECONDS = 5
_NOTHING = nullcontext()


class Trace(Protocol):
    """One call as it is traced. Only our own words, names and ids go into it: no arguments, no text of anybody."""

    def part(self, name: str) -> AbstractContextManager[object]:
        """What is done inside, as a child."""
        ...

    def note(self, **attributes: str | bool) -> None: ...

    def end(self, outcome: str) -> None:
        """How the call came out."""
        ...


class Tracer(Protocol):
    def begin(self, tool: str, call: str) -> Trace:
        """A call begins, as part of what `CARRIED` holds."""
        ...

    def close(self) -> None:
        """Send what is left. Blocks for some seconds at most."""
        ...


class _Off:
    def part(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002  # the Protocol's
        return _NOTHING

    def note(self, **attributes: str | bool) -> None:
        pass

    def end(self, outcome: str) -> None:
        pass


OFF: Trace = _Off()


def carried_by(meta: Mapping[str, object] | None) -> Mapping[str, str] | None:
    """What a request's `_meta` says of its trace; None for nearly all, and for what is no such text."""
    if not meta or "traceparent" not in meta:
        return None
    found = {name: meta.get(name) for name in _CARRIED_NAMES}
    return {name: text for name, text in found.items() if isinstance(text, str) and len(text) <= _LONGEST_CARRIED}


def open_tracer(endpoint: str, *, version: str) -> Tracer:
    """Send to a collector that speaks OTLP over HTTP. Raises `NotConfigured` where the extra `otel` is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise NotConfigured(
            "[tracing] names an endpoint, but the OpenTelemetry SDK is not installed.",
            hint="Install it: pip install 'ops-mcp[otel]', or remove [tracing] from config.toml.",
        ) from error
    resource = Resource.create({"service.name": "ops-mcp", "service.version": version})
    # Not made the global one: what other libraries trace may quote arguments.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_SEND_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Sending(provider)


class Sending:
    """Spans by the SDK: batched by a thread of its own, dropped where nobody takes them."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ops_mcp")

    def begin(self, tool: str, call: str) -> Trace:
        from opentelemetry.trace import SpanKind

        attributes = {"ops_mcp.tool": tool, "ops_mcp.call": call}
        span = self._tracer.start_span(f"call {tool}", context=_parent(), kind=SpanKind.SERVER, attributes=attributes)
        return _Sent(self._tracer, span)

    def close(self) -> None:
        self._provider.shutdown()


class _Sent:
    def __init__(self, tracer: "OtelTracer", span: "Span") -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._span = span
        self._inside = set_span_in_context(span)

    def part(self, name: str) -> AbstractContextManager[object]:
        # The text of an exception may quote a stranger or a secret: it stays here.
        return self._tracer.start_as_current_span(
            name, context=self._inside, record_exception=False, set_status_on_exception=False
        )

    def note(self, **attributes: str | bool) -> None:
        self._span.set_attributes({f"ops_mcp.{name}": value for name, value in attributes.items()})

    def end(self, outcome: str) -> None:
        from opentelemetry.trace import StatusCode

        self.note(outcome=outcome)
        if outcome in ("failed", "crashed"):
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _parent() -> "Context | None":
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carried = CARRIED.get()
    return TraceContextTextMapPropagator().extract(carried) if carried else None
