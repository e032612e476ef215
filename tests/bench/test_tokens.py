"""What the definitions of the toolsets cost a model, held without starting a server."""

import pytest

from bench.definitions import tokens
from ops_mcp import tools
from ops_mcp.config import Settings
from ops_mcp.server import listing


def cost(*toolsets: str) -> float:
    listed = [listing(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools.load(toolsets).values()]
    return tokens(listed)


def test_the_core_toolset_costs_a_model_at_most_1800_tokens() -> None:
    assert 0 < cost("core") <= 1800


def test_the_default_toolsets_cost_a_model_at_most_5000_tokens() -> None:
    assert 0 < cost(*Settings().toolsets) <= 5000


def test_core_observe_and_alerts_together_cost_a_model_at_most_4400_tokens() -> None:
    assert 0 < cost("core", "observe", "alerts") <= 4400


@pytest.mark.parametrize(("toolset", "most"), [("observe", 1250), ("alerts", 1350), ("supervise", 626), ("places", 1350)])
def test_the_other_toolsets_grow_no_unnoticed_tokens(toolset: str, most: int) -> None:
    assert 0 < cost(toolset) <= most


def test_every_tool_declares_the_most_that_its_reply_can_cost() -> None:
    assert not [tool.name for tool in tools.load().values() if not 0 < tool.reply_tokens <= 25_000]
