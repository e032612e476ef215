"""What a reviewer tried against the places toolset and the logs: exemptions, allowed refs, secrets under other names, oracles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from ops_mcp.domain.identity import Credential
from ops_mcp.domain.observations import Variable
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.domain.places import Binding, EnvironmentName
from ops_mcp.domain.releases import Content
from ops_mcp.errors import Code, NotFound, Problem
from ops_mcp.operator.verbs import FreezeChanges
from ops_mcp.store.database import Transaction
from ops_mcp.store.operations import Entry, append, operation_of_deployment
from ops_mcp.values import Json, JsonObject, Secret
from tests.house import START, House
from tests.tools.capable import CapablePlace, capable_house, furnish
from tests.tools.test_logs import line

pytestmark = pytest.mark.anyio

WEB: JsonObject = {"service": "web", "environment": "staging"}


def done(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done), outcome
    return outcome.result


def problem(outcome: Outcome) -> Problem:
    assert isinstance(outcome, Refused | Failed | NeedsApproval), outcome
    return outcome.problem


async def serve(home: House, agent: Credential, *refs: str, environment: str = "staging") -> list[str]:
    """Deploy these one after the other; the deployments' ids."""
    answers = [await home.call(agent, "deploy", service="web", environment=environment, ref=ref) for ref in refs]
    return [done(answer)["deployment"]["id"] for answer in answers]


ACTS: tuple[tuple[str, JsonObject], ...] = (
    ("variable_set", {**WEB, "name": "LOG_LEVEL", "value": "debug"}),
    ("provision", {**WEB, "template": "redis", "name": "cache"}),
)


async def under_way(home: House, agent: Credential, tool: str, arguments: JsonObject) -> None:
    """Commit an act that goes on and on; its caller does not wait."""
    home.finish.clear()
    with anyio.move_on_after(0.5):
        outcome = await home.call(agent, tool, **arguments)
        if isinstance(outcome, NeedsApproval):
            await home.answer(outcome.approval.id)
            await home.call(agent, tool, **arguments)


# Acts and the way back


@pytest.mark.parametrize(("tool", "arguments"), ACTS)
async def test_an_act_under_way_makes_no_rollback_of_a_healthy_release_exempt(
    tmp_path: Path, tool: str, arguments: JsonObject
) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        _, serving = await serve(home, agent, "main", "next")
        await under_way(home, agent, tool, arguments)
        assert await home.count("operations") == 3
        plan = done(await home.call(agent, "rollback", **WEB, dry_run=True))
        operation = await home.database.write(lambda tx: operation_of_deployment(tx, serving))
        assert operation is not None
        assert f"back from {serving}" in plan["plan"]["summary"]
        assert f"put {serving}" in next(s["undo"] for s in plan["plan"]["steps"] if s["name"] == "release")
        await home.order(FreezeChanges(environment=EnvironmentName("staging"), reason="holiday"))
        assert problem(await home.call(agent, "rollback", **WEB)).code is Code.frozen


# Promote


@dataclass
class Choosy(CapablePlace):
    """It deploys to a binding only what that allows."""

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        found = await super().resolve(binding, ref)
        allowed = binding.options.get("allowed_refs")
        if isinstance(allowed, list) and found.identity not in {self.refs.get(str(name)) for name in allowed}:
            raise NotFound("That commit may not be deployed here.", hint="Allowed: main.")
        return found


async def test_what_an_environment_may_not_be_given_by_deploy_it_is_not_given_by_promote_either(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        place = Choosy()
        strict = Binding.model_validate({**WEB, "provider": "memory", "options": {"source": "repo", "allowed_refs": ["main"]}})
        furnish(home, {"memory": place}, strict)
        agent = await home.agent()
        await serve(home, agent, "next", environment="sandbox")
        assert isinstance(await home.call(agent, "deploy", **WEB, ref="next"), Failed)
        found = problem(await home.call(agent, "promote", **WEB, from_environment="sandbox"))
        assert (found.code, "may not be deployed here" in found.message) == (Code.conflict, True)
        await serve(home, agent, "main", environment="sandbox")
        promoted = done(await home.call(agent, "promote", **WEB, from_environment="sandbox"))["deployment"]
        operation = await home.database.write(lambda tx: operation_of_deployment(tx, promoted["id"]))
        assert operation is not None
        assert operation.plan.work is not None
        assert operation.plan.work.origin is not None  # still taken over as it was built


# Variables


async def test_a_secret_is_set_only_as_the_variable_that_the_operator_gave_it_to(tmp_path: Path) -> None:
    """Under another name it may end where everybody reads it, such as in what a site's build shows to browsers."""
    async with capable_house(tmp_path) as (home, place):
        secrets = {"DATABASE_URL": "web-db", "CACHE_URL": "web-cache"}
        furnish(home, {"memory": place}, Binding.model_validate({**WEB, "provider": "memory", "secrets": secrets}))
        agent = await home.agent()
        for name in ("NEXT_PUBLIC_DATABASE_URL", "CACHE_URL"):
            found = problem(await home.call(agent, "variable_set", **WEB, name=name, secret_name="web-db"))
            assert (found.code, "only as DATABASE_URL" in found.message) == (Code.not_configured, True)
        assert await home.count("operations") == 0


@pytest.mark.parametrize("wrong", ["vaule", "secret", "Value"])
async def test_a_value_under_a_name_that_is_no_argument_is_not_recorded(tmp_path: Path, wrong: str) -> None:
    async with capable_house(tmp_path) as (home, _):
        said = {"name": "API", wrong: "opensesame"}
        found = problem(await home.call(await home.agent(), "variable_set", **WEB, **said))
        assert found.code is Code.invalid_arguments
        assert "opensesame" not in found.model_dump_json() + str(await home.records())


async def test_a_token_given_for_the_name_of_a_variable_is_neither_told_nor_recorded(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        name = "ghp_" + "a1B2" * 9
        found = problem(await home.call(await home.agent(), "variable_set", **WEB, name=name, value="x"))
        assert (found.code, found.details) == (Code.invalid_arguments, {"fields": ["name"]})
        assert name not in found.model_dump_json() + str(await home.records())


async def test_a_fingerprint_is_none_of_the_marks_that_a_caller_can_have_made_of_any_text(tmp_path: Path) -> None:
    """What an agent writes comes back to it redacted, with a mark of what was hidden: it must not try values out that way."""
    async with capable_house(tmp_path) as (home, place):
        place.kept.append(Variable(name="DB_PASSWORD", value=Secret("hunter2hunter2")))
        agent = await home.agent()
        await serve(home, agent, "main")
        await home.call(agent, "deploy", **WEB, ref="next", reason="password=hunter2hunter2")
        told = done(await home.call(agent, "deployments", service="web"))
        fingerprint = done(await home.call(agent, "variables", **WEB))["variables"][0]["fingerprint"]
        assert "[REDACTED:" in str(told)
        assert fingerprint not in str(told)


# Logs


async def test_what_is_hidden_in_a_line_cannot_be_found_by_searching_for_its_parts(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        agent = await home.agent()
        await serve(home, agent, "main")
        place.lines += [line("login with password=opensesame4711 done"), line("opened the door")]

        async def found(text: str, **more: Json) -> list[str]:
            answer = done(await home.call(agent, "logs_search", **WEB, text=text, **more))
            return [told["untrusted_text"] for told in answer["lines"]]

        assert await found("opensesame4711") == await found("opense") == await found("4711") == []
        assert len(await found("login with")) == 1
        assert await found("OPEN") == ["opened the door"]


# Answers


async def test_a_deployment_with_many_long_notes_is_still_told_with_the_newest_of_them(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, _):
        agent = await home.agent()
        [id] = await serve(home, agent, "main")

        def noted(tx: Transaction) -> None:
            operation = operation_of_deployment(tx, id)
            assert operation is not None
            for number in range(60):
                append(tx, operation, Entry("release", "note", f"{number} " + "界" * 196), at=START)

        await home.database.write(noted)
        steps = done(await home.call(agent, "deployment", id=id))["steps"]
        assert 5 < len(steps) < 40
        assert steps[-1]["detail"].startswith("59 ")


async def test_a_plan_s_digest_names_everything_that_an_approval_is_of(tmp_path: Path) -> None:
    async with capable_house(tmp_path) as (home, place):
        given = {**WEB, "provider": "memory", "options": {"source": "repo"}, "secrets": {"A": "web-a", "B": "web-b"}}
        furnish(home, {"memory": place}, Binding.model_validate(given))
        agent = await home.agent()
        await serve(home, agent, "main", environment="sandbox")
        await serve(home, agent, "main")

        async def digest(tool: str, **asked: Json) -> str:
            return done(await home.call(agent, tool, **{**WEB, **asked}, dry_run=True))["plan"]["digest"]

        found = [
            await digest("scale", replicas=2),
            await digest("scale", replicas=3),
            await digest("variable_set", name="A", value="1"),
            await digest("variable_set", name="A", value="2"),
            await digest("variable_set", name="C", value="1"),
            await digest("variable_set", name="A", value="1", redeploy=True),
            await digest("variable_set", name="A", secret_name="web-a"),
            await digest("variable_set", name="B", secret_name="web-b"),
            await digest("provision", template="redis", name="cache"),
            await digest("provision", template="mysql", name="cache"),
            await digest("provision", template="redis", name="cache2"),
            await digest("promote", from_environment="sandbox"),
        ]
        assert len(set(found)) == len(found)
        await serve(home, agent, "main", environment="sandbox")  # the same content, built once more
        assert await digest("promote", from_environment="sandbox") not in found
        assert await digest("scale", replicas=2) == found[0]
