"""Planted secrets: tokens, values of variables and what builds print reach no error, detail or note, only cleaned tails."""

import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.releases import Observed, SetVariable
from ops_mcp.errors import OpsError
from ops_mcp.values import Json
from sandbox.vercel.world import Outcome, Variable
from tests.providers.vercel.scene import ONE, TWO, Scene

pytestmark = pytest.mark.anyio

PLANTED = "planted-sk-live-0123456789abcdef"
UNTRUSTED = ("untrusted_output",)


async def all_that_is_said(vercel: Scene) -> str:
    """Every change and every look, each allowed to fail; whatever comes out of them but logs, tails and values."""
    said: list[str] = []
    first = vercel.placed(ONE, binding=vercel.bound("staging", build_minutes=2))
    second = vercel.placed(TWO, binding=vercel.bound(build_minutes=2))
    place, heard = vercel.vercel, vercel.heard
    for change in (
        lambda: place.deploy(first, replaces=None, tell=heard),
        lambda: place.deploy(second, replaces=first, tell=heard),
        lambda: place.status(first),
        lambda: place.status(second),
        lambda: place.rollback(second, restores=first, ends=second, tell=heard),
        lambda: place.promote(vercel.placed(), origin=first, replaces=second, tell=heard),
        lambda: place.resolve(vercel.bound(), (heard.handles or ["dpl_none"])[0]),
        lambda: place.variables(vercel.bound()),
        lambda: place.set_variable(vercel.bound(), SetVariable(name="KEY", secret="a-secret")),
        lambda: place.set_variable(vercel.bound(), SetVariable(name="COLOUR", value=PLANTED)),
        lambda: place.stop(second),
    ):
        try:
            said.append(told(await change()))
        except OpsError as error:
            details: dict[str, Json] = {k: v for k, v in error.details.items() if k not in UNTRUSTED}
            said.append(f"{error} {error.hint} {details} {error.args}")
    return "\n".join([*said, *heard.said])


def told(result: object) -> str:
    if isinstance(result, Observed):
        return str(result.model_copy(update={"untrusted_tail": ()}))
    return repr(result)


def refuse_planted(said: str) -> None:
    for secret in (PLANTED, "value-that-nobody-may-see", "token-of-"):
        assert secret not in said


@pytest.mark.parametrize("outcome", [Outcome(), Outcome(build="fails"), Outcome(alias="fails"), Outcome(checks="failed")])
async def test_what_builds_print_is_in_no_error_no_detail_and_no_note(vercel: Scene, outcome: Outcome) -> None:
    noisy = type(outcome)(
        build=outcome.build, alias=outcome.alias, checks=outcome.checks, output=(f"KEY={PLANTED}",) * 3, error_message=PLANTED
    )
    vercel.world.outcomes = {ONE: noisy, TWO: noisy}
    values = ("plain", "sensitive", "encrypted")
    vercel.project.variables = [
        Variable(f"env{n}", f"K{n}", PLANTED, type, ["production"], [], None, 1, 1) for n, type in enumerate(values)
    ]
    said = await all_that_is_said(vercel)
    assert said
    refuse_planted(said)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 429, 503])
@pytest.mark.parametrize("operation", ["*", "createDeployment", "getDeployment"])
async def test_refusals_that_echo_secrets_are_not_repeated(vercel: Scene, status: int, operation: str) -> None:
    echo: dict[str, object] = {"message": f"{PLANTED} value-that-nobody-may-see token-of-staging-1234567890", "value": PLANTED}
    vercel.simulator.trouble.add(operation, "status", times=None, status=status, code="bad_request", extra=echo)
    refuse_planted(await all_that_is_said(vercel))


async def test_a_failed_builds_tail_is_the_only_place_and_is_marked_as_untrusted(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="fails", output=(PLANTED,))
    placement = vercel.placed()
    with pytest.raises(OpsError) as caught:
        await vercel.vercel.deploy(placement, replaces=None, tell=vercel.heard)
    assert PLANTED in str(caught.value.details["untrusted_output"])
    assert PLANTED in (await vercel.vercel.status(placement)).untrusted_tail
    page = await vercel.vercel.logs(placement, LogQuery(text=PLANTED))
    assert len(page.items) == 1


async def test_values_that_vercel_encrypts_are_not_even_asked_for(vercel: Scene) -> None:
    asked: list[str] = []
    vercel.transport.kills_at = lambda request: bool(asked.append(str(request.url)))
    vercel.project.variables = [Variable("env1", "KEY", PLANTED, "encrypted", ["production"], [], None, 1, 1)]
    (key,) = await vercel.vercel.variables(vercel.bound())
    assert key.value is None
    assert asked == ["https://api.vercel.com/v10/projects/web/env?slug=acme"]


async def test_a_plain_value_prints_as_stars(vercel: Scene) -> None:
    vercel.project.variables = [Variable("env1", "KEY", PLANTED, "plain", ["production"], [], None, 1, 1)]
    variables = await vercel.vercel.variables(vercel.bound())
    assert PLANTED not in repr(variables)
    assert variables[0].value is not None
    assert variables[0].value.get_secret_value() == PLANTED


async def test_no_token_and_no_value_is_in_any_address(vercel: Scene) -> None:
    asked: list[str] = []
    vercel.transport.kills_at = lambda request: bool(asked.append(str(request.url)))
    await all_that_is_said(vercel)
    assert asked
    refuse_planted("\n".join(asked))
