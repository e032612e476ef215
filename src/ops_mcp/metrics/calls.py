"""Which functions are supported, and the nodes that calls of them are compiled to."""

from typing import Protocol

import promql_parser as promql

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.elementwise import FUNCTIONS, Absent, Clamped, Each, MomentOf, Rounded, VectorOf
from ops_mcp.metrics.histograms import HistogramQuantile
from ops_mcp.metrics.labels import NAME, Labels, labels_of
from ops_mcp.metrics.matchers import Match, Matchers
from ops_mcp.metrics.nodes import Node, ScalarNode, VectorNode
from ops_mcp.metrics.scalars import Number, ScalarOf, Time
from ops_mcp.metrics.selectors import AbsentOverTime, OverWindow, Selector, Timestamps, Window
from ops_mcp.metrics.windows import WINDOW_FUNCTIONS

_OTHERS = ("absent", "absent_over_time", "clamp", "clamp_max", "clamp_min", "histogram_quantile", "round", "scalar")
SUPPORTED_FUNCTIONS = tuple(sorted((*FUNCTIONS, *WINDOW_FUNCTIONS, *_OTHERS, "time", "timestamp", "vector")))


class Arguments(Protocol):
    """Compiles the arguments of a call. The parser has checked their number and types."""

    def scalar(self, expression: promql.Expr) -> ScalarNode: ...

    def vector(self, expression: promql.Expr) -> VectorNode: ...

    def window(self, expression: promql.Expr) -> Window: ...

    def number_of_node(self) -> int: ...


def call(compiler: Arguments, name: str, arguments: list[promql.Expr]) -> Node:
    """Raises `InvalidArguments` for a function that is not supported."""
    if name in WINDOW_FUNCTIONS:
        return _over_window(compiler, name, arguments)
    if name in FUNCTIONS:
        return Each(FUNCTIONS[name], compiler.vector(arguments[0]))
    if name.startswith("clamp"):
        return _clamped(compiler, name, arguments)
    if name in _OTHERS:
        return _other(compiler, name, arguments)
    match name:
        case "time":
            return Time()
        case "vector":
            return VectorOf(compiler.scalar(arguments[0]))
        case "timestamp":
            of = compiler.vector(arguments[0])
            return Timestamps(of) if isinstance(of, Selector) else MomentOf(of)
        case _:
            raise unsupported_function(name)


def unsupported_function(name: str) -> InvalidArguments:
    return InvalidArguments(
        f"The function `{name}` is not supported here.",
        hint="Supported functions: " + ", ".join(SUPPORTED_FUNCTIONS) + ".",
    )


def _over_window(compiler: Arguments, name: str, arguments: list[promql.Expr]) -> Node:
    match name:
        case "quantile_over_time":
            parameter, window = compiler.scalar(arguments[0]), compiler.window(arguments[1])
        case "predict_linear":
            window, parameter = compiler.window(arguments[0]), compiler.scalar(arguments[1])
        case _:
            window, parameter = compiler.window(arguments[0]), None
    return OverWindow(compiler.number_of_node(), WINDOW_FUNCTIONS[name], window, parameter, name == "last_over_time")


def _clamped(compiler: Arguments, name: str, arguments: list[promql.Expr]) -> Node:
    of = compiler.vector(arguments[0])
    bounds = [compiler.scalar(bound) for bound in arguments[1:]]
    match name:
        case "clamp":
            return Clamped(of, bounds[0], bounds[1])
        case "clamp_min":
            return Clamped(of, bounds[0], None)
        case _:
            return Clamped(of, None, bounds[0])


def _other(compiler: Arguments, name: str, arguments: list[promql.Expr]) -> Node:
    match name:
        case "absent_over_time":
            window = compiler.window(arguments[0])
            return AbsentOverTime(window, _asked_for(window.matchers))
        case "absent":
            of = compiler.vector(arguments[0])
            return Absent(of, _asked_for(of.matchers) if isinstance(of, Selector) else ())
        case "histogram_quantile":
            return HistogramQuantile(compiler.scalar(arguments[0]), compiler.vector(arguments[1]))
        case "round":
            to = compiler.scalar(arguments[1]) if len(arguments) > 1 else Number(1.0)
            return Rounded(compiler.vector(arguments[0]), to)
        case _:
            return ScalarOf(compiler.vector(arguments[0]))


def _asked_for(matchers: Matchers) -> Labels:
    """What an absent series would have been: its labels matched by `=`, unless another matcher of the same label follows."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.name == NAME:
            continue
        if matcher.match is Match.equal and matcher.name not in seen:
            found[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            found.pop(matcher.name, None)
    return labels_of(found)
