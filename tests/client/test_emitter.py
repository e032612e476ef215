"""Checkpoints from a program without an event loop: sent by a thread, kept on disk, and never in the job's way."""

import logging
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest

from ops_mcp.client import Supervisor, SyncCheckpointEmitter
from tests.client.book import Office, office
from tests.client.test_tasks import all_sent

pytestmark = pytest.mark.anyio


def job(there: Office, *, fails: bool = False) -> None:
    """What runs in a thread of its own, beside the server."""
    with SyncCheckpointEmitter(name="Count", environment="sandbox", server=there.reach, kind="analyze") as emitter:
        emitter.emit("one", status="working", progress=10)
        emitter.emit("two", tokens_delta=5)
        if fails:
            raise ValueError("no rows")


def threads() -> list[str]:
    """The names of the threads that still send."""
    return [thread.name for thread in threading.enumerate() if thread.name == "ops-mcp-checkpoints"]


async def test_what_is_emitted_arrives_in_order_and_the_first_opens_the_task(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with there.open():
        await anyio.to_thread.run_sync(job, there)
        await all_sent(there)
    assert there.book.said == [("working", "one"), ("checkpoint", "two"), ("complete", "Completed")]
    assert [one.get("name") for one in there.book.stored] == ["Count", None, None]
    assert there.book.stored[0]["about"] == {"kind": "analyze"}


async def test_an_exception_is_told_as_an_error_and_goes_on(tmp_path: Path) -> None:
    there = office(tmp_path)
    async with there.open():
        with pytest.raises(ValueError, match="no rows"):
            await anyio.to_thread.run_sync(partial(job, there, fails=True))
        await all_sent(there)
    assert there.book.said[-1] == ("error", "Failed")
    assert there.book.stored[-1]["error"] == "ValueError: no rows"


async def test_without_a_server_the_program_runs_and_its_lines_are_sent_later(tmp_path: Path) -> None:
    there = office(tmp_path)
    await anyio.to_thread.run_sync(job, there)
    assert there.book.said == []
    assert threads() == []
    async with there.open():
        await all_sent(there)
    assert [action for _, action in there.book.said] == ["one", "two", "Completed"]


async def test_a_task_that_was_handed_down_is_reported_on_and_goes_on(tmp_path: Path) -> None:
    there = office(tmp_path)

    def child(task: str) -> None:
        with SyncCheckpointEmitter(task, server=there.reach) as emitter:
            emitter.emit("from below")

    async with there.open(), Supervisor(there.reach, patience=20) as ours:
        begun = await ours.open("Parent", environment="sandbox")
        await anyio.to_thread.run_sync(child, begun.task)
        await all_sent(there)
    assert there.book.said == [("starting", "Starting: Parent"), ("checkpoint", "from below")]
    assert there.book.stored[-1]["task"] == begun.task


def test_no_trouble_of_an_emitter_reaches_the_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = office(tmp_path)
    with caplog.at_level(logging.WARNING, "ops_mcp.client"):
        emitter = SyncCheckpointEmitter("no/task", server=there.reach)
        emitter.emit("into nowhere", progress=900, status="dancing")
        emitter.close()
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "A checkpoint was sent without its status",
        "A checkpoint was sent without its progress",
        "A checkpoint is lost.",
    ]


def test_a_place_that_cannot_be_written_is_replaced_by_a_passing_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = office(tmp_path)
    there.spool.write_text("a file where a directory should be")
    with caplog.at_level(logging.WARNING, "ops_mcp.client"):
        emitter = SyncCheckpointEmitter(name="Count", environment="sandbox", server=there.reach)
        emitter.emit("one")
        emitter.close()
    assert threads() == []
    assert "cannot be written (FileExistsError): checkpoints are kept in " in caplog.messages[0]


async def test_a_program_hears_that_its_end_is_wanted(tmp_path: Path) -> None:
    there = office(tmp_path)
    there.book.cancel_by = "olivia"

    def asked() -> bool:
        emitter = SyncCheckpointEmitter(name="Count", environment="sandbox", server=there.reach)
        emitter.emit("one")
        emitter.close(30)
        return emitter.cancel_requested

    async with there.open():
        assert await anyio.to_thread.run_sync(asked)
