"""Vercel's refusals in our words: what was wrong, what is valid, what to do next. Nothing of an answer's prose is repeated.

Statuses are those of the published specification; 429 and 5xx never come here, they are the same for every place. The body is
`{"error": {"code", …}}`, on a few endpoints `{"err": …}`.
"""

from typing import NamedTuple

from ops_mcp.errors import NotConfigured, NotFound, OpsError, ProviderError
from ops_mcp.providers._outside import Answer
from ops_mcp.providers.vercel.answers import code, table
from ops_mcp.values import JsonObject


class Asking(NamedTuple):
    """On whose behalf something was asked, for the words of a refusal."""

    doing: str
    environment: str
    team: str | None
    project: str

    @property
    def scope(self) -> str:
        return f"team {self.team}" if self.team else "the token's personal account"


_LASTING = {
    402: (
        "The Vercel plan of {scope} does not include this: {doing}{said}.",
        "Look at the plan's limits; on Hobby one can go back by one deployment only. Or deploy the commit again.",
    ),
    409: (
        "Vercel is busy with another change: {doing}{said}.",
        "Wait until the other promotion, rollback or change of this project is done, then try again.",
    ),
    410: ("Vercel does not offer this any more: {doing}{said}.", "Update ops-mcp."),
    422: (
        "Vercel refuses this for that deployment: {doing}{said}.",
        "Going back works to deployments that once served production; a preview must be promoted by a new build.",
    ),
}
_OTHER = (
    "Vercel refused with HTTP {status}: {doing}{said}.",
    "Compare the binding's options with the project at Vercel (docs/providers/vercel.md), then try again.",
)


def refused(answer: Answer, asking: Asking) -> OpsError:
    """The error for an answer of 300 to 499."""
    word = problem_code(answer.object)
    said = f" ({word})" if word else ""
    details: JsonObject = {"http_status": answer.status, **({"code": word} if word else {})}
    match answer.status:
        case 401:
            return NotConfigured(
                f"Vercel does not accept the token of {asking.environment}{said}.",
                hint="It is wrong, expired or revoked. An operator makes one at Vercel and stores it with `ops-mcp secret set`.",
                details=details,
            )
        case 403:
            return _forbidden(answer, asking, said, details)
        case 404:
            return _missing(asking, said, details)
        case status:
            what, hint = _LASTING.get(status, _OTHER)
            told = what.format(scope=asking.scope, doing=asking.doing, said=said, status=status)
            return ProviderError(told, hint=hint, details=details)


def problem_code(body: JsonObject) -> str:
    """The code of an error body, wherever it stands."""
    return code(table(body.get("error") or body.get("err")), "code")


def _forbidden(answer: Answer, asking: Asking, said: str, details: JsonObject) -> OpsError:
    error = table(answer.object.get("error") or answer.object.get("err"))
    if error.get("saml") is True or answer.object.get("saml") is True:
        return NotConfigured(
            f"The team requires SAML, and the token of {asking.environment} was made without it{said}.",
            hint="Sign in to the team by SAML at Vercel, make a token there, and store it with `ops-mcp secret set`.",
            details=details,
        )
    return NotConfigured(
        f"The token of {asking.environment} may not do this at Vercel: {asking.doing}{said}.",
        hint=f"It needs the scope of {asking.scope} and a role that may deploy project {asking.project} to that target.",
        details=details,
    )


def _missing(asking: Asking, said: str, details: JsonObject) -> OpsError:
    return NotFound(
        f"Vercel does not have that, or the token of {asking.environment} cannot see it: {asking.doing}{said}.",
        hint=f"Check project {asking.project} in {asking.scope}; a token of another scope sees nothing here.",
        details=details,
    )
