"""Whose token opens what: a token of staging cannot be made to name production, and nothing is asked before that is sure."""

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Presence, Provision, SetVariable
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, OpsError
from ops_mcp.ports import Closes, Logs, Promotes, Provider, Provisions, Restarts, Scales, Variables
from ops_mcp.providers import load
from ops_mcp.values import Secret
from sandbox.railway import houses
from tests.providers.railway.house import V1, House, bound, configured, house

pytestmark = pytest.mark.anyio

WAYS: dict[str, Callable[[House, Binding], Awaitable[Any]]] = {
    "resolve": lambda here, b: here.provider.resolve(b, V1),
    "deploy": lambda here, b: here.provider.deploy(here.placement(1, V1, binding=b), replaces=None, tell=here.told),
    "rollback": lambda here, b: here.provider.rollback(
        here.placement(2, V1, binding=b), restores=here.placement(1, V1, binding=b, handle="x"), ends=None, tell=here.told
    ),
    "restart": lambda here, b: here.provider.restart(here.placement(1, V1, binding=b, handle="x")),
    "stop": lambda here, b: here.provider.stop(here.placement(1, V1, binding=b, handle="x")),
    "status": lambda here, b: here.provider.status(here.placement(1, V1, binding=b, handle="x")),
    "logs": lambda here, b: here.provider.logs(here.placement(1, V1, binding=b, handle="x"), LogQuery()),
    "variables": lambda here, b: here.provider.variables(b),
    "set_variable": lambda here, b: here.provider.set_variable(b, SetVariable(name="A", value="b")),
    "provision": lambda here, b: here.provider.provision(b, Provision(template="redis", name="r"), tell=here.told),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("option", "value"),
    [("environment_id", houses.PRODUCTION), ("environment_id", houses.FOREIGN), ("project", houses.OTHER_PROJECT)],
)
async def test_a_staging_token_cannot_name_production(tmp_path: Path, way: str, option: str, value: str) -> None:
    here = house(tmp_path)
    with pytest.raises(NotConfigured, match=f"options.{option} is not what the token of staging opens"):
        await WAYS[way](here, bound(**{option: value}))
    assert {name for _, name in here.railway.budget.asked} == {"TokenScope"}
    assert not here.deeds


async def test_what_a_token_opens_is_asked_once(tmp_path: Path) -> None:
    here = house(tmp_path)
    for _ in range(3):
        await here.provider.resolve(bound(), V1)
    assert here.railway.budget.count("TokenScope") == 1


async def test_each_environment_is_opened_by_its_own_token(tmp_path: Path) -> None:
    here = house(tmp_path)
    await here.provider.variables(bound("staging"))
    await here.provider.variables(bound("production"))
    assert set(here.railway.tokens_seen) == {houses.STAGING_TOKEN, houses.PRODUCTION_TOKEN}
    with pytest.raises(NotConfigured, match="no token for sandbox"):
        await here.provider.variables(bound("sandbox"))


async def test_a_workspace_token_is_never_used_for_the_sandbox(tmp_path: Path) -> None:
    here = house(tmp_path, token_kind="workspace", tokens={"sandbox": "rw-workspace", "staging": "rw-workspace"})
    with pytest.raises(NotConfigured, match="not used for the sandbox"):
        await here.provider.variables(bound("sandbox"))
    with pytest.raises(NotConfigured, match="not used for the sandbox"):
        await here.provider.variables(bound("unheard-of"))
    assert here.railway.budget.count() == 0
    await here.provider.variables(bound("staging"))


async def test_a_workspace_token_goes_as_a_bearer_and_a_project_token_in_its_own_header(tmp_path: Path) -> None:
    here = house(tmp_path, token_kind={"staging": "workspace"}, tokens={"staging": "rw-workspace", "production": "rw-production"})
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    assert found.presence is Presence.running
    await here.provider.variables(bound("production"))
    wrong = house(tmp_path, token_kind="workspace")
    with pytest.raises(NotConfigured, match="does not show this project"):
        await wrong.provider.variables(bound())
    wrong = house(tmp_path, tokens={"staging": "rw-workspace"})
    with pytest.raises(NotConfigured, match="does not take the token"):
        await wrong.provider.variables(bound())


async def test_a_workspace_token_opens_only_environments_of_the_bound_project_in_the_configured_workspace(tmp_path: Path) -> None:
    table: dict[str, Any] = {"token_kind": "workspace", "tokens": {"staging": "rw-workspace"}}
    here = house(tmp_path, **table, workspace="ws-1")
    with pytest.raises(NotConfigured, match="environment_id"):
        await here.provider.variables(bound(environment_id=houses.FOREIGN))
    with pytest.raises(NotConfigured, match="does not show this project"):
        await here.provider.variables(bound(project=houses.OTHER_PROJECT, environment_id=houses.FOREIGN))
    elsewhere = house(tmp_path, **table, workspace="ws-9")
    with pytest.raises(NotConfigured, match="does not belong to the workspace"):
        await elsewhere.provider.variables(bound())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"project": ""}, "options.project"),
        ({"project": "a/../b"}, "options.project"),
        ({"surprise": 1}, "options.surprise"),
        ({"domain": "https://x.example"}, "options.domain"),
        ({"repository": "http://x.example/r.git"}, "options.repository"),
        ({"repository": "https://me:pw@x.example/r.git"}, "options.repository"),
        ({"repository": "ssh://-oProxyCommand=x/r.git"}, "options.repository"),
        ({"hourly_requests": 0}, "options.hourly_requests"),
        ({"deploy_minutes": 0}, "options.deploy_minutes"),
    ],
)
async def test_an_option_that_cannot_be_used_is_named_and_its_value_is_not(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    here = house(tmp_path)
    with pytest.raises(NotConfigured) as caught:
        await here.provider.status(here.placement(1, V1, binding=bound(**options)))
    assert says in caught.value.message
    assert "environment_id" in caught.value.hint
    assert not any(isinstance(v, str) and len(v) > 3 and v in str(caught.value.problem) for v in options.values())
    assert here.railway.budget.count() == 0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"api": "https://evil.example/graphql/v2"}, "no address for its tokens"),
        ({"api": "http://backboard.railway.com/graphql/v2"}, "no address for its tokens"),
        ({"token_kind": "admin"}, "token_kind"),
        ({"hourly_requests": 1}, "hourly_requests"),
        ({"surprise": True}, "surprise"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_when_the_provider_is_made(
    tmp_path: Path, table: dict[str, Any], says: str
) -> None:
    with pytest.raises(NotConfigured, match=says):
        house(tmp_path, **table)


async def test_without_a_repository_only_full_commit_ids_are_taken(tmp_path: Path) -> None:
    here = house(tmp_path)
    assert (await here.provider.resolve(bound(), V1)).identity == V1
    for ref in (None, "main", "abc1234", V1.upper().replace("1", "A")):
        with pytest.raises(InvalidArguments, match="full commit id"):
            await here.provider.resolve(bound(), ref)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
async def test_with_a_repository_branches_tags_and_commits_are_looked_up_in_our_own_mirror(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()

    def git(*arguments: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
        ran = subprocess.run(["git", *settings, *arguments], cwd=source, check=True, capture_output=True, text=True)
        return ran.stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "first of all")
    git("tag", "v1")
    first = git("rev-parse", "HEAD")
    git("commit", "--quiet", "--allow-empty", "-m", "second")
    second = git("rev-parse", "HEAD")
    here = house(tmp_path)
    binding = bound(repository=source.as_uri())
    assert (await here.provider.resolve(binding, None)).identity == second
    assert (await here.provider.resolve(binding, "main")).identity == second
    found = await here.provider.resolve(binding, "v1")
    assert (found.identity, found.summary) == (first, "first of all")
    assert (await here.provider.resolve(binding, first[:10])).identity == first
    with pytest.raises(NotFound):
        await here.provider.resolve(binding, "no-such-branch")


def test_the_provider_is_found_by_its_kind_and_can_what_it_says_and_no_more(tmp_path: Path) -> None:
    def no_secret(name: str) -> Secret:
        raise NotConfigured(f"There is no secret {name}.", hint="Set it.")

    made: Provider = load(configured(tmp_path), secret=no_secret, clock=house(tmp_path).time.clock)["railway"]
    assert made.kind == "railway"
    for capability in (Restarts, Logs, Variables, Provisions, Closes):
        assert isinstance(made, capability)
    assert not isinstance(made, Promotes | Scales)


async def test_what_the_token_may_not_see_is_told_apart_from_a_token_that_is_not_taken(tmp_path: Path) -> None:
    here = house(tmp_path)
    with pytest.raises(NotFound, match="shows nothing of that name") as missing:
        await here.provider.variables(bound(service_id="service-unknown"))
    assert "service_id" in missing.value.hint
    here.railway.world.tokens.clear()
    with pytest.raises(NotConfigured, match="does not take the token"):
        await here.provider.variables(bound())


async def test_a_foreign_deployment_is_as_absent_as_a_missing_one(tmp_path: Path) -> None:
    here = house(tmp_path)
    foreign = here.railway.world.deploy(here.railway.world.instances[houses.FOREIGN_WEB, houses.FOREIGN], V1)
    for handle in (foreign.id, "deployment-9999"):
        assert (await here.provider.status(here.placement(1, V1, handle=handle))).presence is Presence.absent
    with pytest.raises(OpsError):
        await here.provider.restart(here.placement(1, V1, handle=foreign.id))
    stopped = await here.provider.stop(here.placement(1, V1, handle=foreign.id))
    assert stopped.presence is Presence.absent
    assert here.there(foreign.id).status == "BUILDING" or not here.there(foreign.id).stopped


@pytest.mark.parametrize(
    ("domain", "url"),
    [
        (None, "https://web-shop-staging.up.railway.app"),
        ("shop.example", "https://shop.example"),
        ("shop.example:8443", "https://shop.example:8443"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
async def test_health_is_asked_of_the_named_domain_else_where_railway_says(tmp_path: Path, domain: str | None, url: str) -> None:
    here = house(tmp_path)
    placement = here.placement(1, V1, binding=bound(domain=domain) if domain else bound())
    found = await here.provider.deploy(placement, replaces=None, tell=here.told)
    assert found.url == url


async def test_an_address_on_this_machine_is_told_only_where_the_api_is_on_it_too(tmp_path: Path) -> None:
    here = house(tmp_path, api="https://backboard.railway.com/graphql/v2")
    here.railway.world.instances[houses.WEB, houses.STAGING].domain = "127.0.0.1:22"
    found = await here.provider.deploy(here.placement(1, V1), replaces=None, tell=here.told)
    assert found.url is None


async def test_the_doctor_is_told_what_the_token_opens(tmp_path: Path) -> None:
    said = await house(tmp_path).provider.reach(bound())
    assert said.startswith("project ")
    assert ", environment " in said
