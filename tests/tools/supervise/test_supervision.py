"""What holds for tasks between calls: races, what is told at once, who is woken, what a person reads, and what is refused."""

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from inline_snapshot import snapshot
from mcp import Client as McpClient

from ops_mcp.books.tasks import Tasks
from ops_mcp.call import call
from ops_mcp.domain.identity import AgentName, Client, Credential, Level
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.domain.tasks import Task
from ops_mcp.errors import RateLimited
from ops_mcp.observing import Way
from ops_mcp.operator.verbs import RevokeAgent
from ops_mcp.server import build
from ops_mcp.store.outbox import State
from ops_mcp.store.tasks import writing
from ops_mcp.supervising.settings import SuperviseTerms
from ops_mcp.values import Json
from tests.house import NOBODY, House, house
from tests.operations.test_deliver import Taker
from tests.tools.supervise.test_checkpoint import CHANNEL, report, told
from tests.tools.supervise.test_notify import delivering

pytestmark = pytest.mark.anyio

TERMS = SuperviseTerms(channel="ops")


class Remembering(Tasks):
    """A book that shows a task as it was once, as a call sees it that is overtaken before it is settled."""

    then: Task | None = None

    async def get(self, id: str) -> Task | None:
        return self.then


async def overtaken(home: House, agent: Credential, then: Task | None, **arguments: Json) -> Outcome:
    """A checkpoint of a caller that saw the task as it was `then`."""
    book = Remembering(home.database)
    book.then = then
    app = replace(home.app, sights=home.app.sights._replace(tasks=book))
    return await call(app, agent, Client(), "checkpoint", {"action": "worked", **arguments})


async def shown(home: House, agent: Credential, task: str) -> dict[str, Any]:
    outcome = await home.call(agent, "task", task=task)
    assert isinstance(outcome, Done), outcome
    return dict(outcome.result)


async def refusal(home: House, agent: Credential, /, **arguments: Json) -> tuple[str, str]:
    outcome = await home.call(agent, "checkpoint", **{"action": "worked", **arguments})
    assert isinstance(outcome, Failed | Refused), outcome
    return outcome.problem.code.value, outcome.problem.message


async def test_a_report_that_became_impossible_meanwhile_fails_and_leaves_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        then = await home.app.sights.tasks.get(task)
        await report(home, agent, task, status="complete")
        for _ in range(2):
            late = await overtaken(home, agent, then, task=task, idempotency_key="late", artifacts=[{"kind": "log", "name": "l"}])
            assert isinstance(late, Failed), "its key is not bound either"
            assert (late.problem.code, late.problem.message) == ("conflict", f"{task} has ended: it is completed.")
        assert (await home.count("checkpoints"), await home.count("artifacts"), len(await told(home))) == (2, 0, 2)
        settled = [record for record in await home.records("call.settled") if record["tool"] == "checkpoint"]
        assert [record.get("code") for record in settled] == [None, None, "conflict", "conflict"]


async def test_tokens_that_two_calls_add_are_both_counted(tmp_path: Path) -> None:
    # S2-80: the sum is made where it is stored, not from what a caller saw.
    async with house(tmp_path) as home:
        agent = await home.agent()
        task = (await report(home, agent, tokens_used=1_000))["task"]
        then = await home.app.sights.tasks.get(task)
        for _ in range(2):
            assert isinstance(await overtaken(home, agent, then, task=task, tokens_delta=500), Done)
        assert (await shown(home, agent, task))["tokens_used"] == 2_000
        assert (await refusal(home, agent, task=task, tokens_delta=1, tokens_used=2))[0] == "invalid_arguments"
        assert (await refusal(home, agent, task=task, tokens_delta=-1))[0] == "invalid_arguments"


async def test_calls_at_once_on_one_task_are_numbered_one_after_the_other(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(report, home, agent, task)
        rows = await home.database.fetch("SELECT number FROM checkpoints WHERE task = ? ORDER BY number", task)
        assert [row[0] for row in rows] == list(range(1, 12))


async def test_an_agent_may_have_two_tasks_at_once(tmp_path: Path) -> None:
    # S2-39
    async with house(tmp_path) as home:
        agent = await home.agent()
        first, second = [(await report(home, agent))["task"] for _ in range(2)]
        assert first != second
        await report(home, agent, first, status="complete")
        assert (await report(home, agent, second))["state"] == "running"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("error", {"error": "The disk is full."}), ("blocked", {"reason": "no key"}), ("waiting_approval", {}), ("complete", {}),
        ("cancelled", {}),
    ],
)  # fmt: skip
async def test_trouble_and_ends_are_told_at_once_and_work_is_not(tmp_path: Path, status: str, words: dict[str, Json]) -> None:
    # S2-03
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        opened = await report(home, agent)
        home.advance(seconds=0.1)
        withheld = await report(home, agent, opened["task"])
        posted = await report(home, agent, opened["task"], status=status, **words)
        assert (opened["posted"], withheld["posted"], posted["posted"]) == ("now", "later", "now")
        last = (await told(home))[-1].notice
        assert last.title.endswith(status.upper())
        assert not words or f"{next(iter(words)).title()}: {next(iter(words.values()))}" in last.untrusted


async def test_context_that_runs_out_is_told_once_for_each_level(tmp_path: Path) -> None:
    # S2-21
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        for tokens in (150_000, 152_000, 153_000, 170_000, 171_000):
            home.advance(seconds=2)
            await report(home, agent, task, tokens_used=tokens)
        said = [posted.notice.untrusted.splitlines()[2] for posted in await told(home)]
        assert said == [
            "Context: 0 / 200,000 (0.0%)",
            "Context: 150,000 / 200,000 (75.0%) ⚠️ over 70 %",
            "Context: 170,000 / 200,000 (85.0%) 🔴 over 85 %",
        ]


async def test_forced_posts_come_no_more_than_once_a_second_and_the_last_one_comes(tmp_path: Path) -> None:
    # S2-24 and S2-79: a loop that forces each of its reports
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        for number in range(50):
            home.advance(seconds=0.1)
            await report(home, agent, task, force=True, action=f"page {number}")
        assert len(await told(home)) <= 6
        home.advance(seconds=1)
        await home.database.write(lambda tx: writing.flush(tx, TERMS, at=home.now[0]))
        assert "Last Action: page 49" in (await told(home))[-1].notice.untrusted


async def test_a_forced_report_that_waits_is_not_put_off_by_a_plain_one_after_it(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        due = home.now[0] + timedelta(seconds=1)
        for force in (True, False):
            home.advance(seconds=0.3)
            await report(home, agent, task, force=force)
        assert await home.database.write(lambda tx: writing.flush(tx, TERMS, at=due)) == 1


async def test_while_people_cannot_be_told_all_is_stored_and_later_arrives_in_order(tmp_path: Path) -> None:
    # S2-08 and S2-94
    async with house(tmp_path, **CHANNEL) as home:
        agent, taker = await home.agent(), Taker(always=RateLimited("HTTP 429", hint="Later.", retry_after_seconds=1))
        async with delivering(home, {"ops": Way(taker)}):
            task = (await report(home, agent))["task"]
            await report(home, agent, task, status="blocked", reason="no disk")
            await report(home, agent, task, status="complete")
            with anyio.fail_after(20):
                while not taker.asked:
                    await anyio.sleep(0.005)
            assert (await home.count("checkpoints"), taker.taken) == (3, [])
            taker.always = None
            with anyio.fail_after(20):
                while len(taker.taken) < 3:
                    home.advance(seconds=60)
                    await anyio.sleep(0.005)
        assert [notice.title.split(" – ")[1] for notice in taker.taken] == ["CHECKPOINT", "BLOCKED", "COMPLETE"]
        assert {posted.state for posted in await told(home)} == {State.delivered}


async def test_later_posts_name_the_first_one_as_their_parent_also_after_a_restart(tmp_path: Path) -> None:
    # S2-05 and S2-44
    taker = Taker()
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        async with delivering(home, {"ops": Way(taker)}):
            task = (await report(home, agent))["task"]
            await arrived(taker, 1)
    async with house(tmp_path, **CHANNEL) as again:
        again.advance(hours=2)  # the other worker's lease is over
        async with delivering(again, {"ops": Way(taker)}):
            await report(again, agent, task, status="complete")
            await arrived(taker, 2)
    first, second = taker.taken
    assert (first.parent, second.parent) == ("", f"outside-{first.id}")


async def arrived(taker: Taker, count: int) -> None:
    with anyio.fail_after(20):
        while len(taker.taken) < count:
            await anyio.sleep(0.005)


async def test_a_worker_is_called_where_people_are_to_be_told_now_and_else_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent, woken = await home.agent(), []
        app = replace(home.app, wake_worker=lambda: woken.append(1))

        async def woke(**arguments: Json) -> int:
            before = len(woken)
            outcome = await call(app, agent, Client(), "checkpoint", {"action": "worked", **arguments})
            assert isinstance(outcome, Done), outcome
            task.append(str(outcome.result["task"]))
            return len(woken) - before

        task: list[str] = []
        assert await woke(environment="staging", name="x") == 1
        assert await woke(task=task[0]) == 0, "the worker that an open task keeps tells it"
        assert await woke(task=task[0], force=True) == 1
        assert await woke(task=task[0], status="complete", dry_run=True) == 0
        assert await woke(task=task[0], status="complete") == 1


async def test_who_opens_a_task_is_told_that_nobody_will_hear_of_it(tmp_path: Path) -> None:
    # S2-10: a channel that there is not
    async with house(tmp_path, supervise={"channel": "nowhere"}) as home:
        agent = await home.agent()
        opened = await report(home, agent)
        assert [warning.split(":")[0] for warning in opened["warnings"]] == ["Nobody is told of this task"]
        assert (await report(home, agent, opened["task"]))["warnings"] == []
        assert await home.count("checkpoints") == 2


async def test_a_task_is_handed_only_to_an_agent_that_there_is(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        await home.agent("bob")
        await home.order(RevokeAgent(name=AgentName("bob"), reason="left"))
        task = (await report(home, agent))["task"]
        for name in ("bob", "nobody"):
            assert await refusal(home, agent, task=task, hand_to=name) == snapshot(
                ("not_found", "There is no such agent to hand the task to.")
            )
        assert (await refusal(home, agent, task=task, hand_to="ada"))[0] == "invalid_arguments"
        assert (await report(home, agent, task))["number"] == 2


async def test_a_task_waits_for_a_request_of_its_own_agent_and_keeps_the_answer(tmp_path: Path) -> None:
    # S2-16 and S2-32
    async with house(tmp_path, **CHANNEL) as home:
        agent, other = await home.agent(ceiling=Level.prod), await home.agent("bob")
        asked = await home.call(agent, "deploy", service="web", environment="production", ref="main", reason="release")
        assert isinstance(asked, NeedsApproval), asked
        about: Json = {"approval": asked.approval.id}
        assert (await refusal(home, other, environment="staging", name="x", status="waiting_approval", about=about))[
            0
        ] == "not_found"
        task = (await report(home, agent, status="waiting_approval", about=about))["task"]
        home.advance(seconds=90)
        assert (await shown(home, agent, task))["approval"] == asked.approval.id
        await home.answer(asked.approval.id)
        rows = await home.database.fetch("SELECT body FROM interventions WHERE task = ?", task)
        assert [row[0] for row in rows] == ['{"by":"operator:olga","reason":"","what":"approve"}']
        assert (await report(home, agent, task))["elapsed_seconds"] == 90


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "n" * 501), ("name", ""), ("name", " \u200b"), ("action", ""), ("action", "\x00\u200b"), ("action", "a" * 2_001),
        ("progress", 101), ("progress", -1), ("tokens_used", -1), ("status", "running"), ("task", "1"), ("task", "task_x'"),
        ("artifacts", [{"kind": "virus", "name": "x"}]), ("artifacts", [{"kind": "log", "name": "l", "content": "x" * 65_537}]),
        ("artifacts", [{"kind": "log", "name": "l"}] * 21), ("agent", "bob"), ("agent_id", "bob"), ("about", {"id": "task_1"}),
        ("state", [1]),
    ],
)  # fmt: skip
async def test_what_is_no_report_is_refused_before_anything_is_kept(tmp_path: Path, field: str, value: Json) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        code, message = await refusal(home, agent, **{"environment": "staging", "name": "x", field: value})
        assert code == "invalid_arguments"
        assert field in message
        assert await home.count("tasks") == 0


async def test_a_task_keeps_500_artifacts_and_no_more(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        twenty: list[Json] = [{"kind": "file", "name": "f"}] * 20
        task = (await report(home, agent, artifacts=twenty))["task"]
        for _ in range(24):
            await report(home, agent, task, artifacts=twenty)
        assert (await refusal(home, agent, task=task, artifacts=twenty[:1]))[0] == "invalid_arguments"
        assert (await shown(home, agent, task))["artifacts_in_all"] == 500


async def test_who_may_not_see_an_environment_sees_none_of_its_tasks(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        for tool, arguments in (("task", {"task": task}), ("tasks", {"environment": "nowhere"})):
            outcome = await home.call(NOBODY, tool, **arguments)
            assert isinstance(outcome, Refused | Failed), outcome
        listed = await home.call(NOBODY, "tasks")
        assert not isinstance(listed, Done) or task not in listed.text


async def test_tasks_are_resources_as_well(tmp_path: Path) -> None:
    # S2-71 and S2-73
    async with house(tmp_path) as home:
        agent = await home.agent()
        parent = (await report(home, agent))["task"]
        child = (await report(home, agent, about={"parent": parent}))["task"]
        assert await read(home, agent, f"ops://tasks/{parent}") == await shown(home, agent, parent)
        listed = await read(home, agent, "ops://tasks")
        assert [(one["id"], one.get("parent")) for one in listed["tasks"]] == [(child, parent), (parent, None)]


async def read(home: House, agent: Credential, uri: str) -> dict[str, Any]:
    server = build(partial(call, home.app), home.app.tools, door=lambda _ctx: (agent, Client(transport="memory")))
    async with McpClient(server) as client:
        (content,) = (await client.read_resource(uri)).contents
        return dict(json.loads(content.text))  # type: ignore[union-attr]


async def test_what_was_said_when_a_task_was_opened_stays_as_it_was_said(tmp_path: Path) -> None:
    # S2-40 and S2-45
    async with house(tmp_path) as home:
        agent = await home.agent()
        about: Json = {"kind": "gardening", "repo": "shop", "requested_by": "Olga", "token_limit": 1_000}
        task = (await report(home, agent, about=about))["task"]
        stored = await home.app.sights.tasks.get(task)
        assert stored is not None
        assert (stored.kind.value, stored.said_kind, stored.repo, stored.requested_by) == ("unknown", "gardening", "shop", "Olga")
        assert (await shown(home, agent, task))["untrusted_requested_by"] == "Olga"
        assert (await report(home, agent, task, tokens_used=850))["context"] == "critical"
        plain = await home.app.sights.tasks.get((await report(home, agent))["task"])
        assert plain is not None
        assert (plain.requested_by, plain.agent) == ("ada", "ada")


async def test_a_long_error_is_kept_to_4_kib_and_what_is_longer_is_refused(tmp_path: Path) -> None:
    # S2-47
    async with house(tmp_path) as home:
        agent = await home.agent()
        task = (await report(home, agent, status="error", error="e" * 4_096))["task"]
        assert len((await shown(home, agent, task))["untrusted_error"]) == 4_096
        assert (await refusal(home, agent, task=task, retry=True, status="error", error="e" * 4_097))[0] == "invalid_arguments"


async def test_times_are_the_servers_and_an_end_has_one(tmp_path: Path) -> None:
    # S2-46 and S2-51
    async with house(tmp_path) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        began = home.now[0]
        home.advance(seconds=3_661)
        await report(home, agent, task, status="error", error="broke")
        stored = await home.app.sights.tasks.get(task)
        assert stored is not None
        assert (stored.created_at, stored.started_at, stored.completed_at) == (began, began, began + timedelta(seconds=3_661))
        await report(home, agent, task, retry=True)
        stored = await home.app.sights.tasks.get(task)
        assert stored is not None
        assert stored.completed_at is None
        rows = await home.database.fetch("SELECT at FROM checkpoints ORDER BY number")
        assert rows[0][0] == began.isoformat()
