"""Nodes between two vectors: arithmetic and comparison over matched elements, and the set operators."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.labels import NAME, Labels, dropping, keeping, told, value_of, with_label, without_name
from ops_mcp.metrics.nodes import Pairs, Run, VectorNode, distinct
from ops_mcp.metrics.numbers import Comparison, Operation


class Many(StrEnum):
    """On which side several elements may share the labels that are matched."""

    neither = "neither"
    left = "left"
    right = "right"


class SetOperator(StrEnum):
    intersection = "and"
    union = "or"
    difference = "unless"


@dataclass(frozen=True, slots=True)
class Matching:
    """`on (…)` or `ignoring (…)`, and with `group_left (…)` or `group_right (…)` the labels taken from the side of one."""

    on: bool
    names: frozenset[str]
    many: Many = Many.neither
    included: tuple[str, ...] = ()

    def signature(self, labels: Labels) -> Labels:
        """What two elements must have in common to match."""
        return keeping(labels, self.names) if self.on else dropping(labels, self.names | {NAME})

    def result(self, labels: Labels, other: Labels, *, keeps_name: bool) -> Labels:
        """The labels of what came of an element, on the side of many if there is one, and the other that it matched."""
        found = labels if keeps_name else without_name(labels)
        if self.many is Many.neither:
            found = keeping(found, self.names) if self.on else dropping(found, self.names)
        for name in self.included:
            found = with_label(found, name, value_of(other, name))
        return found


@dataclass(frozen=True, slots=True)
class Combination:
    """What is done with two matched values: computed from them, or kept or turned to 1 and 0 as a comparison holds."""

    compute: Operation | None = None
    holds: Comparison | None = None
    as_bool: bool = False

    @property
    def keeps_name(self) -> bool:
        return self.holds is not None and not self.as_bool

    def value(self, left: float, right: float) -> float | None:
        """None where the comparison drops the element."""
        if self.compute is not None:
            return self.compute(left, right)
        true = self.holds is None or self.holds(left, right)
        if self.as_bool:
            return 1.0 if true else 0.0
        return left if true else None


@dataclass(frozen=True, slots=True)
class Joined(VectorNode):
    """`left <operator> right`, element by element."""

    combination: Combination
    matching: Matching
    left: VectorNode
    right: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        left, right = self.left.vector(run, at), self.right.vector(run, at)
        run.charge(len(left) + len(right))
        if not left or not right:
            return []
        swapped = self.matching.many is Many.right
        if swapped:
            left, right = right, left
        ones = self._by_signature(right)
        results: dict[Labels, set[Labels]] = {}
        found: Pairs = []
        for labels, value in left:
            signature = self.matching.signature(labels)
            one = ones.get(signature)
            if one is None:
                continue
            combined = self.combination.value(one[1], value) if swapped else self.combination.value(value, one[1])
            if combined is None:
                continue
            result = self.matching.result(labels, one[0], keeps_name=self.combination.keeps_name)
            self._refuse_repeated(results.setdefault(signature, set()), signature, result)
            found.append((result, combined))
        return distinct(found)

    def _by_signature(self, right: Pairs) -> dict[Labels, tuple[Labels, float]]:
        """The elements of the side that holds one of each."""
        ones: dict[Labels, tuple[Labels, float]] = {}
        for labels, value in right:
            signature = self.matching.signature(labels)
            if signature in ones:
                side = "left" if self.matching.many is Many.right else "right"
                _refuse_many_to_many(signature, side, labels, ones[signature][0])
            ones[signature] = (labels, value)
        return ones

    def _refuse_repeated(self, results: set[Labels], signature: Labels, result: Labels) -> None:
        """`results` are those that came of the same match before this one."""
        if results and self.matching.many is Many.neither:
            raise InvalidArguments(
                "Multiple matches for labels: many-to-one matching must be explicit (group_left/group_right).",
                hint=f"Several elements on the left match {told(signature)}.",
            )
        if result in results:
            raise InvalidArguments(
                "Multiple matches for labels: grouping labels must ensure unique matches.",
                hint=f"Two elements would both become {told(result)}.",
            )
        results.add(result)


@dataclass(frozen=True, slots=True)
class SetOperation(VectorNode):
    """`left and right`, `left or right`, `left unless right`: elements as they are, chosen by what they have in common."""

    operator: SetOperator
    matching: Matching
    left: VectorNode
    right: VectorNode

    def vector(self, run: Run, at: int) -> Pairs:
        left, right = self.left.vector(run, at), self.right.vector(run, at)
        run.charge(len(left) + len(right))
        signature = self.matching.signature
        if self.operator is SetOperator.union:
            there = {signature(labels) for labels, _ in left}
            return distinct([*left, *(pair for pair in right if signature(pair[0]) not in there)])
        there = {signature(labels) for labels, _ in right}
        wanted = self.operator is SetOperator.intersection
        return [pair for pair in left if (signature(pair[0]) in there) is wanted]


def _refuse_many_to_many(signature: Labels, side: str, labels: Labels, other: Labels) -> NoReturn:
    raise InvalidArguments(
        f"Found duplicate series for the match group {told(signature)} on the {side} hand-side of the operation: "
        f"[{told(labels)}, {told(other)}];many-to-many matching not allowed: "
        "matching labels must be unique on one side.",
        hint="Match on more labels, aggregate one side first, or allow many on one side with group_left or group_right.",
    )
