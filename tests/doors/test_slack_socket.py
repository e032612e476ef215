"""Socket Mode: the SDK's own client against the simulated workspace, and the same door behind it."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.doors.slack_socket import listen
from ops_mcp.secrets import Secrets
from ops_mcp.values import Secret
from sandbox.slack.world import APP_TOKEN
from tests.channels.slacking import Served, slack
from tests.doors.test_slack import MALLORY, OTTO, InSlack, in_slack

pytestmark = pytest.mark.anyio


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.01)


async def asked(people: InSlack, served: Served, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What the server answers to an envelope."""
    envelope = served.world.envelope(kind, payload)
    send = served.world.listening[0]
    people.world = served.world
    await anyio.to_thread.run_sync(lambda: served.run(send(envelope)))
    await until(lambda: envelope["envelope_id"] in served.world.acknowledged)
    return served.world.acknowledged[envelope["envelope_id"]]


async def test_a_command_over_the_socket_is_answered_and_a_stranger_is_refused(tmp_path: Path) -> None:
    with slack() as served:
        async with in_slack(tmp_path, socket=served.api) as people, anyio.create_task_group() as group:
            Secrets(people.home.config.config_dir).put("SLACK_APP_TOKEN", Secret(APP_TOKEN))
            group.start_soon(listen, people.home.opened, people.visitors)
            await until(lambda: served.world.listening)
            command = served.world.command("/ops", "status", user=OTTO)
            answer = await asked(people, served, "slash_commands", command)
            assert answer["payload"]["text"].startswith("Nothing waits")
            again = await asked(people, served, "slash_commands", command)
            assert "payload" not in again, "an envelope that comes again has no effect"
            stranger = served.world.command("/ops", "freeze staging now", user=MALLORY)
            assert "You are no operator" in (await asked(people, served, "slash_commands", stranger))["payload"]["text"]
            assert await people.refusals() == ["sent before", "no operator"]
            group.cancel_scope.cancel()
