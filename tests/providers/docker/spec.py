"""Holds every request of our client against the published description of the Engine API, where that is beside the project.

Names are held strictly: a query parameter or a field of a body that the description does not know fails, because an engine would
ignore it in silence.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from jsonschema import Draft4Validator

FILE = Path(__file__).parents[4] / "shared" / "specs" / "docker-engine-swagger-subset.json"
ABSENT = "the Engine API's description is not beside the project (../shared/specs)"
_VERSION = re.compile(r"^/v1\.4[1-4](?=/)")

# Endpoints of the published API that the description's extract leaves out, with what is asked of them.
BESIDE: Mapping[tuple[str, str], frozenset[str]] = {
    ("get", "/distribution/{name}/json"): frozenset(),
    ("post", "/build"): frozenset({"t", "dockerfile", "rm", "forcerm", "networkmode", "labels"}),
}


class Violation(AssertionError):
    """A request that the description does not allow."""


class Spec:
    """The description, and how many requests were held against it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.checked: dict[str, int] = {}
        self._paths = [(self._pattern(path), path) for path in document["paths"]]
        self._beside = [(self._pattern(path), method, path) for method, path in BESIDE]

    def check(self, method: str, path: str, query: list[tuple[str, str]], content_type: str, body: bytes) -> None:
        """Raises `Violation`."""
        method = method.lower()
        versioned = _VERSION.match(path)
        if versioned is None and path != "/version":
            raise Violation(f"{path} names no version that we speak")
        bare = path[versioned.end() :] if versioned else path
        if (found := self._found_beside(method, bare)) is not None:
            self._refuse_names(found, {name for name, _ in query} - BESIDE[method, found])
            self._count(method, found)
            return
        template, operation = self._operation(method, bare)
        self._check_query(template, operation, query)
        self._check_body(template, operation, content_type, body)
        self._count(method, template)

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]]:
        for pattern, template in self._paths:
            if pattern.fullmatch(path) and method in self.document["paths"][template]:
                return template, self.document["paths"][template][method]
        raise Violation(f"{method} {path} is not described")

    def _found_beside(self, method: str, path: str) -> str | None:
        return next((t for pattern, verb, t in self._beside if verb == method and pattern.fullmatch(path)), None)

    def _check_query(self, template: str, operation: dict[str, Any], query: list[tuple[str, str]]) -> None:
        known = {p["name"]: p for p in operation.get("parameters", []) if p["in"] == "query"}
        self._refuse_names(template, {name for name, _ in query} - known.keys())
        for name, value in query:
            shape = {"integer": r"-?\d+", "boolean": r"true|false|1|0"}.get(known[name].get("type", ""), r"(?s).*")
            if not re.fullmatch(shape, value):
                raise Violation(f"{template}: {name} is no {known[name]['type']}")
            if name == "filters":
                filters = json.loads(value)
                assert all(isinstance(v, list) and all(isinstance(i, str) for i in v) for v in filters.values()), template

    def _check_body(self, template: str, operation: dict[str, Any], content_type: str, body: bytes) -> None:
        wanted = next((p for p in operation.get("parameters", []) if p["in"] == "body"), None)
        if not body:
            return
        if wanted is None:
            raise Violation(f"{template} takes no body")
        if content_type != "application/json":
            raise Violation(f"{template}: the body is said to be {content_type}")
        value = json.loads(body)
        schema = {**wanted["schema"], "definitions": self.document["definitions"]}
        errors = [e.message for e in Draft4Validator(_with_nulls(schema)).iter_errors(value)]
        if errors:
            raise Violation(f"{template}: {errors[0]}")
        self._refuse_names(template, set(self._unknown(value, schema)))

    def _unknown(self, value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
        schema = self._resolved(schema)
        if isinstance(value, list) and "items" in schema:
            return [name for item in value for name in self._unknown(item, schema["items"], f"{at}[]")]
        if not isinstance(value, dict):
            return []
        known, others = self._properties(schema), schema.get("additionalProperties")
        found: list[str] = []
        for name, item in value.items():
            if name in known:
                found += self._unknown(item, known[name], f"{at}.{name}")
            elif isinstance(others, dict):
                found += self._unknown(item, others, f"{at}.{name}")
            elif known:
                found.append(f"{at}.{name}")
        return found

    def _properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = dict(schema.get("properties", {}))
        for part in schema.get("allOf", []):
            found |= self._properties(self._resolved(part))
        return found

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.document["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema

    def _count(self, method: str, template: str) -> None:
        name = f"{method} {template}"
        self.checked[name] = self.checked.get(name, 0) + 1

    @staticmethod
    def _refuse_names(template: str, names: set[str]) -> None:
        if names:
            raise Violation(f"{template} does not know {', '.join(sorted(names))}")

    @staticmethod
    def _pattern(template: str) -> re.Pattern[str]:
        parts = re.split(r"(\{\w+\})", template)
        return re.compile("".join(".+" if part.startswith("{") else re.escape(part) for part in parts))


def load() -> Spec | None:
    """The description, or None where it is not."""
    return Spec(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.is_file() else None


class Checked(httpx2.AsyncBaseTransport):
    """A transport that holds each request against the description before it sends it."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, spec: Spec | None) -> None:
        self._inner, self._spec = inner, spec

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._spec is not None:
            content_type = request.headers.get("content-type", "")
            body = await request.aread() if content_type == "application/json" else b""
            self._spec.check(request.method, request.url.path, list(request.url.params.multi_items()), content_type, body)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _with_nulls(schema: Any) -> Any:
    """Swagger's `x-nullable` as JSON Schema says it."""
    if isinstance(schema, list):
        return [_with_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _with_nulls(item) for name, item in schema.items() if name not in ("example", "examples", "format")}
    if schema.get("x-nullable") and isinstance(schema.get("type"), str):
        found["type"] = [schema["type"], "null"]
    return found
