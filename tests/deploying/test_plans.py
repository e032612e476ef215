"""Plans: the exact steps with their undo, what they refuse, and when a rollback counts as recovery."""

from datetime import UTC, datetime

import pytest

from ops_mcp.deploying.plans import Asked, Place, cancel_plan, committed, deploy_plan, restart_plan, rollback_plan
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import (
    Content,
    Deployment,
    DeploymentId,
    DeploymentKind,
    DeploymentState,
    HealthVerdict,
    OperationId,
    Plan,
    Release,
    StepName,
)
from ops_mcp.errors import Conflict, NotFound

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
BINDING = Binding.model_validate({"service": "web", "environment": "staging", "provider": "local"})
ASKED = Asked(tool="deploy", agent="ada", arguments={"service": "web"})


def deployment(name: str, version: str, *, health: str = "healthy", state: str = "healthy", used: bool = False) -> Deployment:
    return Deployment(
        id=DeploymentId(name),
        operation=OperationId(f"op_{name}"),
        kind=DeploymentKind.deploy,
        service=BINDING.service,  # type: ignore[arg-type]
        environment=BINDING.environment,  # type: ignore[arg-type]
        agent="ada",
        release=Release(content=Content(identity=version, ref="main"), binding=BINDING),
        health=HealthVerdict(health),
        state=DeploymentState(state),
        created_at=AT,
        verified_at=AT if health == "healthy" else None,
        recovery_used=used,
    )


V1, V2 = deployment("dep_1", "c1"), deployment("dep_2", "c2")
V3_FAILING = deployment("dep_3", "c3", health="failing")


def step(plan: Plan, name: StepName) -> str:
    return next(s.undo for s in plan.steps if s.name is name)


def test_a_deploy_plan_names_every_step_and_the_way_back_to_the_last_healthy_release() -> None:
    plan = deploy_plan(ASKED, content=Content(identity="c2"), binding=BINDING, place=Place(V1, None))
    assert [s.name for s in plan.steps] == list(StepName)
    assert plan.work is not None
    assert (plan.work.back_to, plan.work.replaces) == ("dep_1", "dep_1")
    assert "dep_1" in step(plan, StepName.release)
    assert plan.target_state == f"dep_1 {V1.release.digest}"


def test_a_first_deploy_says_that_its_undo_is_stop() -> None:
    plan = deploy_plan(ASKED, content=Content(identity="c1"), binding=BINDING, place=Place(None, None))
    assert plan.work is not None
    assert plan.work.back_to is None
    assert step(plan, StepName.verify) == "Stop what was started; the service is then down."
    assert plan.target_state == "nothing"
    assert any("no healthy release" in w for w in plan.warnings)


def test_deploying_what_already_serves_is_allowed_and_warned_about() -> None:
    plan = deploy_plan(ASKED, content=Content(identity="c1"), binding=BINDING, place=Place(V1, None))
    assert any("already serves exactly this" in w for w in plan.warnings)


def test_over_a_failing_release_the_way_back_is_the_last_healthy_one() -> None:
    plan = deploy_plan(ASKED, content=Content(identity="c4"), binding=BINDING, place=Place(V3_FAILING, V2))
    assert plan.work is not None
    assert (plan.work.back_to, plan.work.replaces) == ("dep_2", "dep_3")


@pytest.mark.parametrize("expected", ["dep_1", "c1", V1.release.digest])
def test_expected_current_may_be_the_deployment_its_content_or_its_release(expected: str) -> None:
    deploy_plan(ASKED._replace(expected_current=expected), content=Content(identity="c2"), binding=BINDING, place=Place(V1, None))


def test_another_expected_current_is_a_conflict_that_names_the_actual_one() -> None:
    with pytest.raises(Conflict) as refusal:
        deploy_plan(
            ASKED._replace(expected_current="dep_0"), content=Content(identity="c2"), binding=BINDING, place=Place(V1, None)
        )
    assert refusal.value.details["actual"] == "dep_1"
    with pytest.raises(Conflict):
        deploy_plan(
            ASKED._replace(expected_current="nothing"), content=Content(identity="c2"), binding=BINDING, place=Place(V1, None)
        )


def test_a_rollback_with_nothing_to_go_back_to_is_refused() -> None:
    with pytest.raises(Conflict, match="no earlier healthy release"):
        rollback_plan(ASKED, binding=BINDING, place=Place(V1, None))


def test_a_rollback_of_a_failing_release_is_a_recovery_once() -> None:
    assert rollback_plan(ASKED, binding=BINDING, place=Place(V3_FAILING, V2)).recovery
    used = V3_FAILING.model_copy(update={"recovery_used": True})
    assert not rollback_plan(ASKED, binding=BINDING, place=Place(used, V2)).recovery


def test_other_rollbacks_are_ordinary_changes() -> None:
    assert not rollback_plan(ASKED, binding=BINDING, place=Place(V2, V1)).recovery  # the current one is healthy
    assert not rollback_plan(ASKED, binding=BINDING, place=Place(V3_FAILING, V2), to=V1).recovery  # not the last healthy one


def test_a_rollback_during_a_deploy_rolls_that_deploy_back() -> None:
    running = deployment("dep_3", "c3", health="unverified", state="verifying")
    plan = rollback_plan(ASKED, binding=BINDING, place=Place(V2, V2, running))
    assert plan.work is not None
    assert (plan.work.replaces, plan.work.restores, plan.recovery) == ("dep_3", "dep_2", True)


def test_a_rollback_to_a_release_that_never_proved_healthy_or_lives_elsewhere_is_refused() -> None:
    with pytest.raises(Conflict, match="has not proved healthy"):
        rollback_plan(ASKED, binding=BINDING, place=Place(V2, V1), to=V3_FAILING)
    elsewhere = V1.model_copy(update={"environment": "production"})
    with pytest.raises(Conflict, match="is no deployment of"):
        rollback_plan(ASKED, binding=BINDING, place=Place(V2, V1), to=elsewhere)


def test_a_restart_starts_what_serves_and_needs_something_that_does() -> None:
    plan = restart_plan(ASKED, place=Place(V2, V1), binding=BINDING)
    assert plan.work is not None
    assert (plan.work.release, plan.work.back_to) == (V2.release, "dep_1")
    with pytest.raises(Conflict, match="nothing to restart"):
        restart_plan(ASKED, place=Place(None, None), binding=BINDING)


def test_cancelling_what_has_ended_is_refused() -> None:
    running = deployment("dep_3", "c3", health="unverified", state="watching")
    assert cancel_plan(ASKED, deployment=running).writes[0].deployment == "dep_3"
    with pytest.raises(Conflict, match="has ended"):
        cancel_plan(ASKED, deployment=V1)


def test_a_plan_with_work_becomes_an_operation_and_a_deployment() -> None:
    plan = deploy_plan(ASKED, content=Content(identity="c2"), binding=BINDING, place=Place(V1, None))
    operation, row = committed(
        plan, operation=OperationId("op_9"), deployment=DeploymentId("dep_9"), call="call_9", reason="why", at=AT
    )
    assert (operation.deployment, row.operation, row.previous, row.state) == ("dep_9", "op_9", "dep_1", DeploymentState.queued)
    with pytest.raises(NotFound):
        committed(
            cancel_plan(ASKED, deployment=deployment("dep_3", "c3", state="watching")),
            operation=OperationId("o"),
            deployment=DeploymentId("d"),
            call="c",
            reason="",
            at=AT,
        )
