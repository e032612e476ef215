"""Vercel's published specification, held against every request and every answer that passes; each check is counted.

Objects are closed for this: a field that the specification does not know is a mistake of ours, on either side. Deployments are
held against their full form, because nearly anything passes for the short one.
"""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from jsonschema import Draft202012Validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SPECS = Path(__file__).parents[4] / "shared" / "specs"
FILES = ("vercel-openapi-deployments.json", "vercel-openapi-projects.json")
FULL_FORMS = {
    "GetDeploymentResponseBody": "GetDeploymentResponseBody2",
    "CreateDeploymentResponseBody": "CreateDeploymentResponseBody2",
}
ABSENT = "the published specifications (../shared/specs) are not here"


@dataclass(frozen=True)
class Operation:
    """One operation of a specification, with the components it refers to."""

    method: str
    path: str
    body: Mapping[str, Any] = field(repr=False)
    components: Mapping[str, Any] = field(repr=False)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile("^" + re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(self.path)) + "$")

    @cached_property
    def parameters(self) -> dict[str, Any]:
        return {p["name"]: p["schema"] for p in self.body.get("parameters", []) if p["in"] == "query"}

    @cached_property
    def request(self) -> Draft202012Validator | None:
        content = self.body.get("requestBody", {}).get("content", {}).get("application/json")
        return self.validator(content["schema"]) if content else None

    def answer(self, status: int, media: str) -> Draft202012Validator | None:
        content = self.body["responses"].get(str(status), {}).get("content", {})
        return self.validator(content[media]["schema"]) if media in content else None

    def validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        name = schema.get("$ref", "").rpartition("/")[2]
        named = {"$ref": f"#/components/schemas/{FULL_FORMS[name]}"} if name in FULL_FORMS else schema
        return Draft202012Validator({**named, "components": self.components})

    def says(self, status: int) -> bool:
        known = self.body["responses"]
        return str(status) in known or f"{status // 100}XX" in known


@dataclass
class Spec:
    """`requests` and `answers` count what was found to be right; what was not is raised, and kept in `failures`."""

    operations: tuple[Operation, ...] = field(repr=False)
    requests: int = 0
    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, query: str, body: bytes) -> Operation:
        found = [op for op in self.operations if op.method == method and op.pattern.match(path)]
        self._hold(bool(found), f"{method} {path} is not in the specification")
        # Literal words win over parameters: /promote/aliases is no deployment.
        operation = min(found, key=lambda op: op.path.count("{"))
        for name, value in parse_qsl(query, keep_blank_values=True):
            self._hold(name in operation.parameters, f"{method} {path}: no query parameter {name}")
            validator = operation.validator(operation.parameters[name])
            self._hold(any(validator.is_valid(read) for read in _readings(value)), f"{method} {path}: {name}={value}")
        if operation.request is not None:
            self._validate(operation.request, json.loads(body), f"{method} {path}: request")
        else:
            self._hold(body in (b"", b"{}"), f"{method} {path}: a body where none is known")
        self.requests += 1
        return operation

    def answer(self, operation: Operation, status: int, media: str, body: bytes) -> None:
        where = f"{operation.method} {operation.path}: answer {status}"
        self._hold(operation.says(status), f"{where} is not in the specification")
        if status >= 400:
            error = json.loads(body)
            self._hold(isinstance(error.get("error", error.get("err")).get("code"), str), f"{where} has no code")
        elif (validator := operation.answer(status, media)) is not None:
            stream = media == "application/stream+json"
            for written in body.splitlines() if stream else [body]:
                if written.strip() and (where, written) not in _RIGHT:
                    self._validate(validator, json.loads(written), where)
                    _RIGHT.add((where, written))
        else:
            self._hold(not body, f"{where} has a body that the specification does not know")
        self.answers += 1

    def _validate(self, validator: Draft202012Validator, instance: object, where: str) -> None:
        error = next(validator.iter_errors(instance), None)
        if error is not None:
            deepest = min([error, *(error.context or [])], key=lambda e: -len(e.absolute_path))
            self._hold(False, f"{where}: {'/'.join(map(str, deepest.absolute_path))}: {deepest.message[:300]}")

    def _hold(self, true: bool, what: str) -> None:
        if not true:
            self.failures.append(what)
            raise AssertionError(what)


class Checked:
    """An ASGI application whose requests and answers are held against the specification. What is cut off is not judged."""

    def __init__(self, app: ASGIApp, spec: Spec) -> None:
        self.app = app
        self.spec = spec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not re.match(r"^/v[0-9]+/", scope["path"]):
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        operation = self.spec.request(scope["method"], scope["path"], scope["query_string"].decode(), body)
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, again, _Recorder(self.spec, operation, send))


class _Recorder:
    """Looks at an answer before its last part is sent on; at each piece of a stream as it comes."""

    def __init__(self, spec: Spec, operation: Operation, send: Send) -> None:
        self._spec, self._operation, self._send = spec, operation, send
        self._status, self._media, self._body = 0, "", b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            named = dict(message.get("headers", [])).get(b"content-type", b"").decode()
            self._media = named.partition(";")[0]
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body") or self._media == "application/stream+json":
                self._spec.answer(self._operation, self._status, self._media, self._body)
                self._body = b""
        await self._send(message)


_RIGHT: set[tuple[str, bytes]] = set()
"""What was found to be right before: most looks at a build find the same again."""


def spec() -> Spec:
    """A fresh count over the specifications. Skips the test where they are absent."""
    if not all((SPECS / name).is_file() for name in FILES):
        pytest.skip(ABSENT)
    return Spec(_operations())


def spec_or_none() -> Spec | None:
    """For tests that are about something else: they check along where the specifications are here."""
    return Spec(_operations()) if all((SPECS / name).is_file() for name in FILES) else None


@cache
def _operations() -> tuple[Operation, ...]:
    found: list[Operation] = []
    for name in FILES:
        document = json.loads((SPECS / name).read_text(encoding="utf-8"))
        components = {"schemas": {key: _closed(schema) for key, schema in document["components"]["schemas"].items()}}
        for path, methods in document["paths"].items():
            found += [Operation(method.upper(), path, _closed(body), components) for method, body in methods.items()]
    return tuple(found)


def _closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name. Parts of an `allOf` are left open: each knows only its own."""
    made = deepcopy(schema)
    waiting = [made]
    while waiting:
        match waiting.pop():
            case dict() as node:
                if (
                    isinstance(node.get("properties"), dict)
                    and "additionalProperties" not in node
                    and node.get("type") == "object"
                ):
                    node["additionalProperties"] = False
                waiting += [value for key, value in node.items() if key != "allOf"]
            case list() as nodes:
                waiting += nodes
            case _:
                pass
    return made


def _readings(value: str) -> list[object]:
    """What a query parameter may mean: its schema decides which."""
    found: list[object] = [value]
    if value in ("true", "false"):
        found.append(value == "true")
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        found.append(float(value))
    return found
