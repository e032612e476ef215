"""The state machine: what may follow what, and that ends are ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.deploying.states import FINAL, TRANSITIONS, Event, advance, is_final
from ops_mcp.domain.releases import DeploymentState as S
from ops_mcp.errors import Conflict

LIVES = [
    ([Event.begun, Event.released, Event.verified, Event.watched], S.healthy),
    ([Event.begun, Event.released, Event.verified, Event.newer_release], S.superseded),
    ([Event.begun, Event.released, Event.undo_begun, Event.restored], S.rolled_back),
    ([Event.begun, Event.released, Event.verified, Event.undo_begun, Event.restored], S.rolled_back),
    ([Event.begun, Event.undo_begun, Event.stopped], S.down),
    ([Event.begun, Event.undo_begun, Event.undo_failed], S.failed),
    ([Event.begun, Event.undo_begun, Event.undone_on_request], S.cancelled),
    ([Event.withdrawn], S.cancelled),
    ([Event.begun, Event.lost_sight], S.unknown),
]


@pytest.mark.parametrize(("events", "end"), LIVES)
def test_every_life_of_a_deployment_ends_where_the_design_says(events: list[Event], end: S) -> None:
    state = S.queued
    for event in events:
        assert not is_final(state)
        state = advance(state, event)
    assert state is end
    assert is_final(end)


@given(st.sampled_from(sorted(FINAL)), st.sampled_from(list(Event)))
def test_nothing_happens_after_a_final_state(state: S, event: Event) -> None:
    with pytest.raises(Conflict, match="cannot become"):
        advance(state, event)


@given(st.lists(st.sampled_from(list(Event)), max_size=30))
def test_a_deployment_is_never_healthy_without_having_been_verified(events: list[Event]) -> None:
    state, happened = S.queued, set[Event]()
    for event in events:
        try:
            state = advance(state, event)
            happened.add(event)
        except Conflict:
            continue
    if state in (S.healthy, S.superseded, S.watching):
        assert Event.verified in happened


def test_an_impossible_event_names_the_possible_ones() -> None:
    with pytest.raises(Conflict) as refusal:
        advance(S.queued, Event.watched)
    assert "begun" in refusal.value.hint


def test_every_open_state_can_be_lost_from_sight() -> None:
    assert {s for s, e in TRANSITIONS if e is Event.lost_sight} == set(S) - FINAL
