"""What a model pays to see the tools: UTF-8 bytes of the compact JSON of name, description, annotations and input schema, / 4."""

import json
from typing import Any

from bench.house import House
from bench.result import Result, at_most
from ops_mcp.tools import load

SHOWN = ("name", "description", "annotations", "inputSchema")


async def measure(home: House) -> list[Result]:
    async with home.server() as server:
        tools = (await server.request("tools/list"))["result"]["tools"]
    core = [tool for tool in tools if tool["name"] in load(("core",))]
    return [
        at_most(f"core toolset, {len(core)} tools", tokens(core), "tokens", 1800),
        at_most(f"default toolsets, {len(tools)} tools", tokens(tools), "tokens", 5000),
    ]


def tokens(tools: list[dict[str, Any]]) -> float:
    shown = [{name: tool[name] for name in SHOWN if name in tool} for tool in tools]
    return sum(len(json.dumps(tool, separators=(",", ":"), ensure_ascii=False).encode()) for tool in shown) / 4
