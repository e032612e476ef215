"""Planted secrets: tokens, values of variables, and what builds print are nowhere that they must not be."""

import logging
from pathlib import Path

import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.releases import Provision, SetVariable
from ops_mcp.errors import OpsError
from sandbox.railway import houses
from tests.providers.railway.house import SECRETS, V1, V2, House, bound, house

pytestmark = pytest.mark.anyio

IN_A_BUILD = "planted-in-the-build-output-55aa"
VALUE = "planted-variable-value-77cc"
PLANTED = (*SECRETS.values(), IN_A_BUILD, VALUE)


async def test_no_planted_secret_is_told_noted_logged_or_put_into_an_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    here = house(tmp_path)
    here.behaves(V2, fate="fails_build", builds_saying=(f"export KEY={IN_A_BUILD}",))
    said: list[str] = []
    one = await here.deployed(1, V1)
    said.append(repr(await here.provider.status(one)))
    said.append(repr(await here.provider.set_variable(bound(), SetVariable(name="KEY", value=VALUE))))
    said.append(repr(await here.provider.variables(bound())))
    said.append(repr(await here.provider.provision(bound(), Provision(template="redis", name="cache-2"), tell=here.told)))
    said += [repr(here.provider), repr(one), *here.told.notes]
    said += await _problems(here)
    said += [record.getMessage() for record in caplog.records]
    assert len(said) > 15
    assert not [(secret, text) for secret in PLANTED for text in said if secret in text]


async def test_build_output_is_told_only_where_lines_are_asked_for(tmp_path: Path) -> None:
    here = house(tmp_path)
    here.behaves(V2, fate="fails_build", builds_saying=(f"export KEY={IN_A_BUILD}",))
    with pytest.raises(OpsError) as caught:
        await here.provider.deploy(here.placement(2, V2), replaces=None, tell=here.told)
    assert IN_A_BUILD not in str(caught.value.problem)
    lines = await here.provider.logs(here.placement(2, V2, handle=here.told.handle), LogQuery())
    assert IN_A_BUILD in "".join(line.text for line in lines.items), "redaction is the caller's, who knows every secret"


async def _problems(here: House) -> list[str]:
    """Everything that goes wrong, as it is told."""
    told: list[str] = []

    async def keep(work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except OpsError as error:
            told.append(f"{error.problem!r} {error.__cause__!r}")

    await keep(here.provider.deploy(here.placement(2, V2), replaces=None, tell=here.told))
    for fault in ("429", "500", "timeout_before", "disconnect", "internal"):
        here.railway.faults.plan(fault)
        await keep(here.again().provider.variables(bound()))
    await keep(here.provider.variables(bound(environment_id=houses.PRODUCTION)))
    await keep(here.provider.set_variable(bound(service_id="service-none"), SetVariable(name="KEY", value=VALUE)))
    here.railway.world.tokens.clear()
    await keep(here.again().provider.variables(bound()))
    assert len(told) == 9
    return told
