"""What a rule watches, as it was written: PromQL, or a condition in words; and whether anything of it is there."""

from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import NamedTuple

from anyio import to_thread

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, OpsError
from ops_mcp.observing import EMBEDDED
from ops_mcp.ports import Ops

_MOST_LISTED = 5_000
_MOST_NAMED = 5
_SUFFIXES = ("_bucket", "_sum", "_count")


class Understood(NamedTuple):
    """`said` is in words what a condition became; empty for PromQL. `for_seconds` is None where the text does not say."""

    expression: str
    for_seconds: float | None = None
    said: str = ""


async def understood(text: str, environment: EnvironmentName, service: str | None, ops: Ops) -> Understood:
    """The query that `text` means. Words of conditions win over metrics that nobody recorded.

    Raises `InvalidArguments` with what is wrong in the language that the text seems to be in.
    """
    names = await recorded(environment, ops)
    as_query = await _as_query(text, environment, ops)
    if isinstance(as_query, list) and names is not None and unknown(as_query, names) == []:
        return Understood(text)
    try:
        # What a word that there is not was meant to be is looked for among names that strangers chose: that may take a second.
        return await to_thread.run_sync(_as_condition, text, service, names or ())
    except InvalidArguments as error:
        if isinstance(as_query, list):
            return Understood(text)
        raise _refused(as_query, error) from error


async def recorded(environment: EnvironmentName, ops: Ops) -> frozenset[str] | None:
    """Names of the metrics that are there; None where that cannot be told."""
    try:
        found = await ops.sights.metrics.source(environment).listed(environment, limit=_MOST_LISTED)
    except OpsError:
        return None
    return frozenset(one.name for one in found) if len(found) < _MOST_LISTED else None


async def warnings(expressions: Iterable[str], environment: EnvironmentName, ops: Ops) -> list[str]:
    """Which metrics of these queries nobody has recorded, with names that are near."""
    names = await recorded(environment, ops)
    if names is None:
        return []
    used = {name for text in expressions for name in _names(text, ops.sights.metrics.compiled)}
    missing = unknown(sorted(used), names)[:_MOST_NAMED]
    return await to_thread.run_sync(lambda: [_warning(name, names) for name in missing])


def unknown(used: Iterable[str], names: Collection[str]) -> list[str]:
    """Those that are not there. The parts of a histogram are there when it is."""
    return [name for name in used if name not in names and not any(name.removesuffix(end) in names for end in _SUFFIXES)]


async def _as_query(text: str, environment: EnvironmentName, ops: Ops) -> list[str] | OpsError:
    """The metrics that the text names as PromQL, or why it is none. What we do not support, an outside Prometheus may."""
    book = ops.sights.metrics
    try:
        book.compiled(text)
    except InvalidArguments as error:
        source = book.source(environment)
        if source.name == EMBEDDED:
            return error
        try:
            await source.instant(text, environment, ops.clock())
        except OpsError as outside:
            return outside
        return []
    return _names(text, book.compiled)


def _as_condition(text: str, service: str | None, names: Collection[str]) -> Understood:
    from ops_mcp.metrics.conditions import condition  # start-up has a bar

    found = condition(text, where={"service": service} if service else {}, recorded=names)
    return Understood(found.expression, found.for_ms / 1000 if found.for_ms else None, found.said)


def _names(text: str, compiled: Callable[[str], object]) -> list[str]:
    from ops_mcp.metrics.labels import NAME
    from ops_mcp.metrics.matchers import Match
    from ops_mcp.metrics.query import Query, selections

    try:
        query = compiled(text)
    except InvalidArguments:
        return []
    assert isinstance(query, Query)
    matchers = (one for selection in selections(query, 0, 0) for one in selection.matchers)
    return sorted({one.value for one in matchers if one.name == NAME and one.match is Match.equal})


def _warning(name: str, names: Collection[str]) -> str:
    near = get_close_matches(name, names, n=3)
    close = f" Close to it: {', '.join(near)}." if near else " `metrics_list` shows what there is."
    return f"Nobody has recorded {name[:100]} there yet: the rule cannot fire before.{close}"


def _refused(as_query: OpsError, as_condition: InvalidArguments) -> InvalidArguments:
    return InvalidArguments(
        f"expression is neither PromQL nor a condition. As PromQL: {as_query.message} As a condition: {as_condition.message}",
        hint=as_condition.hint or as_query.hint,
        details={"fields": ["expression"]},
    )
