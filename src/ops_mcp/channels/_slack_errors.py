"""Slack's errors in ours. Nothing of a token or a message is repeated."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.error import URLError

from ops_mcp.errors import (
    InvalidArguments,
    NotConfigured,
    NotFound,
    NotPermitted,
    OpsError,
    ProviderError,
    RateLimited,
    Unauthenticated,
)

_USUAL_WAIT = 30.0
_UNFIT = frozenset({"msg_too_long", "msg_blocks_too_long", "invalid_blocks", "invalid_attachments", "no_text", "invalid_payload"})
_TOKEN = frozenset({"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "org_login_required"})
_ABSENT = frozenset({"is_archived", "message_not_found", "thread_not_found", "cant_update_message"})
_PASSING = frozenset({"fatal_error", "internal_error", "service_unavailable", "request_timeout", "team_added_to_org"})


def translated(error: Exception) -> OpsError:
    """What went wrong. What may have arrived all the same is a `ProviderError` that is not temporary."""
    response: Any = getattr(error, "response", None)
    if response is not None and hasattr(response, "status_code"):
        given: Any = response.data
        data = cast(Mapping[str, Any], given if isinstance(given, dict) else {})
        return of_answer(int(response.status_code), cast(Mapping[str, str], response.headers), data)
    if isinstance(error, URLError) and isinstance(error.reason, ConnectionRefusedError):
        return ProviderError("Slack cannot be reached.", hint="Check the network.", temporary=True)
    if isinstance(error, URLError) and type(error.reason).__name__ == "gaierror":
        return ProviderError("Slack's host name cannot be resolved.", hint="Check the network.", temporary=True)
    return ProviderError(f"Slack's answer was lost ({type(error).__name__}); the message may have arrived.")


def of_answer(status: int, headers: Mapping[str, str], data: Mapping[str, Any]) -> OpsError:
    """An answer that says no. Slack says nearly everything with HTTP 200 and a word."""
    word = str(data.get("error", ""))[:60]
    if status == 429 or word in ("ratelimited", "rate_limited"):
        return RateLimited("Slack limits the rate.", retry_after_seconds=_wait(headers))
    if status >= 500 or word in _PASSING:
        return ProviderError(f"Slack answered {word or f'HTTP {status}'}; the message may have arrived.")
    return _refusal(word, str(data.get("needed", ""))[:200], status)


def _refusal(word: str, needed: str, status: int) -> OpsError:
    """A word that says that the message was certainly not taken."""
    if word in _TOKEN:
        return Unauthenticated(f"Slack refuses the bot token ({word}).", hint="Set it again: ops-mcp secret set NAME")
    if word == "channel_not_found":
        hint = "Check the channel in config.toml. A private one is not seen before somebody there types: /invite @the-bot"
        return NotFound(f"Slack answers {word}.", hint=hint)
    if word in _ABSENT:
        return NotFound(f"Slack answers {word}.", hint="Check the channel in config.toml.")
    if word in _UNFIT:
        return InvalidArguments(f"Slack does not take this message ({word}).")
    match word:
        case "not_in_channel":
            return NotPermitted("The bot is not in this channel.", hint="In Slack, in the channel: /invite @the-bot")
        case "missing_scope":
            return NotPermitted(f"The bot token lacks the scope {needed}.", hint="Add it to the app, and install it again.")
        case "restricted_action":
            return NotPermitted("The workspace does not let the bot post there.", hint="Ask the workspace's administrators.")
        case _:
            return NotConfigured(f"Slack answers {word or f'HTTP {status}'}.", hint="See: ops-mcp doctor")


def _wait(headers: Mapping[str, str]) -> float:
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    value = text[0] if isinstance(text, list) and text else text
    return float(str(value)[:6]) if str(value).isdigit() else _USUAL_WAIT
