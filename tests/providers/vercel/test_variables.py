"""Variables by name, for one target only; what Vercel keeps secret is never asked for, and a secret never becomes plain."""

import pytest

from ops_mcp.domain.releases import SetVariable
from ops_mcp.errors import Conflict, NotConfigured, ProviderError, Unsupported
from ops_mcp.ports import Variables
from sandbox.vercel.world import Variable
from tests.providers.vercel.scene import Scene

pytestmark = pytest.mark.anyio


def kept(
    vercel: Scene, key: str, value: str, type: str, *target: str, customs: tuple[str, ...] = (), branch: str | None = None
) -> None:
    number = len(vercel.project.variables)
    vercel.project.variables.append(
        Variable(f"env{number}", key, value, type, [*target], [*customs], branch, vercel.world.now, vercel.world.now)
    )


async def test_vercel_keeps_variables(vercel: Scene) -> None:
    assert isinstance(vercel.vercel, Variables)


@pytest.mark.parametrize("type", ["encrypted", "sensitive", "system"])
async def test_only_plain_variables_have_a_value(vercel: Scene, type: str) -> None:
    kept(vercel, "COLOUR", "green", "plain", "production")
    kept(vercel, "KEY", "value-of-key", type, "production")
    colour, key = await vercel.vercel.variables(vercel.bound())
    assert colour.value is not None
    assert (colour.value.get_secret_value(), colour.note) == ("green", "for production")
    assert (key.name, key.value) == ("KEY", None)
    assert key.note == f"{type}: its value is not read; for production"
    assert colour.changed_at == vercel.hours.now


async def test_only_those_of_the_bindings_target_are_told(vercel: Scene) -> None:
    kept(vercel, "BOTH", "1", "plain", "production", "preview")
    kept(vercel, "LIVE", "2", "plain", "production")
    kept(vercel, "SEEN", "3", "plain", "preview", branch="topic")
    kept(vercel, "TESTED", "4", "plain", customs=("env_qa",))
    told = {
        target: {variable.name: variable.note for variable in await vercel.vercel.variables(binding)}
        for target, binding in {
            "production": vercel.bound(),
            "preview": vercel.bound("staging"),
            "qa": vercel.bound("staging", target="qa"),
        }.items()
    }
    assert told["production"] == {"BOTH": "for production, preview", "LIVE": "for production"}
    assert told["preview"] == {"BOTH": "for production, preview", "SEEN": "for preview, branch topic"}
    assert told["qa"] == {"TESTED": "for env_qa"}


async def test_a_target_without_variables_of_its_own_is_unsupported_and_says_which_have_some(vercel: Scene) -> None:
    with pytest.raises(Unsupported, match="staging") as caught:
        await vercel.vercel.variables(vercel.bound("staging", target="staging"))
    assert "qa" in caught.value.hint


async def test_a_token_that_may_not_see_all_of_them_is_said_so(vercel: Scene) -> None:
    kept(vercel, "LIVE", "2", "plain", "production")
    token = vercel.world.tokens["token-of-production-1234567890"]
    vercel.world.tokens["token-of-production-1234567890"] = type(token)(token.name, token.teams, hides_production=True)
    with pytest.raises(NotConfigured, match="may not see 1"):
        await vercel.vercel.variables(vercel.bound())


async def test_a_secret_is_set_as_sensitive_for_exactly_this_target(vercel: Scene) -> None:
    usage = await vercel.vercel.set_variable(vercel.bound(), SetVariable(name="KEY", secret="a-secret"))
    made = vercel.project.variables[0]
    assert (made.type, made.target, made.customs) == ("sensitive", ["production"], [])
    assert made.value == "value-that-nobody-may-see"
    assert usage.requests == vercel.simulator.trouble.asked() == 2


async def test_a_custom_environment_has_variables_of_its_own(vercel: Scene) -> None:
    await vercel.vercel.set_variable(vercel.bound("staging", target="qa"), SetVariable(name="KEY", secret="a-secret"))
    made = vercel.project.variables[0]
    assert (made.type, made.target, made.customs) == ("sensitive", [], ["env_qa"])


async def test_setting_it_again_changes_nothing_and_a_new_value_replaces_the_old_one(vercel: Scene) -> None:
    binding = vercel.bound()
    for value in ("green", "green", "blue"):
        await vercel.vercel.set_variable(binding, SetVariable(name="COLOUR", value=value))
    assert [(v.value, v.type) for v in vercel.project.variables] == [("blue", "plain")]


@pytest.mark.parametrize("type", ["sensitive", "encrypted"])
async def test_what_was_hidden_stays_hidden(vercel: Scene, type: str) -> None:
    kept(vercel, "KEY", "old", type, "production")
    await vercel.vercel.set_variable(vercel.bound(), SetVariable(name="KEY", value="new"))
    assert vercel.project.variables[0].type == "sensitive"


async def test_a_variable_of_several_targets_is_not_changed_for_the_others(vercel: Scene) -> None:
    kept(vercel, "KEY", "old", "plain", "production", "preview")
    with pytest.raises(Conflict, match="preview, too") as caught:
        await vercel.vercel.set_variable(vercel.bound(), SetVariable(name="KEY", value="new"))
    assert "Split it" in caught.value.hint
    assert vercel.project.variables[0].value == "old"


async def test_a_partial_failure_is_a_failure_though_it_is_answered_with_201(vercel: Scene) -> None:
    def meanwhile(request: object) -> bool:
        """Somebody else makes one for two targets between our look and our setting it."""
        if getattr(request, "method", "") == "GET":
            kept(vercel, "KEY", "theirs", "plain", "production", "development")
        return False

    vercel.transport.kills_at = meanwhile
    with pytest.raises(ProviderError, match=r"did not set KEY \(ENV_CONFLICT\)") as caught:
        await vercel.vercel.set_variable(vercel.bound(), SetVariable(name="KEY", secret="a-secret"))
    assert "value-that-nobody-may-see" not in repr(caught.value.problem)
    assert not caught.value.temporary


@pytest.mark.parametrize(("kind", "after"), [("timeout", True), ("timeout", False), ("reset", True)])
async def test_a_request_without_an_answer_may_simply_be_repeated(vercel: Scene, kind: str, after: bool) -> None:
    vercel.simulator.trouble.add("createProjectEnv", kind, after=after)  # type: ignore[arg-type]
    wanted = SetVariable(name="KEY", secret="a-secret")
    with pytest.raises(ProviderError) as caught:
        await vercel.vercel.set_variable(vercel.bound(), wanted)
    assert caught.value.temporary
    await vercel.vercel.set_variable(vercel.bound(), wanted)
    assert len(vercel.project.variables) == 1


async def test_a_limit_on_setting_variables_is_told_with_its_time(vercel: Scene) -> None:
    vercel.simulator.trouble.add("createProjectEnv", "status", status=429, seconds=33)
    with pytest.raises(ProviderError) as caught:
        await vercel.vercel.set_variable(vercel.bound(), SetVariable(name="KEY", value="new"))
    assert caught.value.retry_after_seconds == 33
