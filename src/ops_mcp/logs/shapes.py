"""Sentences of one length: which are the same template, because they differ only where values change. No IO, no clock.

The family is Drain's (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017): messages of equal
length are compared word by word. The decision is another one: nothing is merged on arrival. Sentences are kept apart until enough
of them differ in the same places, and a place is taken for variable by how many different words stood there and how often each:
values are many and rare, the words of a programmer are few and come again.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import NewType

from ops_mcp.logs.masking import VARIABLE, shown
from ops_mcp.logs.variability import FIXED_BESIDE_A_NUMBER, Column, are_variable, is_variable

MOST_EXAMPLES = 3
TemplateId = NewType("TemplateId", str)
"""`t_` and 16 hexadecimal digits of the SHA-256 of the template's text: the same after every restart."""

_ROUNDS = 6
_COMMON = (4, 16, 64, 256)
"""In how many sentences a word has to stand in one place to be taken for a constant; tried from low to high, see `_alike`."""


class Shape:
    """One sentence with its variable parts masked, and what was seen of it. Merged into another, it points there."""

    __slots__ = (
        *("_at_fixed", "_fixed_words", "count", "examples", "first", "fixed", "holds_words", "id", "into", "last", "text"),
        "words",
    )

    def __init__(self, words: tuple[str, ...], at: datetime, *, id: TemplateId | None = None) -> None:
        self.words = words
        places = [place for place, word in enumerate(words) if word != VARIABLE]
        self.fixed = len(places)
        self._at_fixed = itemgetter(*places) if places else None
        self._fixed_words = self._at_fixed(words) if self._at_fixed else None
        self.text = shown(words)
        self.id = id or TemplateId("t_" + hashlib.sha256(self.text.encode(errors="surrogatepass")).hexdigest()[:16])
        self.count = 0
        self.first = self.last = at
        self.examples: list[str] = []
        self.into: Shape | None = None
        self.holds_words = False
        """Whether words, and not only numbers and the like, were found where it is variable."""

    def exemplify(self, message: str) -> None:
        """Keep the message as an example, while there are few."""
        if len(self.examples) < MOST_EXAMPLES and message not in self.examples:
            self.examples.append(message)

    def covers(self, words: tuple[str, ...]) -> bool:
        """Whether words of this length are the same but where this shape is variable."""
        return self._at_fixed is None or self._at_fixed(words) == self._fixed_words

    def take(self, other: "Shape") -> None:
        """Merge another shape into this one."""
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.examples = [*self.examples, *other.examples][:MOST_EXAMPLES]
        other.into = self


class Shapes:
    """All shapes of one length. Nothing is merged before `settle`."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._all: dict[tuple[str, ...], Shape] = {}
        self._by_first: dict[str, list[Shape]] = {}
        self.unsettled = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Shape]:
        return iter(self._all.values())

    def find(self, words: tuple[str, ...]) -> Shape | None:
        """The shape of exactly these words, or the one with the most fixed words among those that cover them."""
        if (same := self._all.get(words)) is not None:
            return same
        near = self._by_first.get(words[0], []) if words else []
        anywhere = self._by_first.get(VARIABLE, []) if words and words[0] != VARIABLE else []
        covering = [
            shape
            for shape in (*near, *anywhere)
            if (1 if shape.holds_words else FIXED_BESIDE_A_NUMBER) <= shape.fixed < self._length and shape.covers(words)
        ]
        return max(covering, key=lambda shape: shape.fixed, default=None)

    def add(self, shape: Shape) -> None:
        """A shape that `find` did not find."""
        self._keep(shape)
        self.unsettled += 1

    def drop(self, shape: Shape) -> None:
        """Forget a shape."""
        del self._all[shape.words]
        self._by_first[shape.words[0] if shape.words else ""].remove(shape)

    def settle(self) -> list[Shape]:
        """Merge what has become alike; returns the shapes that were merged into others."""
        self.unsettled = 0
        merged: list[Shape] = []
        for _ in range(_ROUNDS):
            before = len(merged)
            for group in chain(self._differing_in_one_word(), self._alike()):
                merged += self._merge(group)
            if len(merged) == before:
                break
        return merged

    def _differing_in_one_word(self) -> Iterator[list[Shape]]:
        """Groups whose members are equal but for one place, the largest first, where that place holds values."""
        places: defaultdict[tuple[int, int], list[Shape]] = defaultdict(list)
        mark_of = _Marks()
        for shape in self:
            marks = [mark_of[place] for place in enumerate(shape.words)]
            whole = sum(marks)
            for place, word in enumerate(shape.words):
                if shape.fixed > (word != VARIABLE):
                    places[place, whole - marks[place]].append(shape)
        several = [(place, found) for (place, _), found in places.items() if len(found) > 1]
        for place, found in sorted(several, key=lambda item: -len(item[1])):
            group = [shape for shape in found if shape.into is None]
            if len(group) > 1 and is_variable(_column(group, place), leads=place == 0, beside=_beside(group[0], place)):
                yield group

    def _alike(self) -> Iterator[list[Shape]]:
        """Groups whose members share all words that are common in their places, and hold values in the others."""
        seen = Counter(chain.from_iterable(enumerate(shape.words) for shape in self))
        times = {shape: [seen[place] if place[1] != VARIABLE else 0 for place in enumerate(shape.words)] for shape in self}
        for common in _COMMON:
            if common > len(times):
                return
            cores: defaultdict[tuple[str | None, ...], list[Shape]] = defaultdict(list)
            for shape, often in times.items():
                core = [word if n >= common else None for word, n in zip(shape.words, often, strict=True)]
                cores[tuple(core)].append(shape)
            for core, found in cores.items():
                group = [shape for shape in found if shape.into is None]
                if len(group) > 1 and _hold_values(group, core):
                    yield group

    def _merge(self, group: list[Shape]) -> list[Shape]:
        """One shape for the whole group; it takes every other shape that it covers. Returns those merged away."""
        words = tuple(column[0] if len(set(column)) == 1 else VARIABLE for column in zip(*(s.words for s in group), strict=True))
        one = self._all.get(words) or Shape(words, group[0].first)
        one.holds_words = True
        taken = [shape for shape in self if shape is not one and one.covers(shape.words)]
        for shape in sorted(taken, key=lambda shape: -shape.count):
            one.take(shape)
            self.drop(shape)
        if words not in self._all:
            self._keep(one)
        return taken

    def _keep(self, shape: Shape) -> None:
        self._all[shape.words] = shape
        self._by_first.setdefault(shape.words[0] if shape.words else "", []).append(shape)


class _Marks(dict[tuple[int, str], int]):
    """A 64-bit number for each word in each place, so scattered that sums of different ones differ (splitmix64 of a counter).

    Python's own hash will not do: sums of hashes of tuples collide, and it differs from run to run.
    """

    def __missing__(self, place: tuple[int, str]) -> int:
        mixed = (len(self) + 1) * 0x9E3779B97F4A7C15 & _64_BITS
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
        self[place] = mixed = mixed ^ mixed >> 31
        return mixed


_64_BITS = 2**64 - 1


def oldest_first(shapes: Iterable[Shape]) -> list[Shape]:
    """In the order in which they may be forgotten: seen once before seen often, long unseen before seen lately."""
    return sorted(shapes, key=lambda shape: (shape.count > 1, shape.last))


def _beside(shape: Shape, place: int) -> int:
    """How many fixed words a shape has in other places."""
    return shape.fixed - (shape.words[place] != VARIABLE)


def _hold_values(group: list[Shape], core: tuple[str | None, ...]) -> bool:
    columns = {place: _column(group, place) for place, word in enumerate(core) if word is None}
    differing = {place: column for place, column in columns.items() if column.different > 1}
    fixed = sum(word is not None for word in core)
    return bool(differing) and fixed > 0 and are_variable(differing, [shape.count for shape in group], fixed=fixed)


def _column(group: list[Shape], place: int) -> Column:
    counts: defaultdict[str, int] = defaultdict(int)
    for shape in group:
        counts[shape.words[place]] += shape.count
    holds_variable = counts.pop(VARIABLE, None) is not None
    return Column(dict(counts), holds_variable)
