"""What a hostile or broken client may send: values, names and whole calls, for property tests over every tool."""

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ops_mcp.values import Json, JsonObject

PARTS = (
    "", " ", "\x00", "\x1b[2J\x1b]0;owned\x07", "\u202e\u2066gpj.exe", '\n{"jsonrpc":"2.0"}\n', "true", "null", "1e309", "0x10",
    "../../../../etc/passwd", "/etc/shadow", "..\\..\\windows", "file:///etc/passwd", "refs/heads/../../main", "ext::sh -c id",
    "--upload-pack=touch /tmp/owned", "-oProxyCommand=touch /tmp/owned", "--", "-", "$(id)", "`id`", "; rm -rf /",
    "' OR 1=1 --", "%' OR '1'='1", "${OPS_MCP_TOKEN}", "{{7*7}}", "%s%s%n", "constructor", "__proto__",
    "web\n", "WEB", "wéb", "web.sandbox", "dep_00000000\n", "apr_" + "0" * 41, "\ud800", "ok\udfff",
    "A" * 300, "0" * 100_000, "\U0001f980" * 5_000,
)  # fmt: skip
"""Text that has broken a program before."""

ODD: tuple[Json, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 26, 2**31, 2**53, 2**60, -(2**63), 10**400, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", [], {}, [[]], {"": ""}, ["web"], {"service": "web"}, {"$ref": "#"},
    {"a" * 5000: 1}, list[Json](range(2000)),
)  # fmt: skip
"""Values of another kind than any argument wants, or at its edge."""

VALID: dict[str, JsonObject] = {
    "whoami": {},
    "services": {"environment": "sandbox"},
    "deployments": {"service": "web", "environment": "sandbox", "limit": 5},
    "deployment": {"id": "dep_00000000"},
    "audit": {"limit": 3},
    "health": {"environment": "sandbox"},
    "checkpoint": {"environment": "sandbox", "name": "Ship it", "action": "began"},
    "notify": {"environment": "sandbox", "channels": ["nobody"], "message": "x"},
    "tasks": {"environment": "sandbox", "limit": 3},
    "task": {"task": "task_00000000"},
    "logs_search": {"service": "web", "environment": "sandbox", "limit": 3},
    "logs_patterns": {"service": "web", "environment": "sandbox"},
    "logs_anomalies": {"service": "web", "environment": "sandbox"},
    "metrics_query": {"environment": "sandbox", "query": "up"},
    "metrics_list": {"environment": "sandbox"},
    "alert_rules": {"environment": "sandbox"},
    "alert_rule_test": {"environment": "sandbox", "expression": "up == 0"},
    "alerts": {"environment": "sandbox"},
    "alert_rule_set": {"name": "Down", "environment": "sandbox", "expression": "up == 0", "expected_current": "another"},
    "approval": {"id": "apr_00000000"},
    "deploy": {"service": "web", "environment": "sandbox", "expected_current": "another"},
    "rollback": {"service": "web", "environment": "sandbox", "expected_current": "another"},
    "restart": {"service": "web", "environment": "sandbox", "expected_current": "another"},
    "deployment_cancel": {"id": "dep_00000000"},
}
"""Arguments that each tool takes and that change nothing: what one hostile value is put into."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "deployments": ("state", "cursor"),
    "deployment": ("wait_seconds",),
    "audit": ("tool", "environment", "deployment", "cursor"),
    "approval": ("wait_seconds",),
    "health": ("service",),
    "logs_search": ("since", "text", "pattern", "fields", "severity", "source", "cursor", "group"),
    "logs_patterns": ("since", "until", "baseline", "severity"),
    "logs_anomalies": ("minutes",),
    "metrics_query": ("start", "end", "step", "limit"),
    "metrics_list": ("match",),
    "alert_rules": ("name", "service"),
    "alert_rule_test": ("name", "since", "until", "for_seconds"),
    "alerts": ("id", "service", "severity", "ended"),
    "alert_rule_set": ("slo", "for_seconds", "labels", "annotations", "channels", "remediation", "sources", "reason"),
    "deploy": ("ref", "dry_run", "idempotency_key", "reason"),
    "rollback": ("to", "dry_run", "idempotency_key", "reason"),
    "restart": ("dry_run", "idempotency_key", "reason"),
    "deployment_cancel": ("dry_run", "idempotency_key", "reason"),
}


class Sent(NamedTuple):
    tool: str
    arguments: Any


texts = st.one_of(
    st.sampled_from(PARTS), st.text(max_size=60), st.text(st.characters(categories=("Cs", "Cc", "Cf", "Lu")), max_size=20)
)


def nested(depth: int) -> Json:
    """Lists and objects in each other."""
    value: Json = "deep"
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


values = st.one_of(
    texts,
    st.sampled_from(ODD),
    st.integers(),
    st.floats(),
    st.integers(30, 400).map(nested),
    st.recursive(
        texts | st.integers() | st.floats() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    ),
)
"""Any JSON, and what is no JSON any more."""


@st.composite
def calls(draw: st.DrawFn) -> Sent:
    """One call of a known tool in which at least one thing is not as it should be."""
    tool = draw(st.sampled_from(sorted(VALID)))
    arguments: JsonObject = dict(VALID[tool])
    names = [*arguments, *OPTIONAL.get(tool, ())]
    match draw(st.sampled_from(("value", "key", "all", "missing"))):
        case "value" if names:
            arguments[draw(st.sampled_from(names))] = draw(values)
        case "missing" if arguments:
            del arguments[draw(st.sampled_from(sorted(arguments)))]
        case "all":
            arguments = draw(st.dictionaries(texts, values, max_size=5))
        case _:
            arguments[draw(texts)] = draw(values)
    return Sent(tool, harmless(tool, arguments))


def harmless(tool: str, arguments: JsonObject) -> JsonObject:
    """Without an expectation that fails, a change could be a valid one; a client may leave it out or say null."""
    if "expected_current" in VALID[tool] and arguments.get("expected_current") is None:
        return {**arguments, "expected_current": "another"}
    return arguments


def line(request: int, sent: Sent, meta: JsonObject) -> bytes:
    """The call as raw bytes on the wire; what JSON cannot say is said all the same."""
    params = {"name": sent.tool, "arguments": sent.arguments, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params}).encode() + b"\n"
