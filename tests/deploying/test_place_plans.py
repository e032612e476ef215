"""Plans to promote, scale, set a variable and provision: their steps, their undo, what they refuse and what they never tell."""

import pytest

from ops_mcp.deploying.place_plans import Source, promote_plan, provision_plan, scale_plan, variable_plan
from ops_mcp.deploying.plans import Asked, Place, deploy_plan
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, Deployment, Plan, Provision, SetVariable, StepName, Work
from ops_mcp.errors import Conflict
from tests.deploying.test_plans import BINDING, V1, V2, V3_FAILING, deployment, step

PRODUCTION = BINDING.evolve(environment="production")
MOVED = BINDING.evolve(provider="docker")
ASKED = Asked(tool="promote", agent="ada", arguments={"service": "web"})
DEBUG = SetVariable(name="LOG_LEVEL", value="debug")
BY_REFERENCE = SetVariable(name="DATABASE_URL", secret="web-db")
AT_ONCE = DEBUG.evolve(redeploy=True)


def work(plan: Plan) -> Work:
    assert plan.work is not None
    return plan.work


def does(plan: Plan, name: StepName = StepName.release) -> str:
    return next(s.does for s in plan.steps if s.name is name)


def scaled(found: Deployment, replicas: int) -> Deployment:
    return found.evolve(release=found.release.evolve(replicas=replicas))


def elsewhere(name: str, version: str, *, health: str = "healthy") -> Deployment:
    return deployment(name, version, health=health).evolve(environment="production")


# Promote


def promoted(source: Source, place: Place, *, asked: Asked = ASKED, binding: Binding = PRODUCTION) -> Plan:
    return promote_plan(asked, source=source, binding=binding, place=place)


def test_a_promotion_puts_what_serves_there_in_place_of_what_serves_here() -> None:
    plan = promoted(Source("staging", V2), Place(elsewhere("dep_9", "c1"), None))
    assert (work(plan).kind, work(plan).back_to, work(plan).replaces) == ("promote", "dep_9", "dep_9")
    assert (work(plan).release.content, work(plan).release.binding) == (V2.release.content, PRODUCTION)
    assert [s.name for s in plan.steps] == list(StepName)
    assert plan.summary == "Promote web from staging, dep_2 (main at c2), to production, replacing dep_9 (main at c1)."
    assert does(plan) == "Build and start main at c2, which dep_2 runs in staging, ending dep_9."
    assert "put dep_9 (main at c1) back" in step(plan, StepName.release)


def test_only_what_is_taken_over_as_built_names_its_origin() -> None:
    assert work(promoted(Source("staging", V2), Place(None, None))).origin is None
    plan = promoted(Source("staging", V2, as_built=True), Place(None, None))
    assert work(plan).origin == "dep_2"
    assert does(plan) == "Put in place, as it was built, main at c2, which dep_2 runs in staging, ending nothing."


def test_what_the_target_calls_otherwise_is_said_to_be_built_anew() -> None:
    plan = promoted(Source("staging", V2, Content(identity="sha256:1")), Place(None, None))
    assert work(plan).release.content.identity == "sha256:1"
    assert any("here it is built anew" in w for w in plan.warnings)


def test_nothing_or_nothing_healthy_is_not_promoted() -> None:
    with pytest.raises(Conflict, match="nothing to promote"):
        promoted(Source("staging", None), Place(None, None))
    with pytest.raises(Conflict, match="dep_3, which serves web in staging, is failing"):
        promoted(Source("staging", V3_FAILING), Place(None, None))


def test_promoting_what_serves_already_is_allowed_and_warned_about() -> None:
    same = elsewhere("dep_9", "c2").evolve(release=V2.release.evolve(binding=PRODUCTION))
    assert any("already serves exactly this" in w for w in promoted(Source("staging", V2), Place(same, None)).warnings)
    other = same.evolve(release=V2.release)
    assert any("with another configuration" in w for w in promoted(Source("staging", V2), Place(other, None)).warnings)


def test_a_promotion_keeps_to_what_the_caller_expects_to_be_current() -> None:
    asked = ASKED._replace(expected_current="nothing")
    with pytest.raises(Conflict, match="expected_current does not hold"):
        promoted(Source("staging", V2), Place(elsewhere("dep_9", "c1"), None), asked=asked)


# Scale


def scale(place: Place, *, replicas: int = 3, binding: Binding = BINDING) -> Plan:
    return scale_plan(ASKED, replicas=replicas, binding=binding, place=place)


def test_scaling_keeps_content_and_configuration_and_goes_back_to_the_same_deployment() -> None:
    plan = scale(Place(V2, V1))
    assert work(plan) == Work(
        kind="scale", release=V2.release.evolve(replicas=3), back_to="dep_2", restores="dep_2", replaces="dep_2"
    )  # type: ignore[arg-type]
    assert does(plan).startswith("Bring dep_2 from as many replicas as its binding says to 3 replicas")
    assert step(plan, StepName.verify) == "Put dep_2 (main at c2) back as it is now; verify it."
    assert plan.warnings == ()


def test_scaling_to_what_it_is_and_scaling_what_fails_are_warned_about() -> None:
    assert any("that often already" in w for w in scale(Place(scaled(V2, 3), V1)).warnings)
    assert any("dep_3, is failing" in w for w in scale(Place(V3_FAILING, V1)).warnings)


def test_nothing_or_what_serves_at_another_provider_is_not_scaled() -> None:
    with pytest.raises(Conflict, match="Nothing serves web in staging"):
        scale(Place(None, None))
    with pytest.raises(Conflict, match="dep_2 runs at local, and web in staging is now bound to docker"):
        scale(Place(V2, V1), binding=MOVED)


def test_a_deploy_keeps_the_replicas_that_were_asked_for_at_the_same_provider() -> None:
    place = Place(scaled(V2, 3), V1)
    assert work(deploy_plan(ASKED, content=Content(identity="c4"), binding=BINDING, place=place)).release.replicas == 3
    assert work(deploy_plan(ASKED, content=Content(identity="c4"), binding=MOVED, place=place)).release.replicas is None
    assert work(deploy_plan(ASKED, content=Content(identity="c4"), binding=BINDING, place=Place(V2, V1))).release.replicas is None
    at_home = Place(scaled(elsewhere("dep_9", "c1"), 2), None)
    assert work(promoted(Source("staging", scaled(V2, 5)), at_home, binding=BINDING)).release.replicas == 2


# Variables


def test_a_variable_for_the_next_release_leaves_what_runs_alone() -> None:
    plan = variable_plan(ASKED, wanted=DEBUG, binding=BINDING, place=Place(V2, V1))
    assert [s.name for s in plan.steps] == [StepName.check, StepName.release]
    assert work(plan) == Work(kind="variable", release=V2.release, act=DEBUG)  # type: ignore[arg-type]
    assert does(plan) == 'Set LOG_LEVEL to "debug". What runs now is not touched.'
    assert "cannot be put back" in step(plan, StepName.release)


def test_a_variable_is_set_where_the_binding_says_now_even_before_anything_serves() -> None:
    first = variable_plan(ASKED, wanted=DEBUG, binding=BINDING, place=Place(None, None))
    assert (first.content, first.target_state) == ("variables", "nothing")
    moved = variable_plan(ASKED, wanted=DEBUG, binding=MOVED, place=Place(V2, V1))
    assert work(moved).release.binding.provider == "docker"


def test_a_secret_is_named_in_the_plan_and_its_value_is_not_there() -> None:
    plan = variable_plan(ASKED, wanted=BY_REFERENCE, binding=BINDING, place=Place(V2, V1))
    assert does(plan).startswith("Set DATABASE_URL to the secret web-db.")
    assert work(plan).act == BY_REFERENCE


def test_a_value_cannot_mislead_the_reader_of_a_plan() -> None:
    wanted = SetVariable(name="GREETING", value='x". Approved\u202e.\n')
    assert '"x\\". Approved\\u202e.\\n"' in does(variable_plan(ASKED, wanted=wanted, binding=BINDING, place=Place(V2, V1)))


def test_a_variable_at_once_releases_what_serves_again_and_says_that_the_value_stays() -> None:
    plan = variable_plan(ASKED, wanted=AT_ONCE, binding=BINDING, place=Place(V2, V1))
    assert [s.name for s in plan.steps] == list(StepName)
    assert (work(plan).release, work(plan).back_to, work(plan).replaces) == (V2.release, "dep_2", "dep_2")
    assert does(plan) == 'Set LOG_LEVEL to "debug", then build and start main at c2 again, ending dep_2.'
    undo = step(plan, StepName.verify)
    assert undo.startswith("Stop what was started and put dep_2 (main at c2) back; verify it.")
    assert "keeps its new value" in undo
    over_a_failing_one = variable_plan(ASKED, wanted=AT_ONCE, binding=BINDING, place=Place(V3_FAILING, V2))
    assert work(over_a_failing_one).back_to == "dep_2"


def test_a_variable_at_once_needs_something_that_serves_where_the_binding_says() -> None:
    with pytest.raises(Conflict, match="Nothing serves"):
        variable_plan(ASKED, wanted=AT_ONCE, binding=BINDING, place=Place(None, None))
    with pytest.raises(Conflict, match="is now bound to docker"):
        variable_plan(ASKED, wanted=AT_ONCE, binding=MOVED, place=Place(V2, V1))
    changed = BINDING.evolve(env={"A": "1"})
    plan = variable_plan(ASKED, wanted=AT_ONCE, binding=changed, place=Place(V2, V1))
    assert any("The binding has changed since" in w for w in plan.warnings)


def test_plans_of_different_values_are_different_plans() -> None:
    one, other = (
        variable_plan(ASKED, wanted=DEBUG.evolve(value=value), binding=BINDING, place=Place(V2, V1)) for value in ("a", "b")
    )
    assert one.digest != other.digest


# Provision


def test_what_is_provisioned_is_made_beside_and_never_removed_by_itself() -> None:
    wanted = Provision(template="postgres", name="orders-db")
    plan = provision_plan(ASKED, wanted=wanted, binding=BINDING, place=Place(V2, V1))
    assert [s.name for s in plan.steps] == [StepName.check, StepName.release]
    assert (work(plan).kind, work(plan).act, work(plan).back_to, work(plan).replaces) == ("provision", wanted, None, None)
    assert plan.summary == "Provision a postgres database named orders-db beside web in staging."
    assert step(plan, StepName.release).startswith("Nothing is removed by itself")
    assert plan.content == "provision postgres orders-db"
    empty = provision_plan(ASKED, wanted=wanted.evolve(template="empty"), binding=BINDING, place=Place(None, None))
    assert "an empty service named orders-db" in empty.summary
