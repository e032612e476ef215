"""The published schema, where it is at hand, as the judge of what is asked and what is answered. Counts what it judged.

It is shared material beside the project and no part of it; whoever lacks it skips these tests and is told why.
"""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

SCHEMA = Path(__file__).parents[3] / ".." / "shared" / "specs" / "railway-schema.graphql"
ABSENT = "needs Railway's published schema at ../shared/specs/railway-schema.graphql"
needs_schema = pytest.mark.skipif(not SCHEMA.is_file(), reason=ABSENT)

counts: Counter[str] = Counter()
"""Exchanges judged in this process, by the name of their document."""


@lru_cache(maxsize=1)
def published() -> GraphQLSchema:
    return build_schema(SCHEMA.read_text(encoding="utf-8"), assume_valid=True)


def judge(text: str, variables: dict[str, Any], answer: dict[str, Any]) -> None:
    """Fails unless the document and its variables are valid, and the answer's data have the shape that the schema says."""
    _, operation = operation_of(text)
    assert not _problems(text)
    coerced = get_variable_values(published(), operation.variable_definitions or (), variables)
    assert not isinstance(coerced, list), coerced
    if isinstance(answer.get("data"), dict):
        root = published().get_root_type(operation.operation)
        assert root is not None
        _judge_fields(root, operation.selection_set.selections, answer["data"], where=operation.name.value)
    else:
        assert answer["errors"]
    counts[operation.name.value] += 1


@lru_cache(maxsize=100)
def _problems(text: str) -> list[GraphQLError]:
    return validate(published(), parse(text))


@lru_cache(maxsize=100)
def operation_of(text: str) -> tuple[DocumentNode, Any]:
    document = parse(text)
    (operation,) = (d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    assert operation.name is not None
    return document, operation


def _judge_fields(kind: GraphQLObjectType, selections: Any, told: dict[str, Any], *, where: str) -> None:
    wanted = {}
    for selection in selections:
        assert isinstance(selection, FieldNode), "ops-mcp uses no fragments"
        wanted[selection.alias.value if selection.alias else selection.name.value] = selection
    assert set(told) == set(wanted), where
    for key, selection in wanted.items():
        field = kind.fields[selection.name.value]
        inner = selection.selection_set.selections if selection.selection_set else ()
        _judge_value(field.type, inner, told[key], where=f"{where}.{key}")


def _judge_value(kind: Any, selections: Any, told: Any, *, where: str) -> None:
    if isinstance(kind, GraphQLNonNull):
        assert told is not None, f"{where} is null"
        kind = kind.of_type
    if told is None:
        return
    match kind:
        case GraphQLList():
            for number, item in enumerate(told):
                _judge_value(kind.of_type, selections, item, where=f"{where}.{number}")
        case GraphQLObjectType():
            _judge_fields(kind, selections, told, where=where)
        case GraphQLEnumType():
            assert told in kind.values, f"{where} is {told}"
        case GraphQLScalarType():
            fits = {"Boolean": bool, "Int": int, "String": str, "ID": str, "DateTime": str}.get(kind.name, object)
            assert isinstance(told, fits), f"{where} is {told!r}"
        case _:
            raise AssertionError(f"{where}: unknown kind {kind}")
