"""The server's half of `exactly once`: one key is one checkpoint, also when it is sent again while the first is under way."""

from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.outcomes import Done, Failed, Outcome
from ops_mcp.errors import Code
from tests.house import house

pytestmark = pytest.mark.anyio


async def test_a_checkpoint_that_is_sent_again_while_it_is_under_way_is_stored_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada = await home.agent()
        came: list[Outcome] = []

        async def report() -> None:
            said = {"environment": "sandbox", "name": "twice", "action": "begin", "idempotency_key": "k1"}
            came.append(await home.call(ada, "checkpoint", **said))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(report)
        assert await home.count("tasks") == await home.count("checkpoints") == 1
        await report()
        names = {one.result["task"] for one in came if isinstance(one, Done)}
        assert len(names) == 1
        assert {one.problem.code for one in came if isinstance(one, Failed)} <= {Code.in_progress}
        assert isinstance(came[-1], Done)
