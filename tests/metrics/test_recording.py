"""What an agent may record, and what it may not."""

import pytest

from ops_mcp.errors import InvalidArguments
from ops_mcp.metrics.labels import labels_of
from ops_mcp.metrics.names import RECORDED
from ops_mcp.metrics.recording import RESERVED, Source, recorded_labels

ADA = Source("ada", "staging")


def test_the_agents_and_the_places_names_are_added() -> None:
    assert recorded_labels("depth", {"queue": "mail"}, Source("ada", "staging", "web")) == labels_of(
        {"queue": "mail", "agent": "ada", "environment": "staging", "service": "web"}, name="depth"
    )
    assert recorded_labels("depth", {}, ADA) == labels_of({"agent": "ada", "environment": "staging"}, name="depth")


@pytest.mark.parametrize("name", [metric.name for metric in RECORDED])
def test_no_metric_of_ours_may_be_recorded(name: str) -> None:
    for spoof in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count"):
        with pytest.raises(InvalidArguments, match="name"):
            recorded_labels(spoof, {}, ADA)


NO_NAMES = [
    "up",
    "scrape_duration_seconds",
    "ops_mcp_x",
    "ALERTS",
    "ALERTS_FOR_STATE",
    "a:b",
    "two words",
    "näme",
    "9x",
    "",
    "x" * 101,
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_of_an_agents_is_refused(name: str) -> None:
    with pytest.raises(InvalidArguments, match="name") as told:
        recorded_labels(name, {}, ADA)
    assert told.value.details == {"fields": ["name"]}


NO_LABELS = [
    *({label: "x"} for label in sorted(RESERVED)),
    {"__name__": "up"},
    {"__x": "1"},
    {"9": "1"},
    {"a-b": "1"},
    {"x" * 61: "1"},
    {"a": "\x1b[31mred"},
    {"a": "two\nlines"},
    {"a": "\u202eback"},
    {"a": "x" * 121},
    {"a": ""},
    {f"l{n}": "1" for n in range(9)},
]


@pytest.mark.parametrize("labels", NO_LABELS)
def test_what_is_no_label_of_an_agents_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidArguments, match="labels") as told:
        recorded_labels("depth", labels, ADA)
    assert told.value.details == {"fields": ["labels"]}
