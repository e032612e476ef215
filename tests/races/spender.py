"""One server process of the budget races: opens the shared installation, spends through `call`, and prints what it saw as JSON.

`python -m tests.races.spender CONFIG STATE TOKEN CONNECTIONS ATTEMPTS TOOL…`
"""

import json
import sys
import time
from pathlib import Path

import anyio

from ops_mcp.call import call
from ops_mcp.config import load
from ops_mcp.domain.identity import Client, Token
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Refused
from ops_mcp.startup import open_app
from ops_mcp.values import Secret


async def main(config_dir: str, state_dir: str, token: str, connections: int, attempts: int, tools: list[str]) -> None:
    config = load({}, config_dir=Path(config_dir), state_dir=Path(state_dir))
    seen: dict[str, int] = {}
    waits: list[float] = []
    async with open_app(config, wake_worker=lambda: None) as opened:
        credential = Token(secret=Secret(token))
        print("ready", flush=True)  # noqa: T201  the test starts everybody together
        await anyio.to_thread.run_sync(sys.stdin.readline)

        async def connection(number: int) -> None:
            for attempt in range(attempts):
                tool = tools[(number + attempt) % len(tools)]
                began = time.perf_counter()
                outcome = await call(opened.app, credential, Client(), tool, {})
                waits.append(time.perf_counter() - began)
                said = outcome.problem.code.value if isinstance(outcome, Failed | Refused | NeedsApproval) else "done"
                assert isinstance(outcome, Done | Failed | Refused | NeedsApproval)
                seen[said] = seen.get(said, 0) + 1

        async with anyio.create_task_group() as group:
            for number in range(connections):
                group.start_soon(connection, number)
    waits.sort()
    print(json.dumps({"seen": seen, "worst": waits[-1], "median": waits[len(waits) // 2]}), flush=True)  # noqa: T201


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6:])
