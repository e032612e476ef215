"""What people read of a task, to the letter, and how often."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from ops_mcp.domain.tasks import Artifact, ArtifactKind, CheckpointStatus, Posting, TaskState
from ops_mcp.supervising import telling
from ops_mcp.supervising.settings import SuperviseTerms
from ops_mcp.supervising.telling import Pace, When, pace
from tests.supervising.test_judging import NOW, opened, then


def test_every_status_has_its_emoji_and_colour() -> None:
    assert {status.value: look for status, look in telling.LOOKS.items()} == {
        # S2-28 to S2-36
        "starting": ("🚀", "#0099ff"),
        "planning": ("🧠", "#9933ff"),
        "working": ("⚙️", "#00cc00"),
        "checkpoint": ("📍", "#ffcc00"),
        "waiting_approval": ("⏳", "#ff9900"),
        "blocked": ("🚧", "#ff6600"),
        "error": ("❌", "#ff0000"),
        "complete": ("✅", "#00cc00"),
        "cancelled": ("🛑", "#808080"),
    }
    assert set(telling.LOOKS) == set(CheckpointStatus)


def test_a_message_tells_task_progress_repo_context_action_and_elapsed() -> None:
    task = then(opened(repo="shop"), progress=50, tokens_used=150_000, action="ran the tests", after=61).task
    artifact = Artifact(kind=ArtifactKind.pull_request, name="PR 12", url="https://example.com/12", at=NOW)
    assert telling.title(task) == "⚙️ Agent `ada` – WORKING"
    assert telling.lines(task, (artifact,)) == snapshot("""\
Task: Ship it
Progress: ▓▓▓▓▓░░░░░ 50%
Repo: shop
Context: 150,000 / 200,000 (75.0%) ⚠️ over 70 %
Last Action: ran the tests
Elapsed: 1m 1s
Steps: built → ran the tests
• pull_request: PR 12 https://example.com/12\
""")


def test_what_a_task_does_not_have_is_left_out() -> None:
    assert telling.lines(opened()) == snapshot("""\
Task: Ship it
Progress: ░░░░░░░░░░ 0%
Context: 0 / 200,000 (0.0%)
Last Action: built
Elapsed: 0s\
""")


def test_a_completion_keeps_context_and_elapsed() -> None:
    task = then(opened(), tokens_used=171_000, after=3_000).task
    done = then(task, status=CheckpointStatus.complete, action="merged", result="all green", after=661).task
    assert telling.title(done) == "✅ Agent `ada` – COMPLETE"
    assert telling.lines(done) == snapshot("""\
Task: Ship it
Progress: ▓▓▓▓▓▓▓▓▓▓ 100%
Context: 171,000 / 200,000 (85.5%) 🔴 over 85 %
Last Action: merged
Elapsed: 1h 1m
Result: all green
Steps: built → built → merged\
""")


def test_a_stalled_task_says_so_in_its_title() -> None:
    assert telling.title(opened().evolve(state=TaskState.stalled)) == "💤 Agent `ada` – STALLED"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_599, "59m 59s"), (3_661, "1h 1m"), (90_000, "25h 0m"), (-5, "0s")],
)
def test_elapsed_is_said_in_two_units_at_most(seconds: float, said: str) -> None:
    assert telling.elapsed(seconds) == said


TERMS = SuperviseTerms(channel="ops")
TOLD = Posting(at=NOW, posts=1)


def asked(
    status: str = "working", *, after: float, force: bool = False, crossed: bool = False, terms: SuperviseTerms = TERMS
) -> Pace:
    return pace(CheckpointStatus(status), TOLD, terms, force=force, crossed=crossed, at=NOW + timedelta(seconds=after))


def test_a_task_is_told_of_at_most_every_30_seconds() -> None:
    assert asked(after=29.9) == Pace(When.later, NOW + timedelta(seconds=30))
    assert asked(after=30).when is When.now


@pytest.mark.parametrize("status", ["error", "blocked", "waiting_approval", "complete", "cancelled"])
def test_what_is_urgent_is_told_at_once(status: str) -> None:
    assert asked(status, after=0.1).when is When.now


def after(told: str, status: str, *, seconds: float = 0.1) -> When:
    posted = Posting(at=NOW, posts=2, status=CheckpointStatus(told))
    return pace(CheckpointStatus(status), posted, TERMS, force=False, crossed=False, at=NOW + timedelta(seconds=seconds)).when


@pytest.mark.parametrize("told", ["starting", "working", "blocked", "waiting_approval", "error"])
@pytest.mark.parametrize("status", ["complete", "cancelled"])
def test_an_end_is_told_at_once_whatever_was_told_before(told: str, status: str) -> None:
    assert after(told, status) is When.now


@pytest.mark.parametrize(("told", "status"), [("blocked", "blocked"), ("error", "error"), ("blocked", "waiting_approval")])
def test_trouble_that_goes_on_is_told_no_more_than_once_a_second(told: str, status: str) -> None:
    assert after(told, status, seconds=0.9) is When.later
    assert after(told, status, seconds=1) is When.now


def test_a_context_level_just_reached_is_told_within_a_second() -> None:
    assert asked(after=0.1, crossed=True) == Pace(When.later, NOW + timedelta(seconds=1))
    assert asked(after=1, crossed=True).when is When.now


TROUBLE = st.lists(st.tuples(st.sampled_from(list(CheckpointStatus)), st.booleans(), st.floats(0, 0.5)), max_size=60)


@given(TROUBLE)
def test_no_agent_floods_a_channel_whatever_it_reports(reports: list[tuple[CheckpointStatus, bool, float]]) -> None:
    """An end is followed by another one at most after a retry, which is told again; so two posts come from each second, at most,
    and one more for each end."""
    at, told, posts, ends = NOW, Posting(), 0, 0
    for status, force, gap in reports:
        at += timedelta(seconds=gap)
        if pace(status, told, TERMS, force=force, crossed=force, at=at).when is When.now:
            ends += status.is_final and told.status is not status
            told, posts = Posting(at=at, posts=posts + 1, status=status), posts + 1
    assert posts <= 2 * (at - NOW).total_seconds() + 2 + ends


def test_what_an_agent_writes_forges_no_line() -> None:
    task = then(opened(repo="a\nElapsed: 9s"), action="done\nProgress: 100%").task.evolve(name="x\nRepo: y")
    artifact = Artifact(kind=ArtifactKind.log, name="a\nError: b", at=NOW)
    begins = [line.split(":")[0] for line in telling.lines(task, (artifact,)).splitlines()]
    assert begins == ["Task", "Progress", "Repo", "Context", "Last Action", "Elapsed", "Steps", "• log"]


def test_force_is_told_at_once_but_no_more_than_once_a_second() -> None:
    assert asked(after=1, force=True).when is When.now
    assert asked(after=0.5, force=True) == Pace(When.later, NOW + timedelta(seconds=1))


def test_no_interval_is_no_throttle() -> None:
    assert asked(after=0, terms=SuperviseTerms(channel="ops", min_interval_seconds=0)).when is When.now


def test_without_a_channel_nobody_is_told() -> None:
    assert asked("error", after=100, terms=SuperviseTerms()).when is When.none


def test_a_clock_set_back_does_not_silence_a_task() -> None:
    assert asked(after=-3_600).when is When.now
