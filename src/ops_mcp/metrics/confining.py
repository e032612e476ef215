"""A query confined to the series that carry certain labels, whatever it selects: for a store that others' series are in too."""

from collections.abc import Callable, Mapping
from datetime import timedelta

import promql_parser as promql

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.bounds import check_text
from ops_mcp.metrics.compiling import malformed, with_plain_strings
from ops_mcp.metrics.labels import is_label_name, quoted

_SIGNS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_READS_BY_ITSELF = frozenset({"info"})
"""Functions that select series which no selector names."""


def confined(text: str, labels: Mapping[str, str]) -> str:
    """The expression with these labels demanded by every selector. What comes out is read once more and looked through.

    The whole language is let through but for `@`, `or` between matchers, and functions that select series by themselves. Raises
    `InvalidArguments` for those, and for what is no PromQL.
    """
    if not labels:
        raise ValueError("nothing to confine by")
    check_text(text)
    demanded = tuple(f"{name}={quoted(value)}" for name, value in sorted(labels.items()))

    def narrowed(expression: promql.Expr) -> promql.Expr | None:
        match expression:
            case promql.VectorSelector():
                return _parsed(_selector(expression, demanded) + _offset(expression))
            case promql.MatrixSelector():
                inner = expression.vector_selector
                span = _duration(lambda: expression.range)
                return _parsed(f"{_selector(inner, demanded)}[{span}]{_offset(inner)}")
            case promql.Call() if expression.func.name in _READS_BY_ITSELF:
                raise InvalidArguments(f"The function `{expression.func.name}` is not passed on: it reads others' series too.")
            case _:
                return None

    parsed = _parsed(text)
    written = promql.transform(parsed, None, narrowed).prettify()
    if not _all_demand(_parsed(written), labels):
        raise InvalidArguments("The expression cannot be confined to your environment.", hint="Write its selectors plainly.")
    return written


def _parsed(text: str) -> promql.Expr:
    try:
        return promql.parse(with_plain_strings(text))
    except ValueError as error:
        raise malformed(str(error)) from error


def _selector(selector: promql.VectorSelector, demanded: tuple[str, ...]) -> str:
    if selector.matchers.or_matchers or selector.at is not None:
        raise InvalidArguments("`or` between matchers and `@` are not passed on.", hint="Write two selectors, or use `offset`.")
    matchers: list[str] = []
    if selector.name:
        matchers.append(f"__name__={quoted(selector.name)}")
    for one in selector.matchers.matchers:
        if not is_label_name(one.name):
            raise InvalidArguments("A label's name is of letters, digits and `_`.")
        matchers.append(f"{one.name}{_SIGNS[str(one.op)]}{quoted(one.value)}")
    return "{" + ",".join([*matchers, *(one for one in demanded if one not in matchers)]) + "}"


def _all_demand(expression: promql.Expr, labels: Mapping[str, str]) -> bool:
    """Whether no selector of the tree is without them."""
    unconfined = 0

    def look(one: promql.Expr) -> None:
        nonlocal unconfined
        selector = one.vector_selector if isinstance(one, promql.MatrixSelector) else one
        if isinstance(selector, promql.VectorSelector):
            equal = {(m.name, m.value) for m in selector.matchers.matchers if str(m.op) == "MatchOp.Equal"}
            unconfined += not (set(labels.items()) <= equal) or bool(selector.matchers.or_matchers)

    promql.walk(expression, look)
    return unconfined == 0


def _duration(read: Callable[[], timedelta]) -> str:
    """As PromQL writes it. The parser hands out those that Python cannot hold only when asked."""
    try:
        return promql.display_duration(abs(read()))
    except OverflowError as error:
        raise InvalidArguments("A duration is too long.", hint="Take a shorter one.") from error


def _offset(selector: promql.VectorSelector) -> str:
    try:
        offset = selector.offset
    except OverflowError as error:
        raise InvalidArguments("An offset is too long.", hint="Take a shorter one.") from error
    if not offset:
        return ""
    return f" offset {'-' if offset < timedelta(0) else ''}{_duration(lambda: offset)}"
