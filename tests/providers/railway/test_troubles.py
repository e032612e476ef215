"""What Railway says went wrong, in our words: each with what to do next, and none with what it must not repeat."""

import pytest

from ops_mcp.errors import NotConfigured, NotFound, OpsError, ProviderError
from ops_mcp.providers._outside import Answer
from ops_mcp.providers.railway.documents import DEPLOY, SET_VARIABLE
from ops_mcp.providers.railway.troubles import NotAuthorized, data_of
from ops_mcp.values import Json

TABLE: list[tuple[str, Json, type[OpsError], str]] = [
    ("Not Authorized", {}, NotAuthorized, "Not Authorized"),
    ("not authorized to see it", {}, NotAuthorized, "Not Authorized"),
    ("Project Token not found", {}, NotConfigured, "does not take the token"),
    ("Two Factor Authentication Required", {"workspaceName": "acme"}, NotConfigured, "two-factor"),
    ("Commit not found", {}, NotFound, "does not find that commit"),
    ("Deployment not found", {}, NotFound, "shows nothing of that name"),
    ("Service does not exist", {}, NotFound, "shows nothing of that name"),
    ("Problem processing request", {}, ProviderError, "problem of its own"),
    ("oops", {"code": "INTERNAL_SERVER_ERROR"}, ProviderError, "problem of its own"),
    ("Too many requests, slow down", {}, ProviderError, "limits the rate"),
    ('Cannot query field "x" on type "Deployment".', {}, ProviderError, "no longer understands"),
    ("bad", {"code": "GRAPHQL_VALIDATION_FAILED"}, ProviderError, "no longer understands"),
    ("The plan does not allow this", {}, ProviderError, "Railway refused it"),
]
TEMPORARY = {"problem of its own", "limits the rate"}


def answer(message: str, extensions: Json, *, status: int = 200) -> Answer:
    return Answer(status, {}, {"data": None, "errors": [{"message": message, "extensions": extensions}]})


@pytest.mark.parametrize(("message", "extensions", "kind", "says"), TABLE)
def test_an_error_is_translated(message: str, extensions: Json, kind: type[OpsError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        data_of(answer(message, extensions), DEPLOY)
    assert caught.value.hint
    assert caught.value.may_be_retried is (says in TEMPORARY)


def test_words_of_railway_that_nobody_knows_are_quoted_short_clean_and_apart() -> None:
    with pytest.raises(ProviderError) as caught:
        data_of(answer("nope \x1b[31m" + "x" * 5000, {}), DEPLOY)
    assert "nope" not in caught.value.message
    quoted = str(caught.value.details["untrusted_message"])
    assert quoted.startswith("nope")
    assert len(quoted) <= 300
    assert "\x1b" not in quoted


def test_an_answer_to_a_question_that_held_a_secret_is_never_quoted() -> None:
    with pytest.raises(ProviderError) as caught:
        data_of(answer('Variable "$input" got invalid value "hunter2-hunter2"', {}), SET_VARIABLE)
    assert "hunter2" not in str(caught.value.problem)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (Answer(401, {}, None), NotConfigured),
        (Answer(403, {}, {"message": "x"}), NotConfigured),
        (Answer(404, {}, "<html>"), ProviderError),
        (Answer(200, {}, {"data": None}), ProviderError),
        (Answer(200, {}, {"data": {}, "errors": ["text"]}), ProviderError),
        (Answer(200, {}, []), ProviderError),
    ],
)
def test_an_answer_without_data_is_an_error(found: Answer, kind: type[OpsError]) -> None:
    with pytest.raises(kind):
        data_of(found, DEPLOY)


def test_data_beside_no_errors_is_the_answer() -> None:
    assert data_of(Answer(200, {}, {"data": {"a": 1}, "errors": []}), DEPLOY) == {"a": 1}
