"""The nodes that binary operators are compiled to."""

from typing import Protocol

import promql_parser as promql

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.elementwise import Filter, Truths, WithNumber
from ops_mcp.metrics.joining import Combination, Joined, Many, Matching, SetOperation, SetOperator
from ops_mcp.metrics.nodes import Node, ScalarNode, VectorNode
from ops_mcp.metrics.numbers import ARITHMETIC, COMPARISONS
from ops_mcp.metrics.scalars import Calculation, Truth

_SET_OPERATORS = frozenset(SetOperator)
_SUPPORTED = ", ".join(f"`{sign}`" for sign in (*ARITHMETIC, *COMPARISONS, *SetOperator))
_TURNED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}


class Operands(Protocol):
    """Compiles what stands beside an operator."""

    def node(self, expression: promql.Expr) -> Node: ...


def binary(compiler: Operands, expression: promql.BinaryExpr) -> Node:
    """Raises `InvalidArguments` for an operator or a modifier that is not supported."""
    sign = str(expression.op)
    modifier = expression.modifier
    if sign not in ARITHMETIC and sign not in COMPARISONS and sign not in _SET_OPERATORS:
        raise InvalidArguments(f"The operator `{sign}` is not supported here.", hint=f"Supported operators: {_SUPPORTED}.")
    if modifier is not None and (modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None):
        raise InvalidArguments("The modifier `fill` is not supported here.", hint="Write `or` with the value to fill in.")
    as_bool = modifier is not None and modifier.return_bool
    left, right = compiler.node(expression.lhs), compiler.node(expression.rhs)
    if isinstance(left, ScalarNode):
        return _number_first(sign, left, right, as_bool=as_bool)
    if isinstance(right, ScalarNode):
        return _vector_and_number(sign, left, right, as_bool=as_bool)
    matching = _matching(modifier)
    if sign in _SET_OPERATORS:
        return SetOperation(SetOperator(sign), matching, left, right)
    return Joined(Combination(ARITHMETIC.get(sign), COMPARISONS.get(sign), as_bool), matching, left, right)


def _number_first(sign: str, left: ScalarNode, right: Node, *, as_bool: bool) -> Node:
    if isinstance(right, ScalarNode):
        if sign in COMPARISONS:
            return Truth(COMPARISONS[sign], left, right)
        return Calculation(ARITHMETIC[sign], left, right)
    if sign in COMPARISONS:
        return _vector_and_number(_TURNED[sign], right, left, as_bool=as_bool)
    return WithNumber(ARITHMETIC[sign], right, left, reversed=True)


def _vector_and_number(sign: str, vector: VectorNode, number: ScalarNode, *, as_bool: bool) -> Node:
    if sign in ARITHMETIC:
        return WithNumber(ARITHMETIC[sign], vector, number, reversed=False)
    return Truths(COMPARISONS[sign], vector, number) if as_bool else Filter(COMPARISONS[sign], vector, number)


def _matching(modifier: promql.BinModifier | None) -> Matching:
    if modifier is None:
        return Matching(on=False, names=frozenset())
    labels = modifier.matching
    many = Many.neither
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        many = Many.left
    elif modifier.card == promql.VectorMatchCardinality.OneToMany:
        many = Many.right
    return Matching(
        on=labels is not None and labels.type == promql.LabelModifierType.Include,
        names=frozenset() if labels is None else frozenset(labels.labels),
        many=many,
        included=tuple(modifier.group_labels or ()),
    )
