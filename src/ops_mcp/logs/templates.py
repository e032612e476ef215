"""Templates of log messages, found line by line: what a program says, apart from the values it says it with. Bounded."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple, TypeVar

from ops_mcp.logs.joining import headline
from ops_mcp.logs.masking import collapsed, masked
from ops_mcp.logs.shapes import MOST_EXAMPLES, Shape, Shapes, TemplateId, oldest_first
from ops_mcp.values import Value

OTHER = TemplateId("other")
"""Where the lines of templates are counted that were forgotten to stay within bounds."""

MOST_SHAPES, MOST_OF_ONE_LENGTH = 5_000, 500
_UNSETTLED = 64
_MOST_KEYS, _LONGEST_KEY = 2**14, 512
"""What is remembered of messages seen, so that one like them is found at once."""

_EXAMPLE = 500
_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence with `<*>` where values stand. Text and examples are words of a stranger."""

    id: TemplateId
    text: str
    count: int
    first: datetime
    last: datetime
    examples: tuple[str, ...]
    """Up to three messages, cut to 500 characters."""


class Patterns(NamedTuple):
    """What a miner knows at one moment. `became` says which template an id that was given before now belongs to."""

    templates: tuple[Template, ...]
    """The most frequent first. `other` is among them if anything was forgotten."""

    became: Mapping[TemplateId, TemplateId]

    def current(self, id: TemplateId) -> TemplateId:
        """The template that lines under this id belong to now."""
        while (now := self.became.get(id)) is not None:
            id = now
        return id


class RememberedShape(Value):
    """One sentence as a miner remembers it over a restart; NUL stands for a variable part."""

    words: tuple[str, ...]
    count: int
    first: datetime
    last: datetime
    examples: tuple[str, ...]
    holds_words: bool = False


class Memory(Value):
    """All that a miner remembers."""

    shapes: tuple[RememberedShape, ...] = ()
    became: dict[TemplateId, TemplateId] = {}
    other: RememberedShape | None = None


class Miner:
    """Finds templates in messages as they come.

    Sentences stay apart until there is evidence that they differ only in values; then they become one template, and ids given for
    them lead there. Ask `patterns` for what is known: it judges all that was seen so far.
    """

    def __init__(self, memory: Memory | None = None, *, most: int = MOST_SHAPES) -> None:
        self._most = most
        self._by_key: dict[str, Shape] = {}
        self._by_words: dict[tuple[str, ...], Shape] = {}
        self._lengths: dict[int, Shapes] = {}
        self._became: dict[TemplateId, TemplateId] = {}
        self._other: Shape | None = None
        self.changes = 0
        """Grows whenever a template is new or ends; while it stays, only counts of `memory` have changed."""

        if memory is not None:
            self._recall(memory)

    def add(self, message: str, at: datetime) -> TemplateId:
        """Count one message, of a joined one its `headline`. Lines may come in any order of time."""
        if "\n" in message:
            message = headline(message)
        key = collapsed(message)
        shape = self._by_key.get(key)
        if shape is None or shape.into is not None:
            shape = self._placed(key, message, at)
        shape.count += 1
        if at > shape.last:
            shape.last = at
        elif at < shape.first:
            shape.first = at
        return shape.id

    def patterns(self) -> Patterns:
        """All templates. The miner itself is not changed: what few lines suggest may look otherwise later."""
        judged = Miner(self.memory(), most=self._most)
        for shapes in judged._lengths.values():
            judged._ended(shapes.settle())
        return Patterns(judged._templates(), judged._became)

    def memory(self) -> Memory:
        """What to keep over a restart."""
        return Memory.model_construct(
            shapes=tuple(_remembered(shape) for shape in self._shapes()),
            became=dict(self._became),
            other=_remembered(self._other) if self._other else None,
        )

    def _placed(self, key: str, message: str, at: datetime) -> Shape:
        words = masked(key)
        shape = self._by_words.get(words)
        if shape is None or shape.into is not None:
            shape = self._found_or_new(words, at)
        if len(key) <= _LONGEST_KEY:
            _remember(self._by_key, key, shape)
            _remember(self._by_words, words, shape)
        shape.exemplify(message[:_EXAMPLE])
        return shape

    def _found_or_new(self, words: tuple[str, ...], at: datetime) -> Shape:
        shapes = self._lengths.setdefault(len(words), Shapes(len(words)))
        found = shapes.find(words)
        if found is None and (shapes.unsettled >= max(_UNSETTLED, len(shapes) // 2) or len(shapes) >= MOST_OF_ONE_LENGTH):
            self._settle(shapes)
            found = shapes.find(words)
        if found is not None:
            return found
        self._make_room(shapes)
        self.changes += 1
        shape = Shape(words, at)
        shapes.add(shape)
        self._became.pop(shape.id, None)
        return shape

    def _settle(self, shapes: Shapes) -> None:
        if shapes.unsettled:
            self._ended(shapes.settle())

    def _make_room(self, shapes: Shapes) -> None:
        if len(shapes) >= MOST_OF_ONE_LENGTH:
            self._forget(oldest_first(shapes), keep=MOST_OF_ONE_LENGTH // 2)
        if sum(map(len, self._lengths.values())) >= self._most:
            for each in self._lengths.values():
                self._settle(each)
            self._forget(oldest_first(self._shapes()), keep=self._most // 2)

    def _forget(self, oldest: list[Shape], *, keep: int) -> None:
        """Count what is dropped under `other`."""
        dropped = oldest[: max(0, len(oldest) - keep)]
        for shape in dropped:
            if self._other is None:
                self._other = _nobody(shape.first)
            self._lengths[len(shape.words)].drop(shape)
            self._other.take(shape)
        self._ended(dropped)

    def _ended(self, shapes: list[Shape]) -> None:
        """Let the ids of these shapes lead to what they were merged into, unless another shape is the same template."""
        living = {shape.id for shape in self._shapes()} if shapes else set[TemplateId]()
        self.changes += len(shapes)
        for shape in shapes:
            now = shape
            while now.into is not None:
                now = now.into
            self._became.pop(now.id, None)
            if shape.id not in living:
                self._became[shape.id] = now.id
        if len(self._became) > self._most * 4:
            for old in list(self._became)[: self._most]:
                del self._became[old]

    def _shapes(self) -> Iterator[Shape]:
        return chain.from_iterable(self._lengths.values())

    def _templates(self) -> tuple[Template, ...]:
        by_id: dict[TemplateId, list[Shape]] = {}
        for shape in self._shapes():
            by_id.setdefault(shape.id, []).append(shape)
        found = [_template(shapes) for shapes in by_id.values()]
        if self._other is not None:
            found.append(_template([self._other]))
        return tuple(sorted(found, key=lambda template: (-template.count, template.text)))

    def _recall(self, memory: Memory) -> None:
        for remembered in memory.shapes:
            shape = _recalled(Shape(remembered.words, remembered.first), remembered)
            self._lengths.setdefault(len(shape.words), Shapes(len(shape.words))).add(shape)
        self._became = dict(memory.became)
        if memory.other is not None:
            self._other = _recalled(_nobody(memory.other.first), memory.other)


def grouped(messages: Iterable[str]) -> list[TemplateId]:
    """The template of each message, judged when all were seen."""
    miner, no_time = Miner(), datetime.min.replace(tzinfo=UTC)
    ids = [miner.add(message, no_time) for message in messages]
    patterns = miner.patterns()
    return [patterns.current(id) for id in ids]


def _remember(cache: dict[_K, Shape], key: _K, shape: Shape) -> None:
    if len(cache) >= _MOST_KEYS:
        cache.clear()
    cache[key] = shape


def _nobody(at: datetime) -> Shape:
    return Shape(("(everything", "else)"), at, id=OTHER)


def _template(shapes: list[Shape]) -> Template:
    return Template(
        shapes[0].id,
        shapes[0].text,
        sum(shape.count for shape in shapes),
        min(shape.first for shape in shapes),
        max(shape.last for shape in shapes),
        tuple(example for shape in shapes for example in shape.examples)[:MOST_EXAMPLES],
    )


def _remembered(shape: Shape) -> RememberedShape:
    return RememberedShape.model_construct(
        words=shape.words,
        count=shape.count,
        first=shape.first,
        last=shape.last,
        examples=tuple(shape.examples),
        holds_words=shape.holds_words,
    )


def _recalled(shape: Shape, remembered: RememberedShape) -> Shape:
    shape.count, shape.last, shape.examples = remembered.count, remembered.last, list(remembered.examples)
    shape.holds_words = remembered.holds_words
    return shape
