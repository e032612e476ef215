"""Checkpoints through the one path: stored with their call, told in one thread, and heard back when a person wants an end."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from ops_mcp.domain.identity import Credential, NoToken
from ops_mcp.domain.outcomes import Done, Failed, Refused
from ops_mcp.operator.verbs import CancelTask
from ops_mcp.store import outbox
from ops_mcp.store.outbox import State
from ops_mcp.store.tasks import writing
from ops_mcp.supervising.settings import SuperviseTerms
from ops_mcp.values import Json
from tests.house import House, house

CHANNEL: dict[str, Any] = {
    "channels": {"ops": {"kind": "file", "path": "/nowhere/ops.jsonl"}},
    "supervise": {"channel": "ops"},
}
TERMS = SuperviseTerms(channel="ops")

pytestmark = pytest.mark.anyio


async def report(home: House, agent: Credential, task: str | None = None, **arguments: Json) -> dict[str, Any]:
    where: dict[str, Json] = {"task": task} if task else {"environment": "staging", "name": "Ship it"}
    outcome = await home.call(agent, "checkpoint", **{**where, "action": "worked", **arguments})
    assert isinstance(outcome, Done), outcome
    return dict(outcome.result)


async def told(home: House) -> list[outbox.Posted]:
    return list(reversed(await outbox.listed(home.database, tuple(State), limit=1000)))


async def test_the_first_checkpoint_opens_a_task_and_later_ones_report_on_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        first = await report(home, agent, action="began", status="starting")
        home.advance(seconds=61)
        second = await report(home, agent, first["task"], progress=50, tokens_used=150_000)
        assert first["warnings"] == snapshot(
            ["Nobody is told of this task: the operator has configured no channel for tasks. It is stored all the same."]
        )
        assert (second["number"], second["progress"], second["elapsed_seconds"]) == (2, 50, 61.0)
        assert (second["context"], second["context_percent"]) == ("warn", 75.0)
        assert "summarise" in second["advice"]
        assert second["posted"] == "none"
        shown = await home.call(agent, "task", task=first["task"])
        assert isinstance(shown, Done)
        assert [c["untrusted_action"] for c in shown.result["checkpoints"]] == ["began", "worked"]  # type: ignore[index,union-attr,call-overload]


async def test_five_checkpoints_within_a_second_are_five_rows_and_two_posts_and_the_completion(tmp_path: Path) -> None:
    # S2-78: 10, 30, 50, 100 % of a diagnosis
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent, progress=0, status="starting"))["task"]
        for progress in (10, 30, 50):
            home.advance(seconds=0.1)
            await report(home, agent, task, progress=progress)
        home.advance(seconds=0.1)
        await report(home, agent, task, status="complete", result="found it")
        assert await home.count("checkpoints") == 5
        titles = [posted.notice.title for posted in await told(home)]
        assert titles == ["🚀 Agent `ada` – STARTING", "✅ Agent `ada` – COMPLETE"]
        assert not await home.database.write(lambda tx: writing.flush(tx, TERMS, at=home.now[0] + timedelta(minutes=5)))


async def test_a_thousand_checkpoints_are_stored_and_few_are_told(tmp_path: Path) -> None:
    # S2-79: one each 100 ms is 100 s, so at most one post each 30 s and the first.
    async with house(
        tmp_path, rates={"record": {"per_minute": 100_000, "burst": 5_000}}, budgets={"work": {}}, **CHANNEL
    ) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        for number in range(999):
            home.advance(seconds=0.1)
            await report(home, agent, task, action=f"page {number}")
        assert await home.count("checkpoints") == 1_000
        assert len(await told(home)) <= 5


async def test_the_newest_withheld_checkpoint_is_told_when_its_time_has_come(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        for action in ("second", "third"):
            home.advance(seconds=1)
            await report(home, agent, task, action=action)
        early, due = home.now[0] + timedelta(seconds=27.9), home.now[0] + timedelta(seconds=28)
        assert not await writing.waits(home.database, TERMS, at=early)
        assert await writing.waits(home.database, TERMS, at=due)
        assert await home.database.write(lambda tx: writing.flush(tx, TERMS, at=due)) == 1
        posts = await told(home)
        assert len(posts) == 2
        assert "Last Action: third" in posts[-1].notice.untrusted
        assert not await home.database.write(lambda tx: writing.flush(tx, TERMS, at=due + timedelta(hours=1)))


async def test_all_posts_of_a_task_and_its_children_are_one_thread_that_survives_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        child = (await report(home, agent, name="Build", about={"parent": task}))["task"]
        children = await home.call(agent, "task", task=task)
        assert isinstance(children, Done)
        assert [c["id"] for c in children.result["children"]] == [child]  # type: ignore[index,union-attr,call-overload]
    async with house(tmp_path, **CHANNEL) as again:
        again.advance(minutes=5)
        await report(again, agent, task, status="blocked", reason="no disk")
        await report(again, agent, child, status="error", error="broke")
        assert {posted.notice.thread for posted in await told(again)} == {f"task {task}"}
        assert len(await told(again)) == 4


async def test_a_message_tells_of_the_task_with_a_button_to_cancel_until_it_has_ended(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        await report(home, agent, task, status="complete")
        running, over = await told(home)
        assert [(b.action, b.value) for b in running.notice.buttons] == [("cancel_task", task)]
        assert over.notice.buttons == ()
        assert running.notice.text == "", "what agents write is quoted, never ours"


async def test_a_person_who_cancels_reaches_the_agent_at_its_next_checkpoint_and_in_task(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        await home.order(CancelTask(task=task, reason="wrong branch"))
        answered = await report(home, agent, task)
        assert (answered["cancel_requested"], answered["cancel_by"]) == (True, "operator:olga")
        assert answered["untrusted_cancel_reason"] == "wrong branch"
        shown = await home.call(agent, "task", task=task)
        assert isinstance(shown, Done)
        assert shown.result["cancel_requested"] is True
        ended = await report(home, agent, task, status="cancelled")
        assert ended["state"] == "cancelled"
        assert await home.count("interventions") == 1
        assert [r["reason"] for r in await home.records("task.cancel_requested")] == ["wrong branch"]


async def test_a_silent_task_is_stalled_once_told_once_and_revived_by_its_next_checkpoint(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        home.advance(seconds=900)
        for expected in (1, 0):
            assert await home.database.write(lambda tx: writing.stall(tx, TERMS, at=home.now[0])) == expected
        assert [posted.notice.title for posted in await told(home)][-1] == "💤 Agent `ada` – STALLED"
        assert len(await home.records("task.stalled")) == 1
        assert (await report(home, agent, task))["state"] == "running"


async def test_an_agent_finds_the_state_it_left_and_nobody_else_does(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent, other = await home.agent(), await home.agent("bob")
        task = (await report(home, agent, state={"page": 7, "seen": ["a"]}))["task"]
        own, others = await home.call(agent, "task", task=task), await home.call(other, "task", task=task)
        assert isinstance(own, Done)
        assert isinstance(others, Done)
        assert own.result["untrusted_resumable"] == {"page": 7, "seen": ["a"]}
        assert "untrusted_resumable" not in others.result
        large = await home.call(agent, "checkpoint", task=task, action="saved", state={"x": "y" * 40_000})
        assert isinstance(large, Failed)
        assert large.problem.details["fields"] == ["state"]


async def test_a_task_is_handed_over_and_then_only_its_new_agent_reports(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, bob = await home.agent(), await home.agent("bob")
        task = (await report(home, ada, state={"at": 3}))["task"]
        refused = await home.call(bob, "checkpoint", task=task, action="took over")
        assert isinstance(refused, Failed)
        assert refused.problem.code == "not_permitted"
        await report(home, ada, task, hand_to="bob")
        assert (await report(home, bob, task))["number"] == 3
        shown = await home.call(bob, "task", task=task)
        assert isinstance(shown, Done)
        assert shown.result["untrusted_resumable"] == {"at": 3}


async def test_a_repeated_key_keeps_one_checkpoint_and_gives_the_same_answer(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        first = await report(home, agent, idempotency_key="open-1")
        assert await report(home, agent, idempotency_key="open-1") == first
        assert (await home.count("tasks"), await home.count("checkpoints")) == (1, 1)


async def test_a_dry_run_keeps_nothing_and_tells_nobody(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        assert (await report(home, agent, dry_run=True))["dry_run"] is True
        assert (await home.count("tasks"), await home.count("outbox")) == (0, 0)


async def test_a_report_on_an_ended_task_fails_and_leaves_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent))["task"]
        await report(home, agent, task, status="complete")
        late = await home.call(agent, "checkpoint", task=task, action="more")
        assert isinstance(late, Failed)
        assert late.problem.code == "conflict"
        assert await home.count("checkpoints") == 2


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "http://example.com", "https://exa mple.com", "https://a\nb"]
)
async def test_an_artifact_may_only_be_linked_by_https(tmp_path: Path, url: str) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        artifacts: list[Json] = [{"kind": "pull_request", "name": "PR 1", "url": url}]
        refused = await home.call(agent, "checkpoint", environment="staging", name="x", action="y", artifacts=artifacts)
        assert isinstance(refused, Refused)
        assert refused.problem.code == "invalid_arguments"


async def test_artifacts_are_kept_and_shown_with_their_task(tmp_path: Path) -> None:
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        artifacts: list[Json] = [{"kind": "pull_request", "name": "PR 1", "url": "https://example.com/1"}]
        task = (await report(home, agent, artifacts=artifacts))["task"]
        shown = await home.call(agent, "task", task=task)
        assert isinstance(shown, Done)
        assert shown.result["artifacts"] == [
            {"kind": "pull_request", "untrusted_name": "PR 1", "untrusted_url": "https://example.com/1", "untrusted_content": ""}
        ]
        assert "• pull_request: PR 1 https://example.com/1" in (await told(home))[0].notice.untrusted


async def test_a_secret_in_a_report_is_not_stored(tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    async with house(tmp_path, **CHANNEL) as home:
        agent = await home.agent()
        task = (await report(home, agent, action=f"used {secret}", error=secret, state={"k": [secret]}))["task"]
        for table in ("tasks", "checkpoints", "outbox", "ledger"):
            rows = await home.database.fetch(f"SELECT * FROM {table}")
            assert secret not in repr(rows), table
        assert task


async def test_nobody_without_a_name_keeps_tasks(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        refused = await home.call(NoToken(), "checkpoint", environment="sandbox", name="x", action="y")
        assert isinstance(refused, Failed)
        assert refused.problem.code == "not_permitted"


async def test_tasks_are_listed_newest_first_with_a_cursor(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        agent = await home.agent()
        made = [(await report(home, agent, name=f"number {n}"))["task"] for n in range(5)]
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(3):
            page = await home.call(agent, "tasks", limit=2, **({"cursor": cursor} if cursor else {}))
            assert isinstance(page, Done)
            seen += [t["id"] for t in page.result["tasks"]]  # type: ignore[index,union-attr,call-overload]
            cursor = page.result.get("next_cursor")  # type: ignore[assignment]
            assert page.result["matched"] == 5
        assert seen == sorted(made, reverse=True)
        assert cursor is None
