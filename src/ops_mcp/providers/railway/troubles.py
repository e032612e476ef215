"""What Railway says went wrong, in our words. It answers HTTP 200 with `errors`; only a few of its texts are published.

Sources: the texts that Railway's own command line compares with, and the answers described in docs/providers/railway.md.
"""

from collections.abc import Mapping
from typing import NoReturn, cast

from ops_mcp.errors import NotConfigured, NotFound, OpsError, ProviderError
from ops_mcp.governance.redaction import plain
from ops_mcp.providers._outside import Answer
from ops_mcp.providers.railway.documents import Document
from ops_mcp.values import Json, JsonObject

MOST_QUOTED = 300


class NotAuthorized(NotFound):
    """Railway's answer both to a token it does not take and to what the token may not see, or what does not exist."""


def data_of(answer: Answer, document: Document) -> JsonObject:
    """The answer's data. Raises what its errors mean."""
    errors = answer.object.get("errors")
    if isinstance(errors, list) and errors:
        first = errors[0]
        refuse(cast(Mapping[str, Json], first) if isinstance(first, dict) else {}, document)
    if answer.status in (401, 403):
        raise bad_token()
    data = answer.object.get("data")
    if answer.status >= 400 or not isinstance(data, dict):
        raise ProviderError(
            f"Railway answered HTTP {answer.status} without data.",
            hint="Check `api` in [providers.railway]; if it is right, try again later.",
            details={"operation": document.name, "http_status": answer.status},
        )
    return data


def refuse(error: Mapping[str, Json], document: Document) -> NoReturn:
    """Raise what one entry of `errors` means."""
    text = str(error.get("message") or "")
    extensions = error.get("extensions")
    code = str(extensions.get("code") or "") if isinstance(extensions, dict) else ""
    raise _known(text.lower(), code, document) or ProviderError(
        "Railway refused it.", hint="Its own words are in details.", details=_quoted(text, document)
    )


def bad_token() -> NotConfigured:
    return NotConfigured(
        "Railway does not take the token of this environment.",
        hint="An operator makes a new one in the project's settings, stores it with `ops-mcp secret set`, and checks token_kind.",
    )


def shut() -> NotConfigured:
    """A workspace token has nothing that it could be tried on besides its projects."""
    return NotConfigured(
        "Railway does not show this project to the workspace token of this environment.",
        hint="The token is not taken any more, or options.project is not in its workspace. `ops-mcp secret set` stores another.",
    )


def unseen(document: Document) -> NotFound:
    """The token works, and yet it may not see what was asked for."""
    return NotFound(
        "Railway shows nothing of that name to this token: it does not exist, was deleted, or belongs elsewhere.",
        hint="Check project, environment_id and service_id of the binding, and the deployment that was named.",
        details={"operation": document.name},
    )


def _known(text: str, code: str, document: Document) -> OpsError | None:
    if "not authorized" in text:
        return NotAuthorized(
            "Railway says Not Authorized.", hint="Either the token is wrong, or what was asked for is not there."
        )
    if "project token not found" in text or "invalid token" in text:
        return bad_token()
    if "two factor authentication required" in text:
        return NotConfigured(
            "The Railway workspace wants two-factor authentication of the token's owner.",
            hint="The owner switches it on in the account's security settings, or an operator uses a project token.",
        )
    if "commit not found" in text:
        return NotFound(
            "Railway does not find that commit in the repository of the service.",
            hint="Push it to the repository that the service is connected to, then deploy again.",
        )
    if "validation" in code.lower() or "cannot query field" in text or "unknown argument" in text:
        return ProviderError(
            "Railway no longer understands what ops-mcp asks: its interface has changed.",
            hint="Update ops-mcp.",
            details={"operation": document.name},
        )
    return _passing(text, code, document) or _missing(text, document)


def _passing(text: str, code: str, document: Document) -> ProviderError | None:
    if "rate limit" in text or "too many requests" in text:
        return ProviderError(
            "railway limits the rate of requests.",
            hint="It takes more in 60 s.",
            temporary=True,
            retry_after_seconds=60.0,
            details={"http_status": 429},
        )
    if code == "INTERNAL_SERVER_ERROR" or any(word in text for word in ("internal server error", "problem processing request")):
        return ProviderError(
            "Railway had a problem of its own.", hint="Try again later.", temporary=True, details={"operation": document.name}
        )
    return None


def _missing(text: str, document: Document) -> NotFound | None:
    return unseen(document) if text.endswith(("not found", "not found.", "does not exist")) else None


def _quoted(text: str, document: Document) -> JsonObject:
    said: JsonObject = {} if document.secret else {"untrusted_message": plain(text, MOST_QUOTED)}
    return {"operation": document.name, **said}
