"""Which records of a chunk are wanted. What is cheap to tell is told first: bytes are searched, only what is left is parsed."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ops_mcp.logs.formats import FieldValue
from ops_mcp.observing import LogSearch
from ops_mcp.store.logs.chunks import BETWEEN, Chunk, Stream, record_of
from ops_mcp.store.logs.schema import microseconds

Matches = Callable[[Chunk, Sequence[int]], Sequence[int]]
"""Those records of a chunk, of the numbers given, that a regular expression matches."""

_DERIVED = frozenset(("facility",))
"""Fields whose values do not stand in the line."""

_PLAIN = re.compile(r"[A-Za-z_/-][\w/ -]*|\d+", re.ASCII)


class Wanted(NamedTuple):
    """A search in the store's terms. `needle` is folded; times are microseconds, the end exclusive."""

    since: int
    until: int
    needle: str
    rank: int
    fields: Mapping[str, str]

    @classmethod
    def of(cls, search: LogSearch) -> "Wanted":
        return cls(
            microseconds(search.since) if search.since is not None else -(2**62),
            microseconds(search.until) if search.until is not None else 2**62,
            (search.text or "").casefold(),
            search.severity.rank if search.severity is not None else 0,
            dict(search.fields),
        )


def wanted_of(chunk: Chunk, wanted: Wanted, stream: Stream, *, ascii: bool) -> Sequence[int]:
    """The numbers of the records that match in all but a regular expression, in order."""
    found: Iterable[int] = _holding(chunk, wanted.needle, ascii=ascii) if wanted.needle else range(chunk.records)
    if wanted.fields:
        found = _with_fields(chunk, found, wanted, stream)
    since, until, rank, times, severities = wanted.since, wanted.until, wanted.rank, chunk.times, chunk.severities
    return [n for n in found if since <= times[n] < until and severities[n] >= rank]


def count_of(chunk: Chunk, rank: int) -> int:
    """How many records are at least that bad."""
    if not rank:
        return chunk.records
    return sum(map(chunk.severities.count, range(rank, max(chunk.severities) + 1)))


def is_simple(wanted: Wanted) -> bool:
    """Whether only time and severity are asked for."""
    return not wanted.needle and not wanted.fields


def field_is(value: FieldValue, wanted: str) -> bool:
    """Numbers and truths are compared as JSON writes them."""
    match value:
        case str():
            return value == wanted
        case None:
            return wanted == "null"
        case bool():
            return wanted == ("true" if value else "false")
        case _:
            return str(value) == wanted


def _holding(chunk: Chunk, needle: str, *, ascii: bool) -> Iterator[int]:
    """Records that hold the text in any case: `needle in text.casefold()`, for each."""
    if not ascii:
        return _holding_folded(chunk, needle)
    # Of ASCII, lower case is all that folding does, and nothing else folds into it.
    return _found(chunk.body.lower(), needle.encode(errors="surrogatepass"), chunk.starts) if needle.isascii() else iter(())


def _found(body: bytes, needle: bytes, starts: Sequence[int]) -> Iterator[int]:
    at = body.find(needle)
    while at >= 0:
        after = bisect_right(starts, at)
        yield after - 1
        if after == len(starts):
            return
        at = body.find(needle, starts[after])


def _holding_folded(chunk: Chunk, needle: str) -> Iterator[int]:
    """Folding changes lengths, but no NUL comes or goes: they tell which record a place belongs to."""
    folded = chunk.body.decode(errors="replace").casefold()
    between = BETWEEN.decode()
    at, number, counted = folded.find(needle), 0, 0
    while at >= 0:
        number += folded.count(between, counted, at)
        yield number
        counted = folded.find(between, at)
        if counted < 0:
            return
        at = folded.find(needle, counted)


def _with_fields(chunk: Chunk, found: Iterable[int], wanted: Wanted, stream: Stream) -> Iterator[int]:
    for needle in _needles(wanted.fields):
        holding = set(_found(chunk.body, needle, chunk.starts))
        found = [n for n in found if n in holding]
    for number in found:
        record = record_of(chunk.text(number), chunk.times[number], chunk.severities[number], stream)
        if all(name in record.fields and field_is(record.fields[name], value) for name, value in wanted.fields.items()):
            yield number


def _needles(fields: Mapping[str, str]) -> Iterator[bytes]:
    """Words that must stand in the line of a record with these fields; a line with escapes has its words behind it."""
    for name, value in fields.items():
        if name not in _DERIVED and _PLAIN.fullmatch(value):
            yield value.encode()
