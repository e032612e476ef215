"""Lines on disk: kept in order, sent once each whatever fails in between, private, bounded, and shared by several processes."""

import logging
import tempfile
import threading
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.client.draining import Outcome, drain
from ops_mcp.client.lines import Accepted, Later, Line, Receipt, Refused
from ops_mcp.client.spool import NeverOpened, Spool, SpoolFull
from ops_mcp.errors import Code, Problem
from ops_mcp.values import JsonObject

T = TypeVar("T")

AT = datetime(2026, 11, 20, tzinfo=UTC)
TASK = "task_" + "1" * 26
LOCAL = "local_" + "0" * 28
CHILD = "local_" + "1" * 28
AWAY = Later(Problem(code=Code.unavailable, message="away", retryable=True))
NEVER = Refused(Problem(code=Code.invalid_arguments, message="Not like this."))


def line(number: int, *, opens: bool = False, **more: str) -> Line:
    said: JsonObject = {"action": f"step {number}", "status": "working", **more}
    return Line(key=f"key_{number}", at=AT, opens=opens, arguments=said)


async def at_once(work: Callable[[], T]) -> T:
    return work()


def untold(line: Line, outcome: Outcome) -> None:
    """Nobody waits."""


async def sent(spool: Spool, name: str, deliver: Callable[[JsonObject], Awaitable[Outcome]]) -> Later | None:
    return await drain(spool, name, deliver, told=untold, on_disk=at_once)


class Mortal(Spool):
    """The spool of a process that writes nothing more once it was killed."""

    dead = False

    def remove(self, name: str, keys: Collection[str]) -> None:
        if not self.dead:
            super().remove(name, keys)


class Stored:
    """A server that stores each key once. `fails` says what becomes of each attempt."""

    def __init__(self, fails: list[str], spool: Mortal | None = None) -> None:
        self.fails = fails
        self.spool = spool
        self.keys: list[str] = []
        self.arguments: list[JsonObject] = []

    async def deliver(self, arguments: JsonObject) -> Outcome:
        fate = self.fails.pop(0) if self.fails else ""
        if fate == "lost on the way":
            return AWAY
        if fate == "killed before":
            self.kill()
        key = str(arguments["idempotency_key"])
        if key not in self.keys:
            self.keys.append(key)
            self.arguments.append(arguments)
        if fate == "answer lost":
            return AWAY
        if fate == "killed after":
            self.kill()
        return Accepted(Receipt(task=str(arguments.get("task", TASK))))

    def kill(self) -> None:
        assert self.spool is not None
        self.spool.dead = True
        raise KeyboardInterrupt


FATES = st.lists(st.sampled_from(["", "lost on the way", "answer lost", "killed before", "killed after"]), max_size=25)


@settings(max_examples=60, deadline=None)
@given(fates=FATES, appended=st.lists(st.integers(0, 3), max_size=8), opened=st.booleans())
def test_whatever_fails_between_every_line_arrives_once_and_in_order(fates: list[str], appended: list[int], opened: bool) -> None:
    """Each round appends some lines and tries to send; the process may be killed at any attempt, before or after it arrived."""
    with tempfile.TemporaryDirectory() as directory:
        name = TASK if opened else LOCAL
        server = Stored(fates)
        written = 0
        if not opened:
            Spool(Path(directory)).append(name, line(written := 1, opens=True, name="t", environment="sandbox"))
        for count in [*appended, *([0] * (len(fates) + 1))]:
            server.spool = spool = Mortal(Path(directory))  # each time a new process
            for _ in range(count):
                written += 1
                spool.append(name, line(written))
            try:
                anyio.run(sent, spool, name, server.deliver)
                anyio.run(sent, spool, TASK, server.deliver)
            except KeyboardInterrupt:
                continue
        assert server.keys == [f"key_{number}" for number in range(1, written + 1)]
        assert Spool(Path(directory)).waiting() == ()


def test_what_the_server_refuses_for_good_is_dropped_and_the_next_is_sent(tmp_path: Path) -> None:
    spool, server = Spool(tmp_path), Stored([])
    for number in (1, 2, 3):
        spool.append(TASK, line(number))

    async def deliver(arguments: JsonObject) -> Outcome:
        return NEVER if arguments["action"] == "step 2" else await server.deliver(arguments)

    assert anyio.run(sent, spool, TASK, deliver) is None
    assert server.keys == ["key_1", "key_3"]
    assert spool.pending(TASK) == ()


def test_a_task_that_was_opened_while_the_server_was_away_is_opened_first_and_its_lines_name_it(tmp_path: Path) -> None:
    spool, server = Spool(tmp_path), Stored([])
    spool.append(LOCAL, line(1, opens=True, name="t", environment="sandbox"))
    spool.append(LOCAL, line(2))
    assert anyio.run(sent, spool, LOCAL, server.deliver) is None
    assert [one.get("task") for one in server.arguments] == [None, TASK]
    spool.append(LOCAL, line(3))
    assert spool.resolved(LOCAL) == TASK
    assert [one.key for one in spool.pending(TASK)] == ["key_3"]


def test_a_child_waits_for_its_parent_and_then_names_it_by_its_id(tmp_path: Path) -> None:
    spool, server = Spool(tmp_path), Stored([])
    child = line(5, opens=True, name="child", environment="sandbox")
    spool.append(CHILD, child.evolve(arguments={**child.arguments, "about": {"parent": LOCAL, "repo": "a/b"}}))
    spool.append(LOCAL, line(1, opens=True, name="parent", environment="sandbox"))
    held = anyio.run(sent, spool, CHILD, server.deliver)
    assert held is not None
    assert held.problem.message == "The task's parent is not open yet."
    anyio.run(sent, spool, LOCAL, server.deliver)
    assert anyio.run(sent, spool, CHILD, server.deliver) is None
    assert [one.get("about") for one in server.arguments] == [None, {"parent": TASK, "repo": "a/b"}]


def test_a_task_that_may_not_be_opened_takes_its_other_lines_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(_arguments: JsonObject) -> Outcome:
        return NEVER

    spool = Spool(tmp_path)
    spool.append(LOCAL, line(1, opens=True))
    spool.append(LOCAL, line(2))
    with caplog.at_level(logging.WARNING):
        assert anyio.run(sent, spool, LOCAL, deliver) is None
    assert caplog.messages == ["A task could not be opened, and 1 more checkpoints of it are lost: Not like this."]
    with pytest.raises(NeverOpened):
        spool.append(LOCAL, line(3))


def test_only_one_sends_a_tasks_lines_at_a_time(tmp_path: Path) -> None:
    spool, server = Spool(tmp_path), Stored([])
    spool.append(TASK, line(1))
    with Spool(tmp_path).sending(TASK) as mine:
        assert mine
        stopped = anyio.run(sent, spool, TASK, server.deliver)
        assert stopped is not None
        assert stopped.busy
    assert anyio.run(sent, spool, TASK, server.deliver) is None
    assert server.keys == ["key_1"]
    assert not list(tmp_path.glob("task_*"))


def test_lines_of_several_writers_lie_whole_and_each_writers_in_order(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        spool = Spool(tmp_path)
        for number in range(50):
            spool.append(TASK, line(writer * 1000 + number, reason="x" * 3000))

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(30)
    numbers = [int(one.key.removeprefix("key_")) for one in Spool(tmp_path).pending(TASK)]
    assert sorted(numbers) == [writer * 1000 + number for writer in range(4) for number in range(50)]
    assert all([n for n in numbers if n // 1000 == w] == [w * 1000 + i for i in range(50)] for w in range(4))


def test_a_line_that_is_written_while_others_are_taken_out_is_not_lost(tmp_path: Path) -> None:
    def write() -> None:
        spool = Spool(tmp_path)
        for number in range(300):
            spool.append(TASK, line(number))

    writer = threading.Thread(target=write)
    writer.start()
    spool, seen = Spool(tmp_path), list[str]()
    while writer.is_alive() or spool.pending(TASK):
        keys = [one.key for one in spool.pending(TASK)]
        spool.remove(TASK, set(keys))
        seen += keys
    writer.join(30)
    assert seen == [f"key_{number}" for number in range(300)]


def test_a_torn_line_is_left_out_and_those_around_it_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(TASK, line(1))
    with (tmp_path / f"{TASK}.jsonl").open("a") as file:
        file.write('{"key": "key_2", "at"')
    spool.append(TASK, line(3))
    assert [one.key for one in spool.pending(TASK)] == ["key_1", "key_3"]


def test_the_spool_is_its_owners_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(TASK, line(1))
    spool.append(TASK, line(2))
    spool.remove(TASK, {"key_1"})
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "spool").iterdir()}
    assert oct((tmp_path / "spool").stat().st_mode & 0o777) == "0o700"
    assert modes == {".lock": "0o600", f"{TASK}.jsonl": "0o600"}


def test_a_full_spool_takes_only_the_ends_of_tasks(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most_bytes=1_000)
    while sum(file.stat().st_size for file in tmp_path.glob("*.jsonl")) < 900:
        spool.append(TASK, line(1))
    kept = len(spool.pending(TASK))
    with pytest.raises(SpoolFull):
        spool.append(TASK, line(2, reason="x" * 200))
    spool.append(TASK, line(3, status="complete", reason="x" * 200))
    assert len(spool.pending(TASK)) == kept + 1
    with pytest.raises(SpoolFull):
        spool.append(TASK, line(4, status="error", reason="x" * 1_000))


def test_a_name_that_is_no_tasks_reaches_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name of a task"):
        Spool(tmp_path).append("../elsewhere", line(1))


def test_what_a_task_became_is_forgotten_after_a_week_and_lines_never(tmp_path: Path) -> None:
    spool, server = Spool(tmp_path), Stored([])
    spool.append(LOCAL, line(1, opens=True))
    anyio.run(sent, spool, LOCAL, server.deliver)
    spool.append(TASK, line(2))
    written = (tmp_path / f"{LOCAL}.jsonl").stat().st_mtime
    spool.sweep(written + 6 * 86_400)
    assert spool.resolved(LOCAL) == TASK
    spool.sweep(written + 8 * 86_400)
    assert spool.resolved(LOCAL) is None
    assert [one.key for one in spool.pending(TASK)] == ["key_2"]
