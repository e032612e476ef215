"""Whether a place in a sentence holds values or a programmer's words: judged by their number, how often they came, and look."""

import re
from collections.abc import Mapping
from statistics import median_low
from typing import NamedTuple

FEW, FEW_LEADING, MANY = 4, 6, 10
"""Fewer different words than `FEW` are constants; `MANY` are values whatever else. A sentence's first word is seldom a value."""

RARE = 3
FIXED_BESIDE_A_NUMBER = 2
"""A word where another line has a number is a value, if the two share this many words: `port ssh is open`, but not `got none`."""


class Column(NamedTuple):
    """The words seen in one place, with the lines of each, and whether it was also seen holding a number or the like."""

    counts: Mapping[str, int]
    holds_variable: bool

    @property
    def different(self) -> int:
        return len(self.counts) + self.holds_variable


def is_variable(column: Column, *, leads: bool, beside: int) -> bool:
    """Whether the one place where sentences differ holds values; `beside` tells how many words they share.

    It does if one of them is known to; if there are many; or if there are several and they look like names of things (dotted,
    camel-cased, with digits) or half of them are rare. States (`OPENED`, `CLOSED`) come again and again and are few.
    """
    several = FEW_LEADING if leads else FEW
    different = len(column.counts)
    if column.holds_variable:
        return beside >= FIXED_BESIDE_A_NUMBER and (not leads or different >= several)
    if different < several:
        return False
    if different >= MANY:
        return True
    names = sum(1 for word in column.counts if _NAME_OF_A_THING.search(word))
    return names * 2 > different or median_low(column.counts.values()) <= RARE


def are_variable(columns: Mapping[int, Column], lines: list[int], *, fixed: int) -> bool:
    """Whether all places where some sentences differ hold values. `lines`: of each sentence; `fixed`: words that all share.

    The less they share, the more sentences it takes: words of four different sentences also differ in most places.
    """
    needed = FEW if len(columns) <= fixed else FEW * 2 * len(columns) / fixed
    if len(lines) < needed or (len(lines) < MANY and median_low(lines) > RARE):
        return False
    return all(column.different >= (FEW if place else FEW_LEADING) for place, column in columns.items())


_NAME_OF_A_THING = re.compile(r"[a-z][A-Z]|[a-z0-9][._/@$][A-Za-z]|\0")
