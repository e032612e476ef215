"""What an engine says went wrong, in our errors. Its own words are from strangers: bounded, cleaned, and without known values."""

import re
from collections.abc import Callable, Collection

from ops_mcp.errors import Conflict, NotConfigured, NotFound, OpsError, ProviderError
from ops_mcp.providers._mirror import cleaned
from ops_mcp.values import JsonObject

_MOST = 300
_SHORTEST_HIDDEN = 4


class EngineAway(ProviderError):
    """The engine gave no answer, or is going down or coming up. What it was asked to do may have been done."""

    def __init__(self, why: str, *, details: JsonObject | None = None) -> None:
        super().__init__(
            f"The Docker engine cannot be asked: {why}.",
            hint="See that it runs and that its address in [providers.docker] is right; ops-mcp then goes on by itself.",
            temporary=True,
            details=details,
        )


def translated(status: int, message: str, *, doing: str, hide: Collection[str] = ()) -> OpsError:
    """The error for an answer of 400 and above. `hide` are values that must not be said even if the engine quotes them."""
    said: JsonObject = {"untrusted_output": shown(message, hide), "http_status": status}
    if status in (502, 503, 504) or (status >= 500 and _GOING_AWAY.search(message)):
        return EngineAway(f"it answered HTTP {status} while asked for {doing}", details=said)
    for words, meant in _BY_WORDS:
        if words.search(message):
            return meant(said)
    match status:
        case 404:
            return NotFound(f"The engine has nothing for {doing}.", hint="It was removed, or never there.", details=said)
        case 409:
            return Conflict(
                f"The engine refuses {doing}: it conflicts with what is there.",
                hint="Look at the engine's containers, then try again.",
                details=said,
            )
        case 401 | 403:
            return NotConfigured(
                f"The engine does not allow {doing}.",
                hint="An authorization plugin, or a registry's login: see [providers.docker] registry_credentials.",
                details=said,
            )
        case _:
            return ProviderError(
                f"The engine answered HTTP {status} to {doing}.",
                hint="Its words are in details; its own log tells more.",
                temporary=status >= 500,
                details=said,
            )


def not_understood(doing: str) -> ProviderError:
    """An answer that is not of the published form."""
    return ProviderError(f"The engine's answer to {doing} is not understood.", hint="Its version may be too new or too old.")


def cannot_read_logs(message: str) -> bool:
    return bool(_NO_READING.search(message))


def shown(message: str, hide: Collection[str] = ()) -> str:
    """The engine's words as they may be shown."""
    for value in sorted(hide, key=len, reverse=True):
        if len(value) >= _SHORTEST_HIDDEN:
            message = message.replace(value, "[…]")
    return cleaned(message, _MOST)


def _port_taken(said: JsonObject) -> OpsError:
    return ProviderError(
        "The container was not started: its port of the host is taken by something else.",
        hint="End what holds the port, or give the service another host_port, or none.",
        details=said,
    )


def _no_program(said: JsonObject) -> OpsError:
    return ProviderError(
        "The container was not started: the image has no program that its command names, or none that runs here.",
        hint="Correct command in the binding, or the image; it may be built for another processor.",
        details=said,
    )


def _no_network(said: JsonObject) -> OpsError:
    return NotConfigured(
        "The engine has no network of the name that the service is to join.",
        hint="Make it: `docker network create NAME`. Networks of a compose project are made by `docker compose create`.",
        details=said,
    )


def _no_mount(said: JsonObject) -> OpsError:
    return NotConfigured(
        "A path that is to be mounted is not there on the engine's host.",
        hint="Make the directory, or correct options.mounts.",
        details=said,
    )


def _other_version(said: JsonObject) -> OpsError:
    """Only an engine that was replaced while we know the old one's version says so."""
    return EngineAway("it speaks another version of its API than before", details=said)


_GOING_AWAY = re.compile(
    r"shutting down|transport is closing|connection refused|context canceled|containerd.*(unavailable|closed)|code = Unavailable"
    r"|grpc: the (client )?connection is closing|closed network connection|i/o timeout",
    re.IGNORECASE,
)
_NO_READING = re.compile(r"does not support reading", re.IGNORECASE)
_BY_WORDS: tuple[tuple[re.Pattern[str], Callable[[JsonObject], OpsError]], ...] = tuple(
    (re.compile(words, re.IGNORECASE), meant)
    for words, meant in (
        (r"port is already allocated|address already in use|ports are not available", _port_taken),
        (
            r"executable file not found|exec format error|exec: .*no such file or directory|exec: .*permission denied",
            _no_program,
        ),
        (r"network \S+ not found|could not find a network|no such network", _no_network),
        (r"bind source path does not exist", _no_mount),
        (r"client version .* is too (new|old)", _other_version),
    )
)
