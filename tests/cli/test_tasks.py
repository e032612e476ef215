"""Tasks of agents at a terminal: what there is, one with its reports, and asking an agent to stop."""

from datetime import timedelta
from typing import Any

import anyio
import pytest
from inline_snapshot import snapshot

from ops_mcp.cli.desk import ledger_signer
from ops_mcp.config import load
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import Artifact, ArtifactKind, CheckpointStatus, Report
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.tasks import writing
from ops_mcp.supervising.settings import Keep, SuperviseTerms
from tests.cli.conftest import START, Terminal
from tests.cli.test_people import bodies, rows


@pytest.fixture
def busy(terminal: Terminal) -> Terminal:
    """An installation with a task that goes on and one that is done."""
    terminal.config_dir.joinpath("config.toml").write_text(
        'worker = "external"\n[channels.ops]\nkind = "file"\npath = "/nowhere/ops"\n[supervise]\nchannel = "ops"\n'
    )
    made = Artifact(kind=ArtifactKind.pull_request, name="PR 12", url="https://example.com/12", at=START)

    def unit(tx: Transaction) -> None:
        for number, name in ((1, "Ship\x1b[2J it"), (2, "Tidy up")):
            keep(tx, number, opens=True, name=name, action="began", artifacts=(made,))
        keep(tx, 1, action="ran the tests", progress=50, seconds=61, status=CheckpointStatus.working)
        keep(tx, 2, action="tidied", status=CheckpointStatus.complete)

    async def fill() -> None:
        config = load({}, config_dir=terminal.config_dir, state_dir=terminal.state_dir)
        async with Database.open(config.database_path, signer=ledger_signer(config)) as database:
            await database.write(unit)

    anyio.run(fill)
    return terminal


def keep(tx: Transaction, number: int, *, seconds: float = 0, **changes: Any) -> None:
    report = Report(
        id=f"task_0000000{number}",
        agent=AgentName("ada"),
        environment=EnvironmentName("staging"),
        status=CheckpointStatus.starting,
        action="worked",
    )
    writing.keep(tx, Keep(report.evolve(**changes), SuperviseTerms()), at=START + timedelta(seconds=seconds))


def test_where_no_agent_has_reported_there_are_no_tasks(terminal: Terminal) -> None:
    assert terminal("task", "list").out.startswith("No tasks.")


def test_tasks_are_listed_the_newest_first_and_by_what_is_asked(busy: Terminal) -> None:
    def listed(*options: str) -> list[str]:
        return [task["id"] for task in busy("task", "list", *options, "--json").data["tasks"]]

    assert listed() == ["task_00000002", "task_00000001"]
    assert listed("--status", "running") == ["task_00000001"]
    assert listed("--status", "running", "--status", "completed") == ["task_00000002", "task_00000001"]
    assert listed("--limit", "1") == ["task_00000002"]
    assert listed("--agent", "bob") == []
    assert busy("task", "list", "--status", "done").code == 2
    told = busy("task", "list").out
    assert "\x1b" not in told
    assert "2 in all." in told


def test_a_task_is_shown_as_people_read_it_in_their_channel(busy: Terminal) -> None:
    shown = busy("task", "show", "task_00000001")
    assert (shown.code, [line.rstrip() for line in shown.out.splitlines()]) == snapshot(
        (
            0,
            [
                "⚙️ Agent `ada` – WORKING",
                "Task: Ship[2J it",
                "Progress: ▓▓▓▓▓░░░░░ 50%",
                "Context: 0 / 200,000 (0.0%)",
                "Last Action: ran the tests",
                "Elapsed: 1m 1s",
                "Steps: began → ran the tests",
                "• pull_request: PR 12 https://example.com/12",
                "number  at        status    progress  action",
                "1       12:00:00  starting  0%        began",
                "2       12:01:01  working   50%       ran the tests",
            ],
        )
    )
    data = busy("task", "show", "task_00000001", "--json").data
    assert ([c["number"] for c in data["checkpoints"]], len(data["artifacts"])) == ([1, 2], 1)


def test_a_task_that_does_not_exist_is_neither_shown_nor_cancelled(busy: Terminal) -> None:
    for line in (["show", "task_00000009"], ["cancel", "task_00000009"]):
        told = busy("task", *line, "--json")
        assert (told.code, told.problem["code"], told.problem["hint"]) == (4, "not_found", "List them with: ops-mcp task list")


def test_asking_an_agent_to_stop_is_signed_recorded_and_told(busy: Terminal) -> None:
    told = busy("task", "cancel", "task_00000001", "--reason", "wrong branch")
    assert (told.code, told.out.splitlines()[0]) == (
        0, "task_00000001 is asked to stop; its agent is told at its next checkpoint.",
    )  # fmt: skip
    record = bodies(busy)[-1]
    assert (record["kind"], record["reason"]) == ("task.cancel_requested", "wrong branch")
    assert record["data"]["order"]["signature"]
    assert rows(busy, "SELECT body FROM interventions") == [('{"by":"operator:alice","reason":"wrong branch","what":"cancel"}',)]
    ((body,),) = rows(busy, "SELECT body FROM outbox")
    assert "Cancel requested by operator:alice: wrong branch" in body
    assert busy("task", "cancel", "task_00000001", "--json").problem["code"] == "conflict"


def test_a_task_that_is_over_is_not_cancelled(busy: Terminal) -> None:
    assert busy("task", "cancel", "task_00000002", "--json").problem == snapshot(
        {
            "code": "conflict",
            "message": "task_00000002 has ended: it is completed.",
            "hint": "There is nothing left to stop.",
            "retryable": False,
            "details": {},
        }
    )
    assert rows(busy, "SELECT * FROM interventions") == []
