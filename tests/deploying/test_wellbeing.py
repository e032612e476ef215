"""What is said of a thing, and what explains its trouble: reviewed tables, and properties over any inventory."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.deploying.standing import Standing
from ops_mcp.deploying.wellbeing import Node, Released, explained_by, wellbeing
from ops_mcp.domain.inventory import HealthState, Thing
from ops_mcp.domain.releases import HealthVerdict

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=10)
H, D, U, Q = HealthState.healthy, HealthState.degraded, HealthState.unhealthy, HealthState.unknown


def thing(**terms: Any) -> Thing:
    return Thing.model_validate({"service": "cache", "environment": "staging", **terms})


def standing(state: HealthState, *, seconds_ago: float = 5, **more: Any) -> Standing:
    return Standing(state=state, since=EARLIER, checked_at=NOW - timedelta(seconds=seconds_ago), evidence="seen", **more)


def released(**terms: Any) -> Released:
    return Released(**{"deployment": "dep_1", "serving": True, "state": "healthy", "verdict": HealthVerdict.healthy} | terms)


@pytest.mark.parametrize(
    ("standings", "state"),
    [
        ({}, Q),  # nothing is configured: unknown, never healthy
        ({"a": standing(H)}, H),
        ({"a": standing(H), "b": standing(D)}, D),
        ({"a": standing(D), "b": standing(U)}, U),
        ({"a": standing(H), "b": Standing()}, Q),  # never asked
        ({"a": standing(H), "b": standing(H, seconds_ago=121)}, Q),  # too old to say anything
        ({"a": standing(U), "b": standing(H, seconds_ago=121)}, U),
        ({"a": standing(U, seconds_ago=121)}, Q),
        ({"a": standing(H, flapping=True, past="+-+-+-+")}, D),
    ],
)
def test_the_worst_that_its_probes_say_counts(standings: dict[str, Standing], state: HealthState) -> None:
    assert wellbeing(thing(), standings, None, NOW).state is state


@pytest.mark.parametrize(
    ("recorded", "running", "stopped"),
    [
        (released(verdict=HealthVerdict.failing), U, D),
        (released(proven_at=NOW), H, D),
        (released(proven_at=NOW - timedelta(seconds=121)), Q, D),
        (released(), Q, D),
        (released(verdict=HealthVerdict.unverified), Q, D),
        (released(serving=False, state="down", verdict=HealthVerdict.failing), U, H),
        (released(serving=False, state="unknown"), Q, H),
        (released(serving=False, state="releasing", final=False), Q, Q),
        (None, Q, H),
    ],
)
def test_a_deployment_says_what_the_table_of_the_module_says(
    recorded: Released | None, running: HealthState, stopped: HealthState
) -> None:
    assert wellbeing(thing(bound=True), {}, recorded, NOW).state is running
    assert wellbeing(thing(bound=True, expected="stopped"), {}, recorded, NOW).state is stopped


@pytest.mark.parametrize(("found", "told"), [(H, D), (D, D), (U, H), (Q, Q)])
def test_what_should_be_stopped_is_well_when_it_does_not_answer(found: HealthState, told: HealthState) -> None:
    assert wellbeing(thing(expected="stopped"), {"a": standing(found)}, None, NOW).state is told


def test_the_evidence_names_the_probes_that_speak_and_says_when_they_are_late() -> None:
    being = wellbeing(thing(), {"ping": standing(U, seconds_ago=61), "port": standing(H)}, None, NOW)
    assert being.evidence == "ping: seen (late: asked 61 s ago)"
    assert being.since == EARLIER


def test_a_release_that_no_longer_serves_is_not_judged_by_its_old_looks() -> None:
    gone = released(serving=False, state="down")
    assert wellbeing(thing(bound=True), {"release": standing(H)}, gone, NOW).state is U
    assert wellbeing(thing(bound=True, expected="stopped"), {"release": standing(H, seconds_ago=500)}, gone, NOW).state is H


def nodes(*rows: str) -> dict[str, Node]:
    """`name state minutes [depends,on]`, the minutes since its trouble began."""
    found: dict[str, Node] = {}
    for row in rows:
        name, sign, minutes, *depends = row.split()
        since = NOW - timedelta(minutes=int(minutes))
        found[name] = Node({"h": H, "d": D, "u": U, "?": Q}[sign], since, tuple(depends[0].split(",")) if depends else ())
    return found


@pytest.mark.parametrize(
    ("rows", "explains"),
    [
        (["web u 10"], ""),
        (["web u 10 db", "db h 10"], ""),
        (["web u 10 db", "db u 11"], "db"),
        (["web h 10 db", "db u 11"], ""),  # nothing to explain
        (["web u 10 api", "api u 11 db", "db u 12"], "db"),  # the root, not the next one
        (["web u 10 api", "api h 11 db", "db u 12"], "db"),  # also through one that seems well
        (["web u 10 db", "db d 11"], ""),  # slow does not explain down
        (["web d 10 db", "db d 11"], "db"),
        (["web d 10 db", "db u 11"], "db"),
        (["web u 60 db", "db u 11"], ""),  # it began long after the trouble
        (["web u 12 db", "db u 11"], "db"),  # probes are asked at different times
        (["web u 10 web"], ""),
        (["web u 10 a", "a u 10 b", "b u 10 a"], "a"),  # a circle explains with its nearest
        (["a u 10 b", "b u 10 a"], "b"),
        (["web u 10 gone"], ""),  # not in the inventory
        (["web u 10 a,b", "a h 10", "b u 10"], "b"),
    ],
)
def test_the_dependency_that_explains_is_what_the_table_says(rows: list[str], explains: str) -> None:
    assert explained_by(rows[0].split()[0], nodes(*rows)) == explains


NAMES = ["a", "b", "c", "d", "e"]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(st.sampled_from([H, D, U, Q]), st.integers(0, 30), st.lists(st.sampled_from(NAMES), max_size=4)),
        min_size=1,
    )
)
def test_an_explanation_is_a_troubled_dependency_and_never_the_thing_itself(drawn: dict[str, Any]) -> None:
    inventory = {n: Node(state, NOW - timedelta(minutes=m), tuple(deps)) for n, (state, m, deps) in drawn.items()}
    for name in inventory:
        why = explained_by(name, inventory)
        if why:
            assert why != name
            assert inventory[why].state in (U, D)
            assert why in reachable(name, inventory)


def reachable(name: str, inventory: dict[str, Node]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for each in inventory[waiting.pop()].depends_on:
            if each in inventory and each not in found:
                found.add(each)
                waiting.append(each)
    return found
