"""What the definitions of the core toolset cost a model, held without starting a server."""

from bench.definitions import tokens
from ops_mcp import tools
from ops_mcp.server import listing


def test_the_core_toolset_costs_a_model_at_most_1800_tokens() -> None:
    listed = [listing(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools.load(("core",)).values()]
    assert 0 < tokens(listed) <= 1800


def test_every_tool_declares_the_most_that_its_reply_can_cost() -> None:
    assert not [tool.name for tool in tools.load().values() if not 0 < tool.reply_tokens <= 25_000]
