"""The page on the language says what is so: every block of it is run."""

import re
from pathlib import Path

import pytest

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.calls import SUPPORTED_FUNCTIONS
from ops_mcp.metrics.compiling import SUPPORTED_AGGREGATIONS
from ops_mcp.metrics.conditions import condition
from ops_mcp.metrics.names import RECORDED, Metric
from ops_mcp.metrics.quantities import written_duration
from ops_mcp.metrics.vocabulary import WORDS
from tests.metrics.notation import asked, labelled

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "metrics.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[list[str]]:
    """The paragraphs of every fenced block of that kind, with their lines."""
    fenced = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [block.strip("\n").split("\n\n") for block in fenced]


def questions() -> list[tuple[list[str], str]]:
    return [(paragraphs[0].splitlines(), question) for paragraphs in blocks("metrics") for question in paragraphs[1:]]


@pytest.mark.parametrize(("given", "question"), questions())
def test_an_expression_of_the_page_answers_what_the_page_says(given: list[str], question: str) -> None:
    asking, *said = question.splitlines()
    found = re.fullmatch(r"\? (.*) at (\d+)", asking)
    assert found is not None
    if said[0].startswith("!"):
        with pytest.raises(InvalidArguments, match=re.escape(said[0].removeprefix("! "))):
            asked(found[1], int(found[2]), *given)
        return
    expected = {labels: float(value) for labels, value in map(labelled, said) if value}
    assert asked(found[1], int(found[2]), *given) == pytest.approx(expected)


@pytest.mark.parametrize("paragraph", [paragraph for block in blocks("conditions") for paragraph in block])
def test_a_condition_of_the_page_becomes_what_the_page_says(paragraph: str) -> None:
    text, expression, *held = paragraph.splitlines()
    became = condition(text)
    assert became.expression == expression
    assert ([f"for {written_duration(became.for_ms)}"] if became.for_ms else []) == held


def test_the_page_names_every_function_aggregation_and_word() -> None:
    named = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", PAGE))
    assert named >= set(SUPPORTED_FUNCTIONS)
    assert named >= set(SUPPORTED_AGGREGATIONS)
    assert named >= set(WORDS)


@pytest.mark.parametrize("metric", RECORDED, ids=lambda metric: metric.name)
def test_the_page_tells_of_every_metric_what_the_code_tells(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |" in PAGE


def test_the_page_has_enough_examples_to_be_worth_running() -> None:
    assert len(questions()) >= 45
