"""Repeats in an answer, shown once with their number: neighbours that say the same, or everything that says the same."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from ops_mcp.logs.joining import headline
from ops_mcp.logs.masking import collapsed, masked
from ops_mcp.logs.records import LogRecord


class Repeated(NamedTuple):
    """A record and how many there are that say the same. `first` and `last` are the earliest and the latest time among them."""

    record: LogRecord
    times: int
    first: datetime
    last: datetime


def same(record: LogRecord) -> Hashable:
    """What two records share that say the same: where, how bad, and the words without numbers, ids, addresses and the like."""
    words = masked(collapsed(headline(record.message)))
    return record.service, record.environment, record.deployment, record.severity, words


def neighbours(records: Iterable[LogRecord], key: Callable[[LogRecord], Hashable] = same) -> Iterator[Repeated]:
    """Runs of records with one key, each as its first record; the order stays."""
    for _, run in groupby(records, key):
        yield _repeated(list(run))


def everywhere(records: Iterable[LogRecord], key: Callable[[LogRecord], Hashable] = same) -> list[Repeated]:
    """All records with one key together, each as its first record; the most frequent first, then in the order they came."""
    groups: dict[Hashable, list[LogRecord]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return sorted((_repeated(group) for group in groups.values()), key=lambda group: -group.times)


def _repeated(group: list[LogRecord]) -> Repeated:
    written = [record.time for record in group]
    return Repeated(group[0], len(group), min(written), max(written))
