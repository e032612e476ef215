"""Series and answers as the page on the language writes them: labels, then values; one value a minute."""

import re

from ops_mcp.metrics.compiling import compiled
from ops_mcp.metrics.evaluating import instant, ranged
from ops_mcp.metrics.held import fetch_from
from ops_mcp.metrics.labels import Labels, labels_of
from ops_mcp.metrics.query import gather
from ops_mcp.metrics.series import STALE, Answer, Matrix, Scalar, Series, Vector

MINUTE = 60_000
START = 1_700_000_040_000  # on a full minute

_LABELLED = re.compile(r"([A-Za-z_:][\w:]*)?(?:\{(.*?)\})?(?:\s+(.*))?")
_LABEL = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')


def series(text: str) -> Series:
    """`name{a="1"}  1 2 _ end`: a value every minute from `START` on."""
    labels, rest = labelled(text)
    found = [(START + n * MINUTE, STALE if word == "end" else float(word)) for n, word in enumerate(rest.split()) if word != "_"]
    return Series(labels, [at for at, _ in found], [value for _, value in found])


def labelled(text: str) -> tuple[Labels, str]:
    """The labels that a line begins with, and what follows."""
    found = _LABELLED.fullmatch(text.strip())
    assert found is not None, text
    return labels_of(_LABEL.findall(found[2] or ""), name=found[1] or ""), found[3] or ""


def asked(expression: str, minute: float, *written: str) -> dict[Labels, float]:
    """What an expression answers at a minute over the series written."""
    return values(answer(expression, minute, *written))


def answer(expression: str, minute: float, *written: str) -> Answer:
    at = START + round(minute * MINUTE)
    query = compiled(expression)
    return instant(query, at, gather(query, at, at, fetch_from([series(one) for one in written])))


def stepped(expression: str, minutes: int, *written: str) -> dict[Labels, list[float]]:
    """The values at every minute from 0 to `minutes`; None where there is none."""
    query = compiled(expression)
    end = START + minutes * MINUTE
    found = ranged(query, START, end, MINUTE, gather(query, START, end, fetch_from([series(one) for one in written])))
    return {one.labels: list(one.values) for one in found.series}


def values(found: Answer) -> dict[Labels, float]:
    match found:
        case Vector(_, samples):
            return {sample.labels: sample.value for sample in samples}
        case Scalar(_, value):
            return {(): value}
        case Matrix():
            raise AssertionError("a range vector has more than one value a series")
