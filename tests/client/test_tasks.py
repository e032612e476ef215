"""A job and its supervisor over a real socket: how each ending is told, and that no trouble of the server is the job's."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from inline_snapshot import snapshot

from ops_mcp.client import AgentCheckpoint, AgentTask, CancelRequested, Reach, Supervisor, agent_task, supervised_agent
from ops_mcp.client.working import ending
from ops_mcp.domain.tasks import CheckpointStatus
from tests.client.book import TOKEN, Office, office

pytestmark = pytest.mark.anyio

WAIT = 0.3
"""Patience for tests: what the server does not answer in this time, nobody waits for."""


def supervisor(there: Office, patience: float = 20) -> Supervisor:
    """One with a patience that no loaded machine wears out, unless a test is about that."""
    return Supervisor(there.reach, patience=patience)


async def all_sent(there: Office) -> None:
    """Send what earlier supervisors have left in the spool, however often that takes."""
    with anyio.fail_after(60):
        left = 1
        while left:
            async with supervisor(there) as ours:
                await ours.flush(20)
                left = ours.left()


async def test_a_block_of_work_is_started_and_completed_and_its_checkpoints_lie_between(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with there.open(), supervisor(there) as ours:
        async with agent_task("Mend", environment="sandbox", repo="a/b", kind="fix", server=ours) as task:
            for progress in (20, 50, 80):
                receipt = await task.checkpoint(f"step {progress}", progress=progress, force=progress == 50)
                assert (receipt.stored, receipt.task) == (True, "task_00000001")
            await task.tokens(150_000)
            await task.checkpoint("more", tokens_delta=500, state={"at": 3})
            await task.artifact("pull_request", "Mend it", url="https://example.com/1")
        assert task.id == "task_00000001"
    stored = [{k: v for k, v in one.items() if k != "idempotency_key"} for one in there.book.stored]
    assert stored == snapshot(
        [
            {
                "action": "Starting: Mend",
                "status": "starting",
                "name": "Mend",
                "environment": "sandbox",
                "about": {"kind": "fix", "repo": "a/b"},
            },
            {"action": "step 20", "progress": 20, "status": "checkpoint", "task": "task_00000001"},
            {"action": "step 50", "progress": 50, "force": True, "status": "checkpoint", "task": "task_00000001"},
            {"action": "step 80", "progress": 80, "status": "checkpoint", "task": "task_00000001"},
            {"action": "Tokens used: 150,000", "tokens_used": 150000, "status": "checkpoint", "task": "task_00000001"},
            {
                "action": "more",
                "tokens_delta": 500,
                "state": {"at": 3},
                "status": "checkpoint",
                "task": "task_00000001",
            },
            {
                "action": "Made: Mend it",
                "artifacts": [{"kind": "pull_request", "name": "Mend it", "url": "https://example.com/1"}],
                "status": "checkpoint",
                "task": "task_00000001",
            },
            {"action": "Completed", "status": "complete", "task": "task_00000001"},
        ]
    )
    assert not list(ours.spool.directory.glob("*.jsonl"))


async def test_an_exception_is_told_as_an_error_and_leaves_as_itself(tmp_path: Path) -> None:
    there = office(tmp_path)
    mine = ValueError("no such table")
    async with there.open(), supervisor(there) as ours:
        with pytest.raises(ValueError, match="no such table") as raised:
            async with agent_task("Mend", environment="sandbox", server=ours):
                raise mine
    assert raised.value is mine
    assert there.book.said == [("starting", "Starting: Mend"), ("error", "Failed: ValueError")]
    assert there.book.stored[-1]["error"] == "ValueError: no such table"


async def test_a_job_that_said_how_it_ended_is_not_ended_again(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with there.open(), supervisor(there) as ours, agent_task("Mend", environment="sandbox", server=ours) as task:
        await task.checkpoint("gave up", status="error", error="no luck")
    assert there.book.said[1:] == [("error", "gave up")]


@pytest.mark.parametrize("how", ["anyio scope", "deadline", "asyncio task", "sibling"])
async def test_a_cancelled_job_is_told_as_cancelled_and_stays_cancelled(tmp_path: Path, how: str) -> None:
    there = office(tmp_path)
    went_on: list[bool] = []
    working = anyio.Event()

    async def job() -> None:
        async with supervisor(there) as ours, agent_task("Mend", environment="sandbox", server=ours):
            working.set()
            await anyio.sleep_forever()
        went_on.append(True)

    async with there.open():
        with anyio.fail_after(60):
            await CANCELLED[how](job, working)
    assert there.book.said == [("starting", "Starting: Mend"), ("cancelled", "Cancelled")]
    assert went_on == []


async def by_scope(job: Callable[[], Awaitable[None]], working: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(job)
        await working.wait()
        group.cancel_scope.cancel()


async def by_deadline(job: Callable[[], Awaitable[None]], working: anyio.Event) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def in_time() -> None:
                await working.wait()
                scope.deadline = anyio.current_time()

            group.start_soon(in_time)
            await job()


async def by_asyncio(job: Callable[[], Any], working: anyio.Event) -> None:
    running = asyncio.create_task(job())
    await working.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def by_sibling(job: Callable[[], Any], working: anyio.Event) -> None:
    async def fails() -> None:
        await working.wait()
        raise ValueError

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(job())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup):
        await both()


CANCELLED = {"anyio scope": by_scope, "deadline": by_deadline, "asyncio task": by_asyncio, "sibling": by_sibling}


async def test_a_cancelled_job_does_not_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    there = office(tmp_path)
    there.book.always = "hang"
    async with there.open():
        async with supervisor(there, WAIT) as ours:
            with anyio.CancelScope() as scope, anyio.fail_after(60):
                async with agent_task("Mend", environment="sandbox", server=ours):
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
        assert ours.left() == 2


@pytest.mark.parametrize(
    ("left_by", "told"),
    [
        (None, "complete"),
        (ValueError(), "error"),
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (CancelRequested(), "cancelled"),
        (SystemExit(0), "complete"),
        (SystemExit(), "complete"),
        (SystemExit(3), "error"),
    ],
)
def test_what_leaves_a_block_says_how_it_ended(left_by: BaseException | None, told: str) -> None:
    assert ending(left_by) is CheckpointStatus(told)


async def test_a_decorated_function_is_given_its_task_and_its_value_comes_back_from_a_new_task_each_time(tmp_path: Path) -> None:
    there = office(tmp_path)

    ours = supervisor(there)

    @supervised_agent(environment="sandbox", server=ours, kind="review")
    async def look_at(task: AgentTask, number: int, *, twice: bool = False) -> int:
        await task.checkpoint(f"looked at {number}")
        return number * (2 if twice else 1)

    async with there.open(), ours:
        assert [await look_at(3), await look_at(4, twice=True)] == [3, 8]
    opened = [one["name"] for one in there.book.stored if "name" in one]
    assert opened == ["look at", "look at"]
    assert [one["task"] for one in there.book.stored if one["status"] == "complete"] == ["task_00000001", "task_00000002"]


async def test_a_checkpoint_by_hand_says_what_its_object_says(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with there.open(), supervisor(there) as ours:
        begun = await ours.open("By hand", environment="sandbox")
        said = AgentCheckpoint(action="half way", status=CheckpointStatus.working, progress=50, tokens_used=12_000)
        receipt = await ours.checkpoint(begun.task, said)
    assert receipt.stored
    assert there.book.stored[-1] | {"idempotency_key": ""} == {
        "task": begun.task, "action": "half way", "status": "working", "progress": 50, "tokens_used": 12_000,
        "idempotency_key": "",
    }  # fmt: skip


async def test_without_a_server_the_job_runs_and_the_next_one_sends_what_it_said_first(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with agent_task("Alone", environment="sandbox", server=there.reach) as task:
        receipts = [await task.checkpoint(f"step {number}") for number in range(5)]
        assert task.id.startswith("local_")
    assert [(receipt.stored, receipt.spooled) for receipt in receipts] == [(False, True)] * 5
    async with there.open():
        await all_sent(there)
    steps = [("checkpoint", f"step {number}") for number in range(5)]
    assert there.book.said == [("starting", "Starting: Alone"), *steps, ("complete", "Completed")]


async def test_a_server_that_hangs_holds_up_one_checkpoint_and_not_the_others(tmp_path: Path) -> None:
    there = office(tmp_path)
    there.book.always = "hang"
    # Fifty waits would take fifty times the patience; the deadline leaves room for a few of them.
    async with there.open():
        async with supervisor(there, 1) as ours:
            with anyio.fail_after(20):
                begun = await ours.open("Slow", environment="sandbox")
                for number in range(50):
                    await ours.checkpoint(begun.task, AgentCheckpoint(action=f"step {number}"))
            there.book.always = ""
            there.book.hung.set()
        await all_sent(there)
    assert [action for _, action in there.book.said] == ["Starting: Slow", *(f"step {number}" for number in range(50))]


async def test_an_answer_that_is_lost_makes_no_second_checkpoint(tmp_path: Path) -> None:
    there = office(tmp_path)
    there.book.troubles = ["", "fail after", "fail before", "fail after", ""]
    async with there.open():
        async with agent_task("Mend", environment="sandbox", server=there.reach) as task:
            await task.checkpoint("one")
            await task.checkpoint("two")
        await all_sent(there)
    assert [action for _, action in there.book.said] == ["Starting: Mend", "one", "two", "Completed"]
    assert there.book.attempts > 4


async def test_what_is_refused_for_good_is_dropped_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = office(tmp_path)
    there.book.troubles = ["", "invalid_arguments"]
    with caplog.at_level(logging.WARNING, "ops_mcp.client"):
        async with there.open(), supervisor(there) as ours, agent_task("Mend", environment="sandbox", server=ours) as task:
            refused = await task.checkpoint("one")
    assert (refused.stored, refused.spooled, refused.problem and refused.problem.code) == (False, False, "invalid_arguments")
    assert caplog.messages == ["A checkpoint was refused and is dropped: invalid_arguments: Not like this."]
    assert there.book.said[1:] == [("complete", "Completed")]


@pytest.mark.parametrize("code", ["unauthenticated", "not_permitted", "over_budget", "unknown_tool", "not_configured"])
async def test_what_an_operator_can_put_right_is_kept_and_sent_when_it_is(tmp_path: Path, code: str) -> None:
    there = office(tmp_path)
    there.book.always = code
    async with there.open():
        async with agent_task("Mend", environment="sandbox", server=there.reach):
            pass
        assert there.book.said == []
        there.book.always = ""
        await all_sent(there)
    assert there.book.said == [("starting", "Starting: Mend"), ("complete", "Completed")]


async def test_a_token_that_is_not_known_yet_breaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = office(tmp_path)
    there.tokens.clear()
    with caplog.at_level(logging.WARNING, "ops_mcp.client"):
        async with there.open():
            async with agent_task("Mend", environment="sandbox", server=there.reach):
                pass
            there.tokens.add(TOKEN)
            await all_sent(there)
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["The server answered HTTP 401."]
    assert there.book.said == [("starting", "Starting: Mend"), ("complete", "Completed")]


async def test_without_a_token_the_job_runs_and_nothing_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reach = Reach(url="http://127.0.0.1:9/mcp", spool=tmp_path / "spool")
    with caplog.at_level(logging.WARNING, "ops_mcp.client"):
        async with agent_task("Mend", environment="sandbox", server=reach) as task:
            receipt = await task.checkpoint("one")
    assert (receipt.stored, receipt.spooled) == (False, False)
    assert caplog.messages == snapshot(
        [
            """\
No checkpoint will be sent: OPS_MCP_TOKEN is not set to a token. \
Put the token that `ops-mcp agent add` printed into the client's `env`.\
"""
        ]
    )


def test_a_token_is_not_sent_to_another_machine_unencrypted(tmp_path: Path) -> None:
    reach = Reach.from_environ({"OPS_MCP_URL": "http://ops.example.com/mcp", "OPS_MCP_TOKEN": TOKEN, "HOME": str(tmp_path)})
    assert reach.trouble is not None
    assert reach.trouble.message == "The token would travel to ops.example.com unencrypted."


def test_lines_of_one_token_are_not_another_tokens(tmp_path: Path) -> None:
    mine, other = (Reach.from_environ({"OPS_MCP_TOKEN": token, "HOME": str(tmp_path)}) for token in (TOKEN, TOKEN + "b"))
    assert mine.spool == other.spool == tmp_path / ".local" / "state" / "ops-mcp" / "spool"
    assert mine.directory != other.directory


async def test_a_person_s_cancellation_is_seen_with_the_next_checkpoint_and_ends_the_task_as_cancelled(tmp_path: Path) -> None:
    there = office(tmp_path)

    async def job() -> None:
        async with supervisor(there) as ours, agent_task("Mend", environment="sandbox", server=ours) as task:
            task.raise_if_cancelled()
            there.book.cancel_by = "olivia"
            await task.checkpoint("one")
            assert task.cancel_requested
            task.raise_if_cancelled()

    async with there.open():
        with pytest.raises(CancelRequested, match="olivia asked for the end of Mend: enough"):
            await job()
    assert there.book.said[-1] == ("cancelled", "Cancelled")


async def test_what_cannot_be_meant_is_left_out_and_the_rest_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = office(tmp_path)
    with caplog.at_level(logging.WARNING, "ops_mcp.client"):
        async with there.open(), supervisor(there) as ours, agent_task("Mend", environment="sandbox", server=ours) as task:
            await task.checkpoint("x" * 3000, progress=450, status="dancing", state={"a": 1})
            await task.checkpoint("  ", state={"bad": object()})  # type: ignore[dict-item]
    said = there.book.stored[1]
    assert (len(str(said["action"])), said["status"], said.get("progress"), said["state"]) == (2000, "checkpoint", None, {"a": 1})
    assert there.book.said[2] == ("checkpoint", "…")
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "A checkpoint was sent without its status",
        "A checkpoint was sent without its progress",
        "A checkpoint was sent without its state",
    ]


async def test_a_restarted_agent_finds_the_state_that_was_kept_last_also_if_the_server_has_not_got_it(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with there.open(), supervisor(there) as ours:
        begun = await ours.open("Long", environment="sandbox")
        there.book.resumable = {"page": 7}
        async with agent_task("Long", environment="sandbox", task=begun.task, server=ours) as task:
            assert task.state == {"page": 7}
    async with supervisor(there) as ours:
        await ours.checkpoint(begun.task, AgentCheckpoint(action="away", state={"page": 8}))
    async with agent_task("Long", environment="sandbox", task=begun.task, server=there.reach) as task:
        assert task.state == {"page": 8}


async def test_a_child_of_a_task_that_is_not_open_yet_is_its_child_later(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with supervisor(there) as ours, agent_task("Deploy all", environment="sandbox", server=ours) as parent:
        for name in ("test", "build", "deploy"):
            async with agent_task(name, environment="sandbox", parent=parent, server=ours):
                pass
    async with there.open():
        await all_sent(there)
    opened = {one["name"]: one.get("about") for one in there.book.stored if "name" in one}
    assert opened == {"Deploy all": None} | {name: {"parent": "task_00000001"} for name in ("test", "build", "deploy")}


async def test_a_supervisor_that_has_nothing_to_do_ends_at_once(tmp_path: Path) -> None:
    there = office(tmp_path)
    with anyio.fail_after(20):
        async with there.open():
            async with supervisor(there):
                pass
            async with supervisor(there) as ours:
                ours.push("task_00000009")


def test_importing_the_library_imports_neither_the_sdk_nor_a_server() -> None:
    heavy = "{'mcp', 'mcp_types', 'httpx2', 'starlette', 'uvicorn', 'aiosqlite', 'cedarpy', 'cryptography'}"
    code = f"import sys, ops_mcp.client; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
