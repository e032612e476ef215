"""The calls on the page about alerts are made, in their order, and answer what the page says."""

import json
import re
from pathlib import Path

import pytest

from ops_mcp import tools
from ops_mcp.domain.outcomes import Done
from tests.alerts.watching import watched

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "alerts.md").read_text(encoding="utf-8")


async def test_every_call_of_the_page_is_answered_as_the_page_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```calls\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    said, is_done, checked = "", False, 0
    async with watched(tmp_path) as world:
        for line in block.splitlines():
            if line.startswith(("> ", "! ")):
                assert (is_done, line[2:] in said) == (line[0] == ">", True), (line, said)
                checked += 1
                continue
            tool, arguments = line.split(" ", 1)
            outcome = await world.home.call(world.agent, tool, **json.loads(arguments))
            is_done = isinstance(outcome, Done)
            said = outcome.text if isinstance(outcome, Done) else outcome.problem.message
    assert checked > 10


def test_the_page_names_every_tool_of_the_toolset() -> None:
    named = re.findall(r"^\| `(alert\w*)` \|", PAGE, flags=re.MULTILINE)
    assert set(named) == set(tools.load(["alerts"]))
