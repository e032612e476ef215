"""The simulated Loki as an ASGI application: pushing, asking, labels; tenants, limits and faults; errors are plain text."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sandbox.loki import logql
from sandbox.loki.world import HOUR_NS, Refused, World
from sandbox.vercel.faults import Fault, NoAnswer, Seen, Trouble
from sandbox.vercel.inprocess import IN_PROCESS

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": HOUR_NS, "d": 24 * HOUR_NS, "w": 168 * HOUR_NS}


class Loki:
    """`trouble` is what goes wrong and what was asked; operations are named like the last part of their path."""

    def __init__(self, world: World, *, controlled: bool = False) -> None:
        self.world = world
        self.trouble = Trouble()
        base = "/loki/api/v1"
        routes = [
            self._route("POST", f"{base}/push", "push", self._push),
            self._route("GET", f"{base}/query_range", "query_range", self._query_range),
            self._route("GET", f"{base}/query", "query", self._query),
            self._route("GET", f"{base}/labels", "labels", self._labels),
            self._route("GET", f"{base}/label/{{name}}/values", "values", self._values),
            self._route("GET", f"{base}/series", "series", self._series),
            Route("/ready", lambda _: PlainTextResponse("ready\n")),
        ]
        steering = [Route("/_sandbox/faults", self._faults, methods=["POST"]), Route("/_sandbox/seen", self._seen)]
        self._app = Starlette(routes=[*routes, *(steering if controlled else [])])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _route(self, method: str, path: str, name: str, act: "Callable[[Request, str, bytes], Response]") -> Route:
        async def answer(request: Request) -> Response:
            status = 0
            try:
                response = await self._answered(request, name, act)
                status = response.status_code
            except Refused as refused:
                status = refused.status
                response = PlainTextResponse(refused.text + "\n", refused.status)
            except NoAnswer as silence:
                response = await _silent(request, silence)
            finally:
                self.trouble.seen.append(Seen(self.world.now_ns / 10**6, name, status))
            return response

        return Route(path, answer, methods=[method])

    async def _answered(self, request: Request, name: str, act: "Callable[[Request, str, bytes], Response]") -> Response:
        for fault in self.trouble.due(name, self.world.now_ns / 10**6, after=False):
            if (broken := await _struck(fault)) is not None:
                return broken
        tenant = self._tenant(request)
        return act(request, tenant, await request.body())

    def _tenant(self, request: Request) -> str:
        if self.world.credentials and request.headers.get("authorization") not in self.world.credentials:
            raise Refused(401, "unauthorized")
        if self.world.tenants is None:
            return "fake"
        tenant = request.headers.get("x-scope-orgid", "")
        if not tenant:
            raise Refused(401, "no org id")
        return tenant

    def _push(self, _: Request, tenant: str, body: bytes) -> Response:
        try:
            for stream in json.loads(body)["streams"]:
                for ns, line, *_more in stream["values"]:
                    if not isinstance(ns, str):
                        raise Refused(400, "loghttp.PushRequest.Streams: Value is string, but can't find closing '\"' symbol")
                    self.world.put(stream["stream"], int(ns), line, tenant=tenant)
        except (KeyError, ValueError, TypeError) as error:
            raise Refused(400, f"loghttp.PushRequest: {error}") from error
        return Response(status_code=204)

    def _query_range(self, request: Request, tenant: str, _: bytes) -> Response:
        asked = request.query_params
        limit, direction = int(asked.get("limit", "100")), asked.get("direction", "backward").lower()
        if direction not in ("backward", "forward"):
            raise Refused(400, f"invalid direction '{direction}'")
        if limit > self.world.most_entries:
            bound = self.world.most_entries
            said = f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {bound})"
            raise Refused(400, said)
        end = _time(asked["end"]) if "end" in asked else self.world.now_ns
        start = _time(asked["start"]) if "start" in asked else end - _duration(asked.get("since", "1h"))
        if end < start:
            raise Refused(400, "end timestamp must not be before or equal to start time")
        if end - start > self.world.longest_hours * HOUR_NS:
            raise Refused(
                400, f"the query time range exceeds the limit (query length: {(end - start) // HOUR_NS}h, limit: 30d1h)"
            )
        query = self._parsed(asked.get("query", ""))
        return JSONResponse({"status": "success", "data": self._streams(tenant, query, (start, end), limit, direction)})

    def _streams(self, tenant: str, query: logql.Query, window: tuple[int, int], limit: int, direction: str) -> dict[str, object]:
        start, end = window
        found = [
            (ns, json.dumps(labels), line)
            for labels, entries in self.world.streams(tenant)
            if query.streams(labels)
            for ns, line in entries
            if start <= ns < end and query.line(line)
        ]
        found.sort(key=lambda entry: entry[0], reverse=direction == "backward")
        result: dict[str, list[list[str]]] = {}
        for ns, labels, line in found[:limit]:
            result.setdefault(labels, []).append([str(ns), line])
        streams = [{"stream": json.loads(labels), "values": values} for labels, values in result.items()]
        return {"resultType": "streams", "result": streams, "stats": {}}

    def _query(self, request: Request, _tenant: str, _: bytes) -> Response:
        self._parsed(request.query_params.get("query", ""))
        raise Refused(400, "log queries are not supported as an instant query type, please use a range query")

    def _labels(self, _request: Request, tenant: str, _: bytes) -> Response:
        return _success(sorted({name for labels, _entries in self.world.streams(tenant) for name in labels}))

    def _values(self, request: Request, tenant: str, _: bytes) -> Response:
        name = request.path_params["name"]
        return _success(sorted({labels[name] for labels, _entries in self.world.streams(tenant) if name in labels}))

    def _series(self, request: Request, tenant: str, _: bytes) -> Response:
        queries = [self._parsed(text) for text in request.query_params.getlist("match[]")]
        if not queries:
            raise Refused(400, "0 matcher groups supplied")
        return _success([labels for labels, _entries in self.world.streams(tenant) if any(q.streams(labels) for q in queries)])

    def _parsed(self, text: str) -> logql.Query:
        try:
            return logql.parse(text)
        except logql.ParseError as error:
            raise Refused(400, str(error)) from error

    async def _faults(self, request: Request) -> Response:
        body = await request.json()
        if body.pop("clear", False):
            self.trouble.faults.clear()
        else:
            self.trouble.add(body.pop("operation"), body.pop("kind"), **body)
        return Response(status_code=204)

    async def _seen(self, _: Request) -> Response:
        return JSONResponse([asdict(seen) for seen in self.trouble.seen])


def _success(data: list[str] | list[dict[str, str]]) -> Response:
    return JSONResponse({"status": "success", "data": data})


async def _struck(fault: Fault) -> Response | None:
    """`extra` of a status may give `text` and `headers`; with 200 it is what something answers that is no Loki."""
    match fault.kind:
        case "slow":
            await anyio.sleep(fault.seconds)
            return None
        case "status":
            texts = {429: "too many outstanding requests", 500: "internal error", 503: "at least 2 live replicas required"}
            text, headers = fault.extra.get("text"), fault.extra.get("headers")
            said = str(text) if text is not None else texts.get(fault.status, "error")
            return PlainTextResponse(said, fault.status, headers if isinstance(headers, dict) else None)
        case kind:
            raise NoAnswer(kind)


async def _silent(request: Request, silence: NoAnswer) -> Response:
    if IN_PROCESS in request.scope.get("extensions", {}):
        raise silence
    while silence.kind == "timeout" and not await request.is_disconnected():
        await anyio.sleep(0.1)
    return _Cut()


class _Cut(Response):
    """Headers that promise a body, and the end of the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise NoAnswer("reset")


def _time(said: str) -> int:
    """Nanoseconds since 1970, seconds with a fraction, or RFC 3339."""
    try:
        if re.fullmatch(r"\d+", said):
            return int(said) if len(said) > 10 else int(said) * 10**9
        if re.fullmatch(r"\d+\.\d+", said):
            return int(float(said) * 10**9)
        return int(datetime.fromisoformat(said).timestamp() * 10**9)
    except ValueError as error:
        raise Refused(400, f"could not parse timestamp: {said}") from error


def _duration(said: str) -> int:
    found = _DURATION.fullmatch(said)
    if found is None:
        raise Refused(400, f"could not parse duration: {said}")
    return int(float(found[1]) * _UNITS[found[2]])
