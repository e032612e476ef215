"""What a report makes of a task: statuses, tokens, progress, hand-off, endings."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.domain.tasks import CheckpointStatus, ContextLevel, Report, Task, TaskKind, TaskState
from ops_mcp.errors import Conflict, InvalidArguments, NotPermitted
from ops_mcp.supervising import judging
from ops_mcp.supervising.judging import Judged, judge
from ops_mcp.supervising.settings import SuperviseTerms

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TERMS = SuperviseTerms(channel="ops")


def report(**changes: object) -> Report:
    base = Report(
        id="task_1",
        agent=AgentName("ada"),
        environment=EnvironmentName("staging"),
        status=CheckpointStatus.working,
        action="built",
    )
    return base.evolve(**changes)


def opened(**changes: object) -> Task:
    return judge(report(opens=True, name="Ship it", **changes), None, TERMS, at=NOW).task


def then(task: Task, *, after: float = 60, **changes: object) -> Judged:
    return judge(report(**changes), task, TERMS, at=task.checkpoint_at + timedelta(seconds=after))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("starting", "running"),
        ("planning", "running"),
        ("working", "running"),
        ("checkpoint", "running"),
        ("waiting_approval", "waiting"),
        ("blocked", "waiting"),
        ("error", "failed"),
        ("complete", "completed"),
        ("cancelled", "cancelled"),
    ],
)
def test_each_status_puts_the_task_into_its_state(status: str, state: str) -> None:
    after = then(opened(), status=CheckpointStatus(status), reason="waits", error="broke").task
    assert after.state is TaskState(state)
    assert (after.completed_at is not None) is after.state.is_final


@pytest.mark.parametrize(
    ("tokens", "level"),
    [
        # S2-02: of 200,000; exactly 70 % warns, exactly 85 % is critical.
        (139_999, "none"),
        (140_000, "warn"),
        (169_999, "warn"),
        (170_000, "critical"),
    ],
)
def test_context_warns_from_exactly_70_percent_and_is_critical_from_exactly_85(tokens: int, level: str) -> None:
    judged = then(opened(), tokens_used=tokens)
    assert judged.task.context is ContextLevel(level)
    assert judged.crossed is (level != "none")
    assert bool(judging.advice(judged.task)) is (level != "none")


def test_a_crossing_counts_once() -> None:
    first = then(opened(), tokens_used=150_000)
    assert first.crossed
    assert not then(first.task, tokens_used=152_000).crossed
    assert then(first.task, tokens_used=170_000).crossed


def test_tokens_are_added_or_given_whole_but_not_both() -> None:
    task = then(opened(), tokens_used=1_000).task
    assert then(task, tokens_delta=500).task.tokens_used == 1_500
    assert then(task).task.tokens_used == 1_000
    with pytest.raises(InvalidArguments, match="not both"):
        then(task, tokens_delta=500, tokens_used=2_000)


def test_an_ended_task_takes_no_more_reports() -> None:
    for status in (CheckpointStatus.complete, CheckpointStatus.cancelled, CheckpointStatus.error):
        over = then(opened(), status=status, error="broke").task
        with pytest.raises(Conflict, match="has ended"):
            then(over)


def test_an_error_can_be_retried_and_a_completion_cannot() -> None:
    failed = then(opened(), status=CheckpointStatus.error, error="broke").task
    again = then(failed, retry=True).task
    assert again.state is TaskState.running
    assert again.completed_at is None
    with pytest.raises(Conflict):
        then(then(opened(), status=CheckpointStatus.complete).task, retry=True)


def test_completion_is_100_percent_and_keeps_tokens_and_elapsed() -> None:
    task = then(opened(), tokens_used=90_000, progress=40).task
    done = then(task, status=CheckpointStatus.complete, after=65).task
    assert (done.progress, done.tokens_used, done.elapsed_seconds) == (100, 90_000, 125)


@pytest.mark.parametrize(("status", "field"), [("blocked", "reason"), ("error", "error")])
def test_a_status_that_needs_words_is_refused_without_them(status: str, field: str) -> None:
    with pytest.raises(InvalidArguments, match=field):
        then(opened(), status=CheckpointStatus(status))


def test_progress_that_goes_back_is_stored_with_a_warning() -> None:
    task = then(opened(), progress=50).task
    back = then(task, progress=30)
    assert back.task.progress == 30
    assert back.warnings == ("progress goes back from 50 % to 30 %",)


def test_another_agent_cannot_report_until_the_task_is_handed_over() -> None:
    task = opened()
    with pytest.raises(NotPermitted, match="not your task"):
        then(task, agent=AgentName("bob"))
    handed = then(task, hand_to=AgentName("bob")).task
    assert (handed.agent, handed.handed_from) == ("bob", "ada")
    assert then(handed, agent=AgentName("bob")).task.agent == "bob"
    with pytest.raises(NotPermitted, match="handed to bob"):
        then(handed)


def test_a_stalled_task_is_revived_by_its_next_report() -> None:
    task = opened()
    late = NOW + timedelta(seconds=900)
    assert not judging.is_stalled(task, TERMS, at=late - timedelta(seconds=1))
    assert judging.is_stalled(task, TERMS, at=late)
    assert then(judging.stalled(task)).task.state is TaskState.running


def test_a_task_that_waits_for_a_person_does_not_stall() -> None:
    waiting = then(opened(), status=CheckpointStatus.waiting_approval).task
    assert not judging.is_stalled(waiting, TERMS, at=NOW + timedelta(days=1))


def test_an_unknown_kind_keeps_what_was_said() -> None:
    task = opened(kind="gardening")
    assert (task.kind, task.said_kind) == (TaskKind.unknown, "gardening")
    assert opened(kind="deploy").kind is TaskKind.deploy


def test_a_new_task_needs_a_name() -> None:
    with pytest.raises(InvalidArguments, match="name"):
        judge(report(opens=True, name="  "), None, TERMS, at=NOW)


def test_control_and_invisible_characters_do_not_reach_the_store() -> None:
    task = then(opened(), action="built\x1b[31m\u200b\u202e it\x00").task
    assert task.action == "built[31m it"


def test_a_wish_to_cancel_is_noted_once_and_not_of_an_ended_task() -> None:
    wished = judging.cancelled(opened(), by="operator:olga", reason="wrong branch", at=NOW)
    assert wished.cancel_by == "operator:olga"
    assert then(wished).task.cancel_by == "operator:olga", "its next report still tells"
    with pytest.raises(Conflict, match="already"):
        judging.cancelled(wished, by="operator:otto", reason="", at=NOW)
    with pytest.raises(Conflict, match="has ended"):
        judging.cancelled(then(opened(), status=CheckpointStatus.complete).task, by="operator:olga", reason="", at=NOW)


_REPORTS = st.lists(
    st.builds(
        lambda status, progress, delta, gap: ({"status": status, "progress": progress, "tokens_delta": delta}, gap),
        st.sampled_from([s for s in CheckpointStatus if judging.STATES[s] in (TaskState.running, TaskState.waiting)]),
        st.none() | st.integers(0, 100),
        st.none() | st.integers(0, 50_000),
        st.floats(-100, 10_000),
    ),
    max_size=12,
)


@given(_REPORTS)
def test_whatever_is_reported_the_counts_hold_and_time_does_not_run_back(reports: list[tuple[dict[str, object], float]]) -> None:
    task = opened()
    crossings = 0
    for number, (changes, gap) in enumerate(reports, 2):
        judged = then(task, after=gap, reason="waits", **changes)
        crossings += judged.crossed
        assert judged.checkpoint.number == judged.task.checkpoints == number
        assert judged.task.checkpoint_at >= task.checkpoint_at
        assert 0 <= judged.task.progress <= 100
        assert judged.task.tokens_used >= task.tokens_used
        assert len(judged.task.steps) == min(number, 5)
        task = judged.task
    assert crossings <= 2
