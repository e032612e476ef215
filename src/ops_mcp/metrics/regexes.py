"""Regular expressions of label matchers: the part of RE2 that is used, matched whole and in time linear in the value.

Nothing here goes back over what it has read: a pattern is a set of states that advances one character at a time, and every step
is remembered. A pattern that still needs too many different steps is refused. What is left of RE2 is refused by name.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol, assert_never

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.regex_syntax import Chain, Chars, Choice, End, Node, Repeated, is_literal, tree_of

LONGEST_PATTERN = 1_000
_MOST_STATES = 4_000
_MOST_STEP_WORK = 2_000_000
_LEAST_COST = 40  # of finding one step
_MOST_REMEMBERED = 100_000
"""States in the steps that one pattern remembers. One that found more begins to remember anew; its work goes on counting."""

_LEAST_REMEMBERED = 10  # a step takes that much room even where it leads to one state

_States = frozenset[int]


class Pattern(Protocol):
    """Something that a whole value matches or does not. `states` says how large its program is."""

    states: int

    def matches(self, value: str) -> bool: ...


def pattern_of(text: str) -> Pattern:
    """The compiled pattern. Raises `InvalidArguments` for what is too long, unsupported or malformed."""
    return _literal(text) or _automaton(text)


@lru_cache(maxsize=2_000)
def _literal(text: str) -> "_OneOf | None":
    if len(text) > LONGEST_PATTERN:
        raise InvalidArguments(f"A regular expression is {len(text):,} characters long; at most {LONGEST_PATTERN:,} are read.")
    return _OneOf(frozenset(text.split("|"))) if is_literal(text) else None


@lru_cache(maxsize=256)
def _automaton(text: str) -> "_Automaton":
    """Few are kept: one may take some megabytes, and strangers choose which."""
    return _Automaton(_program_of(tree_of(text)))


class _OneOf:
    """`a|b|c`, which most patterns are."""

    states = 1

    def __init__(self, values: frozenset[str]) -> None:
        self._values = values

    def matches(self, value: str) -> bool:
        return value in self._values


class _Way(NamedTuple):
    """A way to another state that reads nothing; some are open at one end of the value only."""

    to: int
    only_at: str = ""


class _Program:
    """States are numbers, added as the tree is written out. A state reads along at most one edge, and passes along any number."""

    def __init__(self) -> None:
        self.states = 1
        self.reading: dict[int, tuple[Chars, int]] = {}
        self.passing: dict[int, list[_Way]] = {}

    def add(self) -> int:
        self.states += 1
        if self.states > _MOST_STATES:
            raise InvalidArguments(
                f"A regular expression needs more than {_MOST_STATES:,} states when its repetitions are written out.",
                hint="Use `*` or `+` instead of large counts.",
            )
        return self.states - 1

    def pass_on(self, state: int, to: int, only_at: str = "") -> None:
        self.passing.setdefault(state, []).append(_Way(to, only_at))

    def read(self, state: int, chars: Chars) -> int:
        if state in self.reading:
            fresh = self.add()
            self.pass_on(state, fresh)
            state = fresh
        after = self.add()
        self.reading[state] = (chars, after)
        return after


def _program_of(tree: Node) -> tuple[_Program, int]:
    """The program, which starts in state 0, and the state in which it accepts."""
    program = _Program()
    return program, _write(program, tree, 0)


def _write(program: _Program, node: Node, state: int) -> int:
    """Adds what `node` reads after `state`; the state after that."""
    match node:
        case Chars():
            return program.read(state, node)
        case End(side):
            after = program.add()
            program.pass_on(state, after, side)
            return after
        case Chain(parts):
            for part in parts:
                state = _write(program, part, state)
            return state
        case Choice(branches):
            after = program.add()
            for branch in branches:
                begin = program.add()
                program.pass_on(state, begin)
                program.pass_on(_write(program, branch, begin), after)
            return after
        case Repeated():
            return _write_repeated(program, node, state)
        case _:
            assert_never(node)


def _write_repeated(program: _Program, node: Repeated, state: int) -> int:
    for _ in range(node.least):
        state = _write(program, node.part, state)
    if node.most is None:
        again = program.add()
        program.pass_on(state, again)
        program.pass_on(_write(program, node.part, again), again)
        return again
    after = program.add()
    for _ in range(node.most - node.least):
        program.pass_on(state, after)
        state = _write(program, node.part, state)
    program.pass_on(state, after)
    return after


class _Automaton:
    """The states that a program can be in, advanced together; steps taken once are looked up afterwards."""

    def __init__(self, written: tuple[_Program, int]) -> None:
        program, self._accept = written
        self._program = program
        self._steps: dict[tuple[_States, str], _States] = {}
        self._accepting: dict[_States, bool] = {}
        self._work = 0
        self._remembered = 0
        self.states = program.states
        self._start = self._reached({0}, ("start",))

    def matches(self, value: str) -> bool:
        if not value:
            return self._accept in self._reached({0}, ("start", "end"))
        states = self._start
        steps = self._steps
        for char in value:
            after = steps.get((states, char))
            if after is None:
                after = self._advance(states, char)
                steps = self._steps
            if not after:
                return False
            states = after
        return self._accepts(states)

    def _advance(self, states: _States, char: str) -> _States:
        self._charge(len(states))
        reading = self._program.reading
        after = {edge[1] for state in states if (edge := reading.get(state)) is not None and edge[0].holds(char)}
        reached = self._reached(after, ())
        self._charge(len(reached))
        self._remembered += max(len(reached), _LEAST_REMEMBERED)
        if self._remembered > _MOST_REMEMBERED:
            self._steps, self._accepting, self._remembered = {}, {}, 0
        self._steps[states, char] = reached
        return reached

    def _accepts(self, states: _States) -> bool:
        known = self._accepting.get(states)
        if known is None:
            known = self._accept in self._reached(set(states), ("end",))
            self._accepting[states] = known
        return known

    def _reached(self, states: set[int], ends: tuple[str, ...]) -> _States:
        """Every state that is reached from these without reading a character, here at these ends of the value."""
        reached = set(states)
        waiting = list(states)
        while waiting:
            for way in self._program.passing.get(waiting.pop(), ()):
                if way.to not in reached and (not way.only_at or way.only_at in ends):
                    reached.add(way.to)
                    waiting.append(way.to)
        return frozenset(reached)

    def _charge(self, states: int) -> None:
        self._work += max(states, _LEAST_COST)
        if self._work > _MOST_STEP_WORK:
            raise InvalidArguments(
                "A regular expression needs too many steps for these label values.",
                hint="Use fewer counted repetitions and alternatives, or match with `=`.",
            )
