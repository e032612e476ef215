"""Variables: their values only as secrets, a write that never releases anything, and never one that replaces the others."""

from pathlib import Path

import pytest

from ops_mcp.domain.releases import SetVariable
from ops_mcp.errors import InvalidArguments, NotConfigured
from ops_mcp.providers.railway import documents
from tests.providers.railway.house import SECRETS, V1, House, bound, house

pytestmark = pytest.mark.anyio


def kept(here: House) -> dict[str, str]:
    return here.railway.world.instances["service-web", "shop-staging"].variables


async def test_variables_are_told_by_name_with_their_values_as_secrets(tmp_path: Path) -> None:
    here = house(tmp_path)
    kept(here).update({"MODE": "fast", "API_KEY": "planted-value-998877"})
    found = {v.name: v for v in await here.provider.variables(bound())}
    assert set(found) == {"MODE", "API_KEY", "RAILWAY_SERVICE_NAME"}
    value = found["API_KEY"].value
    assert value is not None
    assert value.get_secret_value() == "planted-value-998877"
    assert "planted" not in repr(found)
    assert found["RAILWAY_SERVICE_NAME"].note == "set by Railway"


async def test_setting_a_variable_releases_nothing_and_keeps_the_others(tmp_path: Path) -> None:
    here = house(tmp_path)
    await here.deployed(1, V1)
    kept(here)["OTHER"] = "stays"
    here.deeds.clear()
    usage = await here.provider.set_variable(bound(), SetVariable(name="MODE", value="slow"))
    assert usage.requests == 1
    here.time.pass_by(60)
    here.railway.world.settle()
    assert here.deeds == ["variable MODE in shop-staging"]
    assert kept(here) == {"OTHER": "stays", "MODE": "slow"}


async def test_a_variable_can_be_set_to_what_a_secret_names(tmp_path: Path) -> None:
    here = house(tmp_path)
    await here.provider.set_variable(bound(), SetVariable(name="API_KEY", secret="api-key"))
    assert kept(here)["API_KEY"] == SECRETS["api-key"]
    with pytest.raises(NotConfigured, match="no secret"):
        await here.provider.set_variable(bound(), SetVariable(name="API_KEY", secret="nobody-has-it"))


@pytest.mark.parametrize("fault", ["timeout_after", "timeout_before", "500", "429"])
async def test_a_write_that_got_no_answer_is_simply_sent_again(tmp_path: Path, fault: str) -> None:
    here = house(tmp_path)
    here.railway.faults.plan(fault, on="SetVariable", times=2)
    await here.provider.set_variable(bound(), SetVariable(name="MODE", value="slow"))
    assert kept(here) == {"MODE": "slow"}
    assert not any("redeploy" in deed for deed in here.deeds)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A" * 300, "A\n"])
async def test_a_name_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    here = house(tmp_path)
    with pytest.raises(InvalidArguments, match="not the name of a variable"):
        await here.provider.set_variable(bound(), SetVariable(name=name, value="x"))
    assert here.railway.budget.count("SetVariable") == 0


async def test_a_write_without_value_or_secret_is_refused(tmp_path: Path) -> None:
    here = house(tmp_path)
    with pytest.raises(InvalidArguments, match="Neither"):
        await here.provider.set_variable(bound(), SetVariable(name="A"))


def test_no_document_can_release_by_a_variable_or_replace_the_others() -> None:
    assert "skipDeploys: true" in documents.SET_VARIABLE.text
    writers = [d for d in documents.ALL if "variableUpsert" in d.text or "variableCollectionUpsert" in d.text]
    assert writers == [documents.SET_VARIABLE]
    assert not any("replace" in d.text for d in documents.ALL)


async def test_the_simulator_redeploys_on_a_write_that_does_not_skip_it(tmp_path: Path) -> None:
    """As the real one does: without this the test above would prove nothing."""
    here = house(tmp_path)
    await here.deployed(1, V1)
    instance = here.railway.world.instances["service-web", "shop-staging"]
    here.railway.world.set_variable(instance, "MODE", "slow", skip_deploys=False)
    assert here.deeds[-1] == "redeploy because of a variable"
