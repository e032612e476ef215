"""A database or an empty service beside the bound one: made once, under its name, from a template that loses nothing."""

import copy
from pathlib import Path

import pytest

from ops_mcp.domain.releases import Presence, Provision
from ops_mcp.errors import InvalidArguments, NotFound, ProviderError
from ops_mcp.providers.railway.provisioning import filled
from sandbox.railway.houses import template
from tests.providers.railway.house import House, Killed, bound, house, survived

pytestmark = pytest.mark.anyio

DATABASE = Provision(template="postgres", name="orders-db")


def named(here: House, name: str) -> list[str]:
    here.railway.world.settle()
    return [i.environment for i in here.railway.world.instances.values() if i.name == name]


@pytest.mark.parametrize("code", ["postgres", "mysql", "redis", "mongo"])
async def test_a_database_is_made_from_its_template_and_followed_to_its_end(tmp_path: Path, code: str) -> None:
    here = house(tmp_path)
    found = await here.provider.provision(bound(), Provision(template=code, name="orders-db"), tell=here.told)
    assert found.presence is Presence.running
    assert named(here, "orders-db") == ["shop-staging"]
    assert found.usage.requests > 3
    assert here.told.handle.startswith("workflow-")
    assert here.deeds == ["template orders-db in shop-staging"]
    made = next(i for i in here.railway.world.instances.values() if i.name == "orders-db")
    assert made.variables == {"DB_USER": "admin", "DB_PASSWORD": "${{secret(32)}}", "EXTRA": ""}


async def test_one_of_that_name_that_is_there_will_do(tmp_path: Path) -> None:
    here = house(tmp_path)
    first = await here.provider.provision(bound(), DATABASE, tell=here.told)
    second = await here.again().provider.provision(bound(), DATABASE, tell=here.told)
    assert second.handle == first.handle
    assert "already" in second.detail
    assert here.deeds == ["template orders-db in shop-staging"]


async def test_an_empty_service_is_made_and_its_reach_is_said(tmp_path: Path) -> None:
    here = house(tmp_path)
    found = await here.provider.provision(bound(), Provision(template="empty", name="later"), tell=here.told)
    assert "every environment" in found.detail
    assert here.deeds == ["service later in shop-staging"]
    assert (
        await here.provider.provision(bound(), Provision(template="empty", name="later"), tell=here.told)
    ).handle == found.handle
    assert here.deeds == ["service later in shop-staging"]


@pytest.mark.parametrize("fault", ["timeout_before", "500", "429"])
@pytest.mark.parametrize("on", ["TemplateByCode", "DeployTemplate", "WorkflowNow", "ServicesOfEnvironment"])
async def test_a_database_is_made_once_whatever_gets_no_answer(tmp_path: Path, fault: str, on: str) -> None:
    here = house(tmp_path)
    here.railway.faults.plan(fault, on=on, times=2)
    await here.provider.provision(bound(), DATABASE, tell=here.told)
    assert here.deeds == ["template orders-db in shop-staging"]


async def test_a_request_that_was_carried_out_without_an_answer_is_found_by_its_name(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.faults.plan("timeout_after", on="DeployTemplate")
    found = await here.provider.provision(bound(), DATABASE, tell=here.told)
    assert found.presence is Presence.running
    assert here.deeds == ["template orders-db in shop-staging"]


async def test_a_worker_killed_once_it_shows_leaves_one(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.way.dies_at, here.way.dies_after_it = 5, True
    assert await survived(lambda: here.provider.provision(bound(), DATABASE, tell=here.told)) is None
    here.time.pass_by(60)
    next_one = here.again()
    await next_one.provider.provision(bound(), DATABASE, tell=next_one.told)
    assert here.deeds == ["template orders-db in shop-staging"]


async def test_work_that_fails_at_railway_says_so(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.workflow_fails = True
    with pytest.raises(ProviderError, match="could not make it") as caught:
        await here.provider.provision(bound(), DATABASE, tell=here.told)
    assert "disk" not in str(caught.value.problem)


async def test_work_that_railway_does_not_know_a_moment_after_is_waited_for_and_later_not_believed(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.workflow_seconds = 10_000.0

    def forget(doing: str) -> None:
        here.railway.world.workflows.clear()

    here.told.breaks = forget
    with pytest.raises(ProviderError, match="knows nothing of the work"):
        await here.provider.provision(bound(), DATABASE, tell=here.told)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 33, "ä"])
async def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    here = house(tmp_path)
    with pytest.raises(InvalidArguments, match="not the name of a service"):
        await here.provider.provision(bound(), Provision(template="redis", name=name), tell=here.told)


async def test_a_template_that_railway_has_no_more_is_not_found(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.railway.world.templates.clear()
    with pytest.raises(NotFound):
        await here.provider.provision(bound(), DATABASE, tell=here.told)


async def test_filling_a_template_in_keeps_what_nobody_here_knows() -> None:
    before = template("postgres")
    untouched = copy.deepcopy(before)
    after = filled(before, "orders-db")
    assert before == untouched
    (key,) = before["services"]
    expected = copy.deepcopy(before)
    expected["services"][key]["name"] = "orders-db"
    expected["services"][key]["variables"]["DB_USER"]["value"] = "admin"
    expected["services"][key]["variables"]["DB_PASSWORD"]["value"] = "${{secret(32)}}"
    assert after == expected


async def test_a_template_that_wants_a_value_nobody_has_is_refused() -> None:
    config = template("postgres")
    (service,) = config["services"].values()
    service["variables"]["LICENCE"] = {"description": "yours"}
    with pytest.raises(ProviderError, match="LICENCE"):
        filled(config, "x")
    with pytest.raises(ProviderError, match="services"):
        filled({}, "x")


async def test_what_an_earlier_attempt_began_is_followed_and_not_begun_again(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.told.breaks = _dies_with_the_workflow
    with pytest.raises(Killed):
        await here.provider.provision(bound(), DATABASE, tell=here.told)
    here.told.breaks = None
    found = await here.again().provider.provision(bound(), DATABASE, handle=here.told.handle, tell=here.told)
    assert found.presence is Presence.running
    assert len(here.railway.world.workflows) == 1


def _dies_with_the_workflow(doing: str) -> None:
    if doing == "Railway makes it":
        raise Killed
