"""Tasks as they are stored: whole or not at all, with what people are told of them, and for as long as an operator keeps them."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_mcp.books.tasks import Tasks
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, ArtifactKind, CheckpointStatus, Report, Task, TaskState
from ops_mcp.errors import Conflict, InvalidArguments, NotFound
from ops_mcp.store import leases
from ops_mcp.store.database import Transaction
from ops_mcp.store.tasks import writing
from ops_mcp.supervising.settings import Keep, SuperviseTerms
from ops_mcp.task_book import TaskDay, TasksWanted
from tests.house import House, house

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
QUIET, LOUD = SuperviseTerms(), SuperviseTerms(channel="ops")
STAGING, SANDBOX = EnvironmentName("staging"), EnvironmentName("sandbox")
ADA = AgentName("ada")


@pytest.fixture
async def home(tmp_path: Path) -> AsyncGenerator[House]:
    async with house(tmp_path) as opened:
        yield opened


def report(id: str, **changes: object) -> Report:
    base = Report(id=id, agent=ADA, environment=STAGING, status=CheckpointStatus.working, action="built")
    return base.evolve(**changes)


async def keep(home: House, id: str, *, at: datetime = AT, terms: SuperviseTerms = QUIET, **changes: object) -> Task:
    return await home.database.write(lambda tx: writing.keep(tx, Keep(report(id, **changes), terms), at=at))


async def opened(home: House, id: str = "task_00000001", *, at: datetime = AT, **changes: object) -> Task:
    return await keep(home, id, at=at, terms=QUIET, opens=True, name="Ship it", **changes)


async def ended(home: House, id: str, *, at: datetime = AT, status: str = "complete") -> Task:
    return await keep(home, id, at=at, status=CheckpointStatus(status), error="broke")


async def test_a_checkpoint_of_no_task_is_not_kept_by_the_call_nor_by_the_database(home: House) -> None:
    # S2-48
    with pytest.raises(NotFound):
        await keep(home, "task_00000009")

    def orphan(tx: Transaction) -> None:
        tx.execute("INSERT INTO checkpoints (task, number, at, body) VALUES ('task_none', 1, '', '{}')")

    with pytest.raises(Exception, match=r"(?i)constraint"):
        await home.database.write(orphan)
    assert await home.count("checkpoints") == 0


async def test_the_database_itself_takes_no_progress_beyond_100(home: House) -> None:
    # S2-43
    await opened(home)
    with pytest.raises(Exception, match=r"(?i)constraint"):
        await home.database.write(lambda tx: tx.execute("UPDATE tasks SET progress = 450"))


async def test_a_report_is_kept_whole_or_not_at_all(home: House) -> None:
    made = Artifact(kind=ArtifactKind.log, name="log", at=AT)
    with pytest.raises(NotFound, match="parent"):
        await opened(home, parent="task_nobody00", artifacts=(made,), resumable={"at": 1})
    await opened(home)
    with pytest.raises(Conflict, match="open already"):
        await opened(home)
    with pytest.raises(InvalidArguments):
        await keep(home, "task_00000001", status=CheckpointStatus.blocked, artifacts=(made,), resumable={"at": 2}, terms=LOUD)
    assert [await home.count(table) for table in ("tasks", "checkpoints", "artifacts", "outbox")] == [1, 1, 0, 0]
    assert await Tasks(home.database).resumable("task_00000001") is None


async def test_a_parent_of_another_environment_is_none(home: House) -> None:
    await opened(home, "task_00000001", environment=SANDBOX)
    with pytest.raises(NotFound, match="parent"):
        await opened(home, "task_00000002", parent="task_00000001")


async def test_a_tree_of_tasks_has_the_thread_of_its_root(home: House) -> None:
    # S2-81
    for id, parent in (("task_00000001", None), ("task_00000002", "task_00000001"), ("task_00000003", "task_00000002")):
        task = await keep(home, id, opens=True, name="Deploy", parent=parent, terms=LOUD)
        assert (task.root, task.parent) == ("task_00000001", parent)
    rows = await home.database.fetch("SELECT DISTINCT thread FROM outbox")
    assert rows == [("task task_00000001",)]


async def test_the_resumable_state_is_the_newest_that_was_left(home: House) -> None:
    # S2-93
    await opened(home, resumable={"page": 1})
    await keep(home, "task_00000001", resumable={"page": 2})
    await keep(home, "task_00000001")
    assert await Tasks(home.database).resumable("task_00000001") == {"page": 2}


async def test_a_wish_to_cancel_is_an_intervention_and_stays_until_the_agent_ends_its_task(home: House) -> None:
    # S2-16 and S2-92
    await opened(home)
    withheld = await keep(home, "task_00000001", terms=LOUD)

    def wish(tx: Transaction) -> Task:
        return writing.cancel(tx, withheld.id, by="operator:olga", reason="wrong\x1b branch", at=AT)

    assert (await home.database.write(wish)).cancel_reason == "wrong branch"
    assert await home.database.fetch("SELECT number, body FROM interventions") == [
        (1, '{"by":"operator:olga","reason":"wrong branch","what":"cancel"}')
    ]
    with pytest.raises(Conflict, match="already"):
        await home.database.write(wish)
    over = await ended(home, withheld.id, status="cancelled")
    assert (over.state, over.cancel_by, over.progress) == (TaskState.cancelled, "operator:olga", 0)
    with pytest.raises(Conflict, match="has ended"):
        await home.database.write(wish)
    with pytest.raises(NotFound):
        await home.database.write(lambda tx: writing.cancel(tx, "task_none", by="x", reason="", at=AT))


async def test_a_wish_to_cancel_is_told_and_offers_no_second_one(home: House) -> None:
    await opened(home)
    await home.database.write(lambda tx: writing.cancel(tx, "task_00000001", by="operator:olga", reason="no", at=AT, terms=LOUD))
    ((body,),) = await home.database.fetch("SELECT body FROM outbox")
    assert "Cancel requested by operator:olga: no" in body
    assert '"buttons":[]' in body


async def test_a_withheld_post_outlives_a_cancellation_that_tells_nobody(home: House) -> None:
    await keep(home, "task_00000001", opens=True, name="x", terms=LOUD)
    await keep(home, "task_00000001", terms=LOUD, at=AT + timedelta(seconds=1))
    await home.database.write(lambda tx: writing.cancel(tx, "task_00000001", by="operator:olga", reason="", at=AT))
    due = AT + timedelta(seconds=30)
    assert await home.database.write(lambda tx: writing.flush(tx, LOUD, at=due)) == 1


async def test_only_what_was_going_on_and_fell_silent_is_stalled(home: House) -> None:
    # S2-91
    for number, status in enumerate(CheckpointStatus):
        await opened(home, f"task_0000000{number}", status=status, reason="r", error="e")
    late = AT + timedelta(seconds=899)
    assert await home.database.write(lambda tx: writing.stall(tx, QUIET, at=late)) == 0
    late += timedelta(seconds=1)
    assert await home.database.write(lambda tx: writing.stall(tx, QUIET, at=late)) == 4
    assert await home.database.write(lambda tx: writing.stall(tx, QUIET, at=late)) == 0
    found = await Tasks(home.database).page(TasksWanted((STAGING,), states=(TaskState.stalled,)))
    assert {task.status.value for task in found.tasks} == {"starting", "planning", "working", "checkpoint"}


async def test_a_worker_is_needed_while_a_task_goes_on_or_waits_to_be_told_and_not_after_it(home: House) -> None:
    place = home.config.database
    assert not leases.work_waits(place)
    await opened(home)
    assert leases.work_waits(place)
    assert await home.database.write(writing.is_due)
    await ended(home, "task_00000001")
    assert not leases.work_waits(place)
    assert not await home.database.write(writing.is_due)


async def test_what_was_not_heard_of_for_long_is_forgotten_with_all_that_belongs_to_it(home: House) -> None:
    made = (Artifact(kind=ArtifactKind.log, name="log", at=AT),)
    await opened(home, "task_00000001", artifacts=made)
    await ended(home, "task_00000001")
    await opened(home, "task_00000002", artifacts=made)
    await home.database.write(lambda tx: writing.cancel(tx, "task_00000002", by="operator:olga", reason="", at=AT))
    await opened(home, "task_00000003", at=AT + timedelta(days=1))
    assert await home.database.write(lambda tx: writing.forget_before(tx, AT)) == 0
    assert await home.database.write(lambda tx: writing.forget_before(tx, AT + timedelta(hours=1))) == 2
    counts = [await home.count(table) for table in ("tasks", "checkpoints", "artifacts", "interventions")]
    assert counts == [1, 1, 0, 0]


async def test_tasks_are_found_by_agent_state_and_environment_and_by_nothing_else(home: House) -> None:
    await opened(home, "task_00000001")
    await opened(home, "task_00000002", agent=AgentName("bob"), environment=SANDBOX)
    await ended(home, "task_00000001")
    book = Tasks(home.database)

    async def ids(wanted: TasksWanted) -> list[str]:
        return [task.id for task in (await book.page(wanted)).tasks]

    both = (STAGING, SANDBOX)
    assert await ids(TasksWanted(both)) == ["task_00000002", "task_00000001"]
    assert await ids(TasksWanted(both, agent="bob")) == ["task_00000002"]
    assert await ids(TasksWanted(both, states=(TaskState.completed, TaskState.failed))) == ["task_00000001"]
    assert await ids(TasksWanted((SANDBOX,))) == ["task_00000002"]
    assert await ids(TasksWanted(())) == []
    with pytest.raises(InvalidArguments):
        await ids(TasksWanted(both, cursor="yesterday"))


async def test_each_day_says_how_many_tasks_there_were_and_how_long_those_took_that_ended(home: House) -> None:
    # S2-74: days without tasks are there too
    await opened(home, "task_00000001")
    await ended(home, "task_00000001", at=AT + timedelta(seconds=40))
    await opened(home, "task_00000002")
    await ended(home, "task_00000002", at=AT + timedelta(seconds=20), status="error")
    await opened(home, "task_00000003", at=AT + timedelta(days=2))
    days = await Tasks(home.database).days((STAGING,), since=AT, until=AT + timedelta(days=2))
    assert days == [
        TaskDay("2026-11-25", 2, 1, 1, 30.0),
        TaskDay("2026-11-26", 0, 0, 0, None),
        TaskDay("2026-11-27", 1, 0, 0, None),
    ]
    assert [day.total for day in await Tasks(home.database).days((), since=AT, until=AT)] == [0]
