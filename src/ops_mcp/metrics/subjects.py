"""What a condition compares: a word, or a function of one, written as PromQL."""

import re
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.vocabulary import BY_SERVICE, About, Measure, Place, Word

FUNCTIONS = ("absent", "avg", "min", "max", "rate", "increase")
PERCENTILE = re.compile(r"p([0-9]{1,2})(?:_([0-9]{1,3}))?", re.ASCII)


class Subject(NamedTuple):
    """`about` is None where the expression has no labels that others could be joined by; `measure` where nothing is compared."""

    expression: str
    measure: Measure | None
    about: About | None
    means: str


def subject(function: str, word: Word, place: Place) -> Subject:
    """`function` is empty for the word itself. Raises `InvalidArguments` where it does not apply to the word."""
    if function == "absent":
        return Subject(f"absent({word.expression(place)})", None, None, f"nothing is recorded of {word.name}")
    percentile = PERCENTILE.fullmatch(function)
    if percentile is not None:
        return _percentile(percentile, word, place)
    measure, about = word.measure, word.about
    match function:
        case "" if not word.counter:
            return Subject(word.expression(place), measure, about, _over(word.means, word.expression(place), place))
        case "avg" if word.histogram:
            return subject("", word, place)
        case "avg" | "min" | "max" if word.gauge:
            expression = f"{function}_over_time({place.over(word.gauge)})"
            return Subject(expression, measure, about, _over(f"the {_SAID[function]} of {word.means}", expression, place))
        case "rate" | "increase" if word.counter:
            expression = f"sum {BY_SERVICE} ({function}({place.over(word.counter)}))"
            of = Measure.per_second if function == "rate" else measure
            return Subject(expression, of, about, _over(f"the {_SAID[function]} of {word.means}", expression, place))
        case _:
            raise InvalidArguments(f"`{word.name}` cannot be taken so.", hint=_applicable(word))


_SAID = {"avg": "average", "min": "least", "max": "most", "rate": "growth per second", "increase": "growth"}


def _percentile(found: re.Match[str], word: Word, place: Place) -> Subject:
    share = f"0.{found[1]:0>2}{found[2] or ''}"
    if word.histogram:
        buckets = f"sum by (service, environment, le) (rate({place.over(word.histogram + '_bucket')}))"
        expression = f"histogram_quantile({share}, {buckets})"
    elif word.gauge:
        expression = f"quantile_over_time({share}, {place.over(word.gauge)})"
    else:
        raise InvalidArguments(f"`{word.name}` has no percentiles.", hint=_applicable(word))
    named = found[1] + (f".{found[2]}" if found[2] else "")
    means = word.means if not word.histogram else "how long requests take"
    return Subject(expression, word.measure, word.about, _over(f"percentile {named} of {means}", expression, place))


def _over(means: str, expression: str, place: Place) -> str:
    """With the window, where the expression looks at one."""
    return f"{means} over {place.window}" if f"[{place.window}]" in expression else means


def _applicable(word: Word) -> str:
    if word.counter:
        return f"It counts: compare `rate({word.name})` or `increase({word.name})`."
    if word.gauge:
        return f"Valid: `{word.name}`, `avg(…)`, `min(…)`, `max(…)`, percentiles such as `p95(…)`, and `absent(…)`."
    if word.histogram:
        return f"Valid: `{word.name}`, `avg(…)`, percentiles such as `p95(…)`, and `absent(…)`."
    return f"Valid: `{word.name}` and `absent({word.name})`."
