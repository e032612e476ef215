"""What people do in Slack reaches us over Socket Mode as over HTTP: acknowledged in time, done once, after a break as well."""

import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ops_mcp.doors.slack_socket import listen
from ops_mcp.secrets import Secrets
from ops_mcp.values import Secret
from tests import databases
from tests.doors.answering import CHANNEL, Round, round_trip
from tests.doors.test_slack import OTTO
from tests.doors.test_slack_round import asked

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@asynccontextmanager
async def listening(tmp_path: Path, *, servers: int = 1, **settings: Any) -> AsyncGenerator[Round]:
    """So many servers of one installation that listen to one workspace."""
    async with round_trip(tmp_path, **settings) as people, anyio.create_task_group() as group:
        for _ in range(servers):
            group.start_soon(listen, people.home.opened, people.visitors)
        await until(lambda: len(people.world.listening) == servers)
        yield people
        group.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.01)


async def send(people: Round, said: dict[str, Any], *, to: int = 0) -> None:
    """From the workspace to one of those that listen."""
    one = people.world.listening[to]
    await anyio.to_thread.run_sync(lambda: people.served.run(one(said)))


async def envelope(people: Round, kind: str, payload: dict[str, Any], *, to: int = 0) -> dict[str, Any]:
    """Send one, and wait for its acknowledgement."""
    made = people.world.envelope(kind, payload)
    await send(people, made, to=to)
    await until(lambda: made["envelope_id"] in people.world.acknowledged)
    return people.world.acknowledged[made["envelope_id"]]


def word(people: Round, text: str, thread: str) -> dict[str, Any]:
    return people.world.event({"type": "message", "user": OTTO, "text": text, "channel": CHANNEL, "thread_ts": thread})


async def test_a_button_pressed_over_the_socket_approves_and_whoever_pressed_is_told(tmp_path: Path) -> None:
    async with listening(tmp_path) as people:
        approval, message = await asked(people)
        await envelope(people, "interactive", people.world.pressed(message, "approve", user=OTTO))
        assert await people.state(approval) == "granted"
        await until(lambda: people.whispered == [(OTTO, f"Approved: {approval}.")])


async def test_an_event_that_two_servers_get_is_done_once(tmp_path: Path) -> None:
    async with listening(tmp_path, servers=2) as people:
        approval, message = await asked(people)
        event = word(people, "deny", message["ts"])
        for server in (0, 1):
            assert "payload" not in await envelope(people, "events_api", event, to=server)
        assert await people.state(approval) == "denied"
        assert len(await people.home.records("approval.denied")) == 1
        await until(lambda: len(people.whispered) == 1)
        assert await people.refusals() == []


async def test_after_slack_ends_a_connection_another_one_serves(tmp_path: Path) -> None:
    async with listening(tmp_path) as people:
        approval, message = await asked(people)
        before = people.world.listening[0]
        await send(people, {"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "sandbox"}})
        await until(lambda: before not in people.world.listening and len(people.world.listening) == 1)
        await envelope(people, "events_api", word(people, "approve", message["ts"]))
        assert await people.state(approval) == "granted"


async def test_what_cannot_be_taken_now_is_not_acknowledged_so_that_slack_sends_it_again(tmp_path: Path) -> None:
    if databases.place(tmp_path, tmp_path) != tmp_path / "ops.db":
        pytest.skip("holds the lock of an embedded database")
    async with listening(tmp_path, ledger={"lock_seconds": 0.5}) as people:
        approval, message = await asked(people)
        event = word(people, "approve", message["ts"])
        with sqlite3.connect(people.home.config.database_path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            lost = people.world.envelope("events_api", event)
            await send(people, lost)
            # A command is answered whatever happens; once it is, the event before it has had its time as well.
            said = await envelope(people, "slash_commands", people.world.command("/ops", f"approve {approval}", user=OTTO))
            assert "Approved" not in said["payload"]["text"]
            other.execute("ROLLBACK")
        other.close()
        assert lost["envelope_id"] not in people.world.acknowledged
        await envelope(people, "events_api", event)
        assert await people.state(approval) == "granted"


async def test_shapes_that_are_none_of_slacks_are_acknowledged_and_do_nothing(tmp_path: Path) -> None:
    async with listening(tmp_path) as people:
        before = await people.home.count("ledger")
        shapes: list[tuple[str, dict[str, Any]]] = [
            ("interactive", {"type": "shortcut", "user": {"id": OTTO}}),
            ("interactive", {"type": "block_actions", "user": {"id": "no one"}, "actions": [{}]}),
            ("events_api", {"event": {"type": "message", "user": "\x00", "text": "approve"}}),
            ("events_api", {}),
            ("something_new", {}),
        ]
        for kind, payload in shapes:
            assert "payload" not in await envelope(people, kind, payload)
        assert await people.home.count("ledger") == before


async def test_a_token_that_slack_refuses_is_said_and_stops_no_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ops_mcp.doors.slack_socket")
    async with round_trip(tmp_path) as people, anyio.create_task_group() as group:
        vault = Secrets(people.home.config.config_dir)
        for wrong, said in (("xapp-wrong", "Slack refuses the connection"), ("xoxb-bot", "names no app token")):
            vault.put("SLACK_APP_TOKEN", Secret(wrong))
            caplog.clear()
            with anyio.CancelScope() as scope:
                group.start_soon(listen, people.home.opened, people.visitors)
                await until(lambda said=said: said in caplog.text)  # type: ignore[misc]
                scope.cancel()
            assert "xapp-wrong" not in caplog.text
        group.cancel_scope.cancel()
        assert people.world.listening == []
