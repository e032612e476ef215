"""Whom a message of an agent reaches: the operator's names of channels and routes, and nothing else."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pydantic import Field

from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Value

if TYPE_CHECKING:  # start-up has a bar, and the settings name routes
    from ops_mcp.governance.pacing import ChannelTerms

Urgency: TypeAlias = Literal["critical", "high", "medium", "low", "info"]
URGENCIES: tuple[Urgency, ...] = ("critical", "high", "medium", "low", "info")
"""Worst first."""


class Route(Value):
    """A name for who is to be told: its channels, of what is at least as bad as `floor`."""

    channels: tuple[str, ...] = Field(default=(), max_length=20)
    floor: Urgency = "info"


class TellTerms(Value):
    """`wait_seconds` is how long `notify` waits for its delivery before it answers that it waits."""

    wait_seconds: float = Field(default=5.0, ge=0, le=30)


class Recipients(NamedTuple):
    """Channels in the order of the names, each once; `notes` say which names reach nobody this time."""

    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()


def recipients(
    names: Iterable[str], severity: Urgency, environment: str, channels: "Mapping[str, ChannelTerms]", routes: Mapping[str, Route]
) -> Recipients:
    """The channels that the names mean. Raises `InvalidArguments` for a name that an agent may not use from there, naming those
    it may, and where nobody would be told."""
    usable = [name for name, terms in channels.items() if _is_open(terms, environment)]
    found: dict[str, None] = {}
    notes: list[str] = []
    for name in names:
        if name in usable:
            found[name] = None
        elif name in routes:
            reached, note = _reached(name, routes[name], severity, usable)
            found |= dict.fromkeys(reached)
            notes += note
        else:
            known = ", ".join((*usable, *routes)) or "none; an operator adds them to config.toml"
            raise _invalid("One of them is no channel that an agent may use from this environment.", f"Names: {known}.")
    if not found:
        raise _invalid("Nobody would be told.", " ".join(notes))
    return Recipients(tuple(found), tuple(notes))


def told(names: Iterable[str], severity: str, routes: Mapping[str, Route]) -> tuple[str, ...]:
    """Channels for what ops-mcp itself has to say: routes among the names stand for their channels, from their floor on."""
    found: dict[str, None] = {}
    for name in names:
        route = routes.get(name)
        if route is None:
            found[name] = None
        elif _rank(severity) <= _rank(route.floor):
            found |= dict.fromkeys(route.channels)
    return tuple(found)


def _is_open(terms: "ChannelTerms", environment: str) -> bool:
    return terms.agents and (not terms.environments or environment in terms.environments)


def _reached(name: str, route: Route, severity: Urgency, usable: Iterable[str]) -> tuple[list[str], list[str]]:
    if _rank(severity) > _rank(route.floor):
        return [], [f"The route {name} takes what is {route.floor} or worse."]
    reached = [channel for channel in route.channels if channel in usable]
    return reached, [] if reached else [f"The route {name} leads to no channel that an agent may use from here."]


def _rank(severity: str) -> int:
    return next((rank for rank, known in enumerate(URGENCIES) if known == severity), len(URGENCIES))


def _invalid(message: str, hint: str) -> InvalidArguments:
    return InvalidArguments(f"channels: {message}", hint=hint, details={"fields": ["channels"]})
