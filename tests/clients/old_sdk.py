"""Run by a Python with the 1.x SDK: connects to the stdio server given as arguments, calls, prints what came back as JSON."""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main() -> None:
    """A script on stdin: a list of [tool, arguments]; each answer is one item of the printed list."""
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        hello = await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        answers = []
        for name, arguments in json.loads(os.environ["SCRIPT"]):
            result = await session.call_tool(name, arguments)
            answers.append({"isError": result.isError, "content": result.structuredContent, "text": result.content[0].text})
    print(json.dumps({"version": hello.protocolVersion, "tools": tools, "answers": answers}))  # noqa: T201  the test reads it


asyncio.run(main())
