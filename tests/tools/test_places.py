"""The places toolset through the one path: plans, refusals, approval, and what a place cannot do."""

from pathlib import Path
from typing import Any

import pytest

from ops_mcp.domain.identity import Credential, Level
from ops_mcp.domain.observations import Variable
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentState
from ops_mcp.errors import Code, Problem
from ops_mcp.secrets import Secrets
from ops_mcp.store.operations import operation_of_deployment
from ops_mcp.values import Json, JsonObject, Secret
from tests.house import NOBODY, House, house
from tests.tools.capable import CapablePlace, capable_house, furnish

pytestmark = pytest.mark.anyio

WEB: JsonObject = {"service": "web", "environment": "staging"}
OPAQUE = "xQ3vB8kLm2Np7Rt5Ws9Yz"
SET: JsonObject = {**WEB, "name": "LOG_LEVEL", "value": "debug"}
EVERY_TOOL: tuple[tuple[str, JsonObject], ...] = (
    ("promote", {**WEB, "from_environment": "sandbox"}),
    ("scale", {**WEB, "replicas": 3}),
    ("variables", WEB),
    ("variable_set", SET),
    ("provision", {**WEB, "template": "postgres", "name": "orders-db"}),
)


def done(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done), outcome
    return outcome.result


def problem(outcome: Outcome) -> Problem:
    assert isinstance(outcome, Refused | Failed | NeedsApproval), outcome
    return outcome.problem


async def serve(home: House, agent: Credential, *environments: str, ref: str = "main") -> list[str]:
    """Deploy `web` there; the deployments' ids."""
    found = [done(await home.call(agent, "deploy", service="web", environment=e, ref=ref)) for e in environments]
    return [deployment["deployment"]["id"] for deployment in found]


async def planned(home: House, agent: Credential, tool: str, arguments: JsonObject) -> dict[str, Any]:
    """The plan of a dry run."""
    return done(await home.call(agent, tool, **arguments, dry_run=True))["plan"]


def web(environment: str, **more: Any) -> Binding:
    return Binding.model_validate({"service": "web", "environment": environment, "provider": "memory", **more})


@pytest.mark.parametrize(("tool", "arguments"), [case for case in EVERY_TOOL if case[0] != "promote"])
async def test_what_the_place_cannot_do_is_unsupported_with_a_way_out_and_nothing_begins(
    tmp_path: Path, tool: str, arguments: JsonObject
) -> None:
    async with house(tmp_path, toolsets=["core", "places"]) as home:
        agent = await home.agent()
        await serve(home, agent, "staging")
        for dry_run in (False, True):
            found = problem(await home.call(agent, tool, **arguments, **({} if tool == "variables" else {"dry_run": dry_run})))
            assert (found.code, bool(found.hint)) == (Code.unsupported, True)
            assert "memory" in found.message
        assert await home.count("operations") == 1


@pytest.mark.parametrize(("tool", "arguments"), EVERY_TOOL)
async def test_a_service_that_is_not_bound_there_is_not_found(tmp_path: Path, tool: str, arguments: JsonObject) -> None:
    async with capable_house(tmp_path) as (home, _):
        found = problem(await home.call(await home.agent(), tool, **{**arguments, "service": "moon"}))
        assert (found.code, "docs, hello, web" in found.hint) == (Code.not_found, True)


@pytest.mark.parametrize(("tool", "arguments"), [case for case in EVERY_TOOL if case[0] != "variables"])
async def test_a_dry_run_tells_the_steps_and_begins_nothing(tmp_path: Path, tool: str, arguments: JsonObject) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        await serve(home, agent, "sandbox", "staging")
        plan = await planned(home, agent, tool, arguments)
        names = [step["name"] for step in plan["steps"]]
        assert names[0] == "check"
        assert "release" in names
        assert all(step["undo"] for step in plan["steps"])
        assert await home.count("operations") == 2


# Promote


async def test_a_promotion_deploys_what_serves_elsewhere_and_keeps_where_it_comes_from(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        [origin] = await serve(home, agent, "sandbox", ref="next")
        place.asked.clear()
        found = done(await home.call(agent, "promote", **WEB, from_environment="sandbox"))["deployment"]
        assert (found["kind"], found["content"], found["environment"], found["state"]) == (
            "promote", "b" * 40, "staging", "healthy",
        )  # fmt: skip
        operation = await home.database.write(lambda tx: operation_of_deployment(tx, found["id"]))
        assert operation is not None
        assert operation.plan.work is not None
        assert operation.plan.work.origin == origin
        assert place.asked == []  # taken over as it was built: nothing is resolved anew


async def test_between_different_places_the_content_is_found_again_by_its_identity(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        other = CapablePlace(kind="other", refs={"release": "b" * 40})
        furnish(home, {"memory": place, "other": other}, web("staging", provider="other"))
        agent = await home.agent()
        await serve(home, agent, "sandbox", ref="next")
        plan = await planned(home, agent, "promote", {**WEB, "from_environment": "sandbox"})
        assert (plan["content"], other.asked) == ("b" * 40, [f"resolve {'b' * 40}"])
        assert "Build and start next at" in next(s["does"] for s in plan["steps"] if s["name"] == "release")
        await serve(home, agent, "sandbox", ref="main")
        found = problem(await home.call(agent, "promote", **WEB, from_environment="sandbox"))
        assert (found.code, "`deploy` to staging" in found.hint) == (Code.conflict, True)


async def test_nothing_comes_out_of_an_environment_that_the_caller_may_not_see(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        for name in ("production", "moon"):
            found = problem(await home.call(agent, "promote", **WEB, from_environment=name))
            assert (found.code, found.hint) == (Code.not_found, "Environments you may see: sandbox, staging.")
        same = problem(await home.call(agent, "promote", **WEB, from_environment="staging"))
        assert same.code is Code.invalid_arguments


async def test_what_is_not_healthy_is_not_promoted(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        found = problem(await home.call(agent, "promote", **WEB, from_environment="sandbox"))
        assert (found.code, "nothing to promote" in found.message) == (Code.conflict, True)


# Scale


async def test_scaling_is_a_deployment_of_its_own_and_later_deploys_keep_the_number(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        [serving] = await serve(home, agent, "staging")
        found = done(await home.call(agent, "scale", **WEB, replicas=3, expected_current=serving))["deployment"]
        assert (found["kind"], found["replicas"], found["previous"]) == ("scale", 3, serving)
        later = done(await home.call(agent, "deploy", **WEB, ref="next"))["deployment"]
        assert later["replicas"] == 3
        stale = problem(await home.call(agent, "scale", **WEB, replicas=2, expected_current=serving))
        assert stale.code is Code.conflict


@pytest.mark.parametrize("replicas", [0, 101, -1, 2.5, "3"])
async def test_replicas_are_a_whole_number_from_1_to_100(tmp_path: Path, replicas: Json) -> None:
    async with capable_house(tmp_path) as (home, _):
        found = problem(await home.call(await home.agent(), "scale", **WEB, replicas=replicas))
        assert found.details == {"fields": ["replicas"]}


# Variables


async def test_variables_are_told_by_name_and_fingerprint_and_never_by_value(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        place.kept += [
            Variable(name="B", value=Secret("one and the same")),
            Variable(name="A", value=Secret("one and the same"), note="production, preview"),
            Variable(name="C", value=Secret("another")),
            Variable(name="D", note="sensitive: \x1b[31mnot told\x1b[0m"),
        ]
        answer = await home.call(await home.agent(), "variables", **WEB)
        found = {v["name"]: v for v in done(answer)["variables"]}
        assert list(found) == ["A", "B", "C", "D"]
        assert found["A"]["fingerprint"] == found["B"]["fingerprint"] != found["C"]["fingerprint"]
        assert found["D"] == {"name": "D", "note": "sensitive: not told"}
        assert isinstance(answer, Done)
        assert "the same" not in answer.text


async def test_more_variables_than_fit_are_cut_and_said_to_be(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        place.kept += [Variable(name=f"V{number:04}" + "X" * 120, value=Secret("x"), note="y" * 200) for number in range(250)]
        found = done(await home.call(await home.agent(), "variables", **WEB))
        assert (0 < len(found["variables"]) < 200, found["cut"]) == (True, True)
        place.kept[:] = [Variable(name=f"V{number:04}", value=Secret("x")) for number in range(201)]
        found = done(await home.call(await home.agent("bob"), "variables", **WEB))
        assert (len(found["variables"]), found["cut"]) == (200, True)
        place.kept.pop()
        assert not done(await home.call(await home.agent("eve"), "variables", **WEB))["cut"]


async def test_a_plain_value_is_set_and_nothing_is_released(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        home.finish[:] = [DeploymentState.applied]
        agent = await home.agent()
        plan = await planned(home, agent, "variable_set", SET)
        assert [s["name"] for s in plan["steps"]] == ["check", "release"]
        found = done(await home.call(agent, "variable_set", **SET))["deployment"]
        assert (found["kind"], found["state"], found["final"]) == ("variable", "applied", True)


async def test_a_secret_is_set_by_the_name_of_one_that_the_operator_gave_the_service(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        furnish(home, {"memory": place}, web("staging", secrets={"DATABASE_URL": "web-db"}))
        agent = await home.agent()
        asked: JsonObject = {**WEB, "name": "DATABASE_URL", "secret_name": "web-db"}
        plan = await planned(home, agent, "variable_set", asked)
        assert "to the secret web-db" in next(s["does"] for s in plan["steps"] if s["name"] == "release")
        for name in ("vercel-token", "web-db-of-production"):
            found = problem(await home.call(agent, "variable_set", **{**asked, "secret_name": name}))
            assert found.code is Code.not_configured
            assert "Its secrets are web-db." in found.hint
            assert name not in found.model_dump_json()


async def test_the_name_of_a_secret_survives_in_the_plan_that_an_operator_has_run(tmp_path: Path) -> None:
    """The worker runs an approved plan from its stored arguments."""
    async with capable_house(tmp_path) as (home, place):
        furnish(home, {"memory": place}, web("production", secrets={"DATABASE_URL": "web-db"}))
        agent = await home.agent(ceiling=Level.prod, score=200)
        asked: JsonObject = {"service": "web", "environment": "production", "name": "DATABASE_URL", "secret_name": "web-db"}
        outcome = await home.call(agent, "variable_set", **asked)
        assert isinstance(outcome, NeedsApproval)
        assert outcome.plan.arguments == {**asked, "redeploy": False}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API", OPAQUE),
        ("API", "ghp_" + "a1B2" * 9),  # of a known form
        ("API", "postgres://orders:hunter2@db/orders"),  # a password in an address
        ("API", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),  # some places' tokens are UUIDs
        ("DB_PASSWORD", "hunter2"),  # secret by its name
        ("API", "debug " * 40),  # longer than anything plain
    ],
)
async def test_a_value_that_looks_like_a_secret_is_refused_and_neither_told_nor_recorded(
    tmp_path: Path, name: str, value: str
) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        for dry_run in (True, False):
            outcome = await home.call(agent, "variable_set", **WEB, name=name, value=value, dry_run=dry_run)
            found = problem(outcome)
            assert (found.code, found.details) == (Code.invalid_arguments, {"fields": ["value"]})
            assert "ops-mcp secret set NAME" in found.hint
            assert value not in found.model_dump_json()
        assert value not in str(await home.records())
        assert await home.count("operations") == 0


async def test_a_stored_secret_is_refused_as_a_value_however_plain_it_looks(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        Secrets(home.config.config_dir).put("phrase", Secret("correct horse battery"))
        found = problem(await home.call(agent, "variable_set", **WEB, name="GREETING", value="correct horse battery"))
        assert found.details == {"fields": ["value"]}
        assert "horse" not in found.model_dump_json() + str(await home.records())


async def test_a_secret_given_for_the_name_of_one_is_neither_told_nor_recorded(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        found = problem(await home.call(await home.agent(), "variable_set", **WEB, name="API", secret_name=OPAQUE))
        assert found.details == {"fields": ["secret_name"]}
        assert OPAQUE not in found.model_dump_json() + str(await home.records())


async def test_a_value_beside_an_argument_that_is_refused_is_not_recorded(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        found = problem(await home.call(await home.agent(), "variable_set", **WEB, name="not a name", value=OPAQUE))
        assert found.details == {"fields": ["name"]}
        assert OPAQUE not in found.model_dump_json() + str(await home.records())


@pytest.mark.parametrize("said", [{}, {"value": "x", "secret_name": "web-db"}])
async def test_a_variable_takes_either_a_value_or_a_secret(tmp_path: Path, said: JsonObject) -> None:
    async with capable_house(tmp_path) as (home, _):
        found = problem(await home.call(await home.agent(), "variable_set", **WEB, name="API", **said))
        assert found.details == {"fields": ["value", "secret_name"]}


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A" * 129])
async def test_a_variable_has_a_name_that_a_shell_could_use(tmp_path: Path, name: str) -> None:
    async with capable_house(tmp_path) as (home, _):
        found = problem(await home.call(await home.agent(), "variable_set", **WEB, name=name, value="x"))
        assert found.details == {"fields": ["name"]}


async def test_a_variable_at_once_releases_what_serves_again(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        nothing = problem(await home.call(agent, "variable_set", **SET, redeploy=True))
        assert (nothing.code, "redeploy" in nothing.hint) == (Code.conflict, True)
        [serving] = await serve(home, agent, "staging")
        found = done(await home.call(agent, "variable_set", **SET, redeploy=True))["deployment"]
        assert (found["kind"], found["content"], found["previous"], found["serving"]) == ("variable", "a" * 40, serving, True)


# Provision


async def test_provisioning_asks_a_person_everywhere_but_in_the_sandbox(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        home.finish[:] = [DeploymentState.applied]
        agent = await home.agent()
        asked: JsonObject = {"service": "web", "template": "redis", "name": "cache"}
        found = done(await home.call(agent, "provision", **asked, environment="sandbox"))["deployment"]
        assert (found["kind"], found["state"], found["content"]) == ("provision", "applied", "provision redis cache")
        waiting = await home.call(agent, "provision", **asked, environment="staging")
        assert isinstance(waiting, NeedsApproval)
        await home.answer(waiting.approval.id)
        assert done(await home.call(agent, "provision", **asked, environment="staging"))["deployment"]["state"] == "applied"
        home.advance(minutes=1)
        again = await home.call(agent, "provision", **asked, environment="staging")
        assert isinstance(again, NeedsApproval)  # a grant is used once


async def test_a_caller_without_a_token_reaches_none_of_it_outside_the_sample(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        for tool, arguments in EVERY_TOOL:
            for environment in ("sandbox", "staging"):
                if (tool, environment) != ("variables", "sandbox"):
                    outcome = await home.call(NOBODY, tool, **{**arguments, "environment": environment})
                    assert problem(outcome).code is Code.not_permitted, (tool, environment)
