"""What Vercel refuses, in our words. One case a line: what it answers, what we raise, and what must be said."""

from collections.abc import Mapping

import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured, NotFound, OpsError, ProviderError
from ops_mcp.providers._outside import Answer
from ops_mcp.providers.vercel.refusals import Asking, refused
from ops_mcp.values import Json
from tests.providers.vercel.scene import ONE, Scene, provider

CASES: list[tuple[int, Mapping[str, object], type[OpsError], tuple[str, ...]]] = [
    # a body that Vercel cannot use: the code is told, and that the options are to be compared with the project
    (400, {"code": "bad_request"}, ProviderError, ("HTTP 400", "bad_request", "options")),
    # a git source that the project's integration does not know
    (400, {"code": "incorrect_git_source_info"}, ProviderError, ("incorrect_git_source_info",)),
    # no token, or one that expired: whose it is, and how to store a new one
    (401, {"code": "unauthorized"}, NotConfigured, ("token of production", "ops-mcp secret set")),
    # the plan does not include it, such as two steps back on Hobby
    (402, {"code": "payment_required"}, ProviderError, ("plan of team acme", "Hobby")),
    # the token is of another scope or its role is too low: which scope and role it needs
    (403, {"code": "forbidden"}, NotConfigured, ("token of production", "scope of team acme", "project web")),
    # a token that Vercel does not know at all answers 403, too
    (403, {"code": "forbidden", "invalidToken": True}, NotConfigured, ("token of production",)),
    # the team wants SAML
    (403, {"code": "forbidden", "saml": True, "teamId": "team_acme"}, NotConfigured, ("requires SAML", "Sign in")),
    # a project of another scope is simply missing
    (404, {"code": "not_found"}, NotFound, ("cannot see it", "project web in team acme")),
    # an endpoint that takes no such method
    (405, {"code": "method_unknown"}, ProviderError, ("HTTP 405", "method_unknown")),
    # another promotion, rollback or change is under way
    (409, {"code": "conflict"}, ProviderError, ("busy", "Wait until")),
    # a version of the endpoint that is gone
    (410, {"code": "gone"}, ProviderError, ("any more", "Update ops-mcp")),
    # no rollback candidate, or a preview that cannot be promoted as it is
    (422, {"code": "unprocessable_entity"}, ProviderError, ("refuses this for that deployment", "new build")),
    # the client is too old
    (426, {"code": "upgrade_required"}, ProviderError, ("HTTP 426",)),
    # a precondition that only the dashboard can meet
    (428, {"code": "precondition_required"}, ProviderError, ("HTTP 428",)),
    # a redirect is no answer: it could lead anywhere
    (302, {}, ProviderError, ("HTTP 302",)),
    # a code that is no code is left out
    (400, {"code": "with blanks and <b>"}, ProviderError, ("HTTP 400: deploy.",)),
    # no body at all
    (403, {}, NotConfigured, ("token of production",)),
]


@pytest.mark.parametrize("under", ["error", "err"])
@pytest.mark.parametrize(("status", "error", "kind", "says"), CASES)
def test_a_refusal_is_told_with_its_next_step(
    status: int, error: dict[str, Json], kind: type[OpsError], says: tuple[str, ...], under: str
) -> None:
    asking = Asking("deploy", "production", "acme", "web")
    body: dict[str, Json] = {under: {**error, "message": "prose of Vercel's"}} if error else {}
    found = refused(Answer(status, {}, body), asking)
    assert type(found) is kind
    assert found.hint
    assert not found.may_be_retried
    assert found.details["http_status"] == status
    for word in says:
        assert word in f"{found.message} {found.hint}"
    assert "prose of Vercel's" not in repr(found.problem)


@pytest.mark.parametrize("body", [None, [], "text", {"error": "text"}, {"error": None}, {"err": [1]}])
def test_a_refusal_in_an_odd_form_is_still_told(body: Json) -> None:
    assert refused(Answer(400, {}, body), Asking("deploy", "production", None, "web")).message


@pytest.mark.anyio
async def test_the_scope_is_told_for_a_token_without_its_team(vercel: Scene, tmp_path: object) -> None:
    alone = provider(vercel.hours, vercel.transport, state_dir=vercel.vercel.state_dir, team=None)
    with pytest.raises(NotFound, match="cannot see it") as caught:
        await alone.deploy(vercel.placed(), replaces=None, tell=vercel.heard)
    assert "the token's personal account" in caught.value.hint


@pytest.mark.anyio
@pytest.mark.parametrize("team", ["acme", "team_acme"])
async def test_a_team_is_named_by_its_slug_or_its_id(vercel: Scene, team: str) -> None:
    named = provider(vercel.hours, vercel.transport, state_dir=vercel.vercel.state_dir, team=team)
    observed = await named.deploy(vercel.placed(), replaces=None, tell=vercel.heard)
    assert vercel.project.production == observed.handle


@pytest.mark.anyio
async def test_each_environment_uses_its_own_token_and_no_other(vercel: Scene) -> None:
    used: set[str] = set()
    vercel.transport.kills_at = lambda request: bool(used.add(request.headers["authorization"]))
    await vercel.deploy(binding=vercel.bound("staging"))
    assert used == {"Bearer token-of-staging-1234567890"}
    binding = Binding.model_validate({**vercel.bound().json_value(), "environment": "sandbox"})
    with pytest.raises(NotConfigured, match="no token for sandbox"):
        await vercel.deploy(ONE, binding=binding)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "says"),
    [({"teams": frozenset()}, "may not do this"), ({"needs_saml": True}, "SAML"), ({"reads_only": True}, "role that may deploy")],
)
async def test_a_token_of_the_wrong_kind_is_named_with_what_it_needs(vercel: Scene, fields: dict[str, object], says: str) -> None:
    token = vercel.world.tokens["token-of-production-1234567890"]
    changed = {"name": token.name, "teams": token.teams, **fields}
    vercel.world.tokens["token-of-production-1234567890"] = type(token)(**changed)  # type: ignore[arg-type]
    with pytest.raises(NotConfigured) as caught:
        await vercel.deploy()
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert "production" in caught.value.message


@pytest.mark.anyio
async def test_a_used_up_plan_is_a_lasting_failure(vercel: Scene) -> None:
    vercel.world.plan_used_up = True
    with pytest.raises(ProviderError, match="plan") as caught:
        await vercel.deploy()
    assert not caught.value.temporary
    assert not vercel.made
