"""Our answers and Prometheus's as the same kind of thing, and whether they are equal."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.evaluating import instant, ranged
from ops_mcp.metrics.held import fetch_from
from ops_mcp.metrics.labels import NO_LABELS, Labels, labels_of
from ops_mcp.metrics.query import gather
from ops_mcp.metrics.series import Answer, Matrix, Scalar, Series, Vector
from tests.metrics.prometheus import Prometheus, Refused

Points: TypeAlias = dict[tuple[Labels, int], float]
"""Every value by its labels and its moment in milliseconds."""


class Both:
    """One set of samples, in a real Prometheus and before our evaluator."""

    def __init__(self, theirs: Prometheus, series: Sequence[Series]) -> None:
        theirs.write(series)
        self._theirs = theirs
        self._fetch = fetch_from(series)

    def instant(self, expression: str, at_ms: int) -> tuple[Points | None, Points | None]:
        """Our answer and theirs; None where it was refused."""
        try:
            theirs = _theirs(self._theirs.instant(expression, at_ms))
        except Refused:
            theirs = None
        try:
            query = compiled(expression)
            ours = _ours(instant(query, at_ms, gather(query, at_ms, at_ms, self._fetch)))
        except InvalidArguments:
            ours = None
        return ours, theirs

    def ranged(self, expression: str, start_ms: int, end_ms: int, step_ms: int) -> tuple[Points | None, Points | None]:
        try:
            theirs = _theirs(self._theirs.ranged(expression, start_ms, end_ms, step_ms))
        except Refused:
            theirs = None
        try:
            query = compiled(expression)
            ours = _ours(ranged(query, start_ms, end_ms, step_ms, gather(query, start_ms, end_ms, self._fetch)))
        except InvalidArguments:
            ours = None
        return ours, theirs


def difference(ours: Points | None, theirs: Points | None) -> str:
    """Empty where both refused, or answered with the same labels, moments and numbers to nine digits."""
    if ours is None or theirs is None:
        return "" if ours is theirs else f"refused by {'us' if ours is None else 'Prometheus'} alone"
    if ours.keys() != theirs.keys():
        return f"only ours {sorted(ours.keys() - theirs.keys())[:2]}, only theirs {sorted(theirs.keys() - ours.keys())[:2]}"
    apart = [(key, ours[key], theirs[key]) for key in ours if not _same(ours[key], theirs[key])]
    return f"{len(apart)} numbers differ: {apart[:2]}" if apart else ""


def _same(ours: float, theirs: float) -> bool:
    """A millionth of a millionth is what is left of zero where sums cancel each other out."""
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)


def _ours(answer: Answer) -> Points:
    match answer:
        case Vector(at_ms, samples):
            found = {(sample.labels, at_ms): sample.value for sample in samples}
            assert len(found) == len(samples)
            return found
        case Scalar(at_ms, value):
            return {(NO_LABELS, at_ms): value}
        case Matrix(series):
            return {(one.labels, at): value for one in series for at, value in zip(one.times, one.values, strict=True)}


def _theirs(data: Any) -> Points:
    match data["resultType"]:
        case "vector":
            return {(labels_of(r["metric"]), _ms(r["value"][0])): float(r["value"][1]) for r in data["result"]}
        case "scalar":
            return {(NO_LABELS, _ms(data["result"][0])): float(data["result"][1])}
        case "matrix":
            return {(labels_of(r["metric"]), _ms(at)): float(value) for r in data["result"] for at, value in r["values"]}
        case other:
            raise AssertionError(other)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
