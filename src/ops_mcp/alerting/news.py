"""What operators are told of ops-mcp's own ledger: scores that fall, budgets near their end, refusals, hosts under load, and
what a service's supervision leaves to a person. Each is told once; a refused agent once an hour, and once more if it insists.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ops_mcp.alerting.severity import Severity
from ops_mcp.values import JsonObject, Value

LOW_SCORE = 70
INSISTS, INSISTS_WITHIN = 5, timedelta(minutes=10)
QUIET = timedelta(hours=1)
_MOST_EVENTS, _MOST_AGENTS = 5, 1_000

KINDS = frozenset(
    {"agent.scored", "budget.crossed", "call.refused", "call.refused_many", "call.settled", "operation.escalated", "guard.level"}
)
"""The records that may be news."""

_LEVELS = {"critical": Severity.high, "emergency": Severity.critical}


class Entry(NamedTuple):
    """One record of the ledger, as far as it may be news."""

    number: int
    kind: str
    at: datetime
    caller: str = ""
    tool: str = ""
    environment: str = ""
    service: str = ""
    code: str = ""
    data: JsonObject = {}


class Known(Value):
    """What is remembered of one agent: its last changes of score, when it was refused, and when that was told of it, as an
    occasion (`told`) and as insisting (`insisted`)."""

    scores: tuple[str, ...] = ()
    refused: tuple[datetime, ...] = ()
    told: datetime | None = None
    insisted: datetime | None = None


class News(NamedTuple):
    """One thing to tell. `id` is the same whenever the record is read again; `thread` keeps together what is about one thing."""

    id: str
    thread: str
    severity: Severity
    title: str
    text: str
    at: datetime


class Told(NamedTuple):
    """What is to be told, and what is remembered afterwards."""

    news: tuple[News, ...]
    agents: Mapping[str, Known]


def news(entries: Sequence[Entry], agents: Mapping[str, Known]) -> Told:
    """Go on from what is remembered of the agents, over these records, oldest first."""
    known = dict(agents)
    found: list[News] = []
    for entry in entries:
        match entry.kind:
            case "agent.scored":
                found += _scored(entry, known)
            case "budget.crossed":
                found.append(_crossed(entry))
            case "operation.escalated":
                where = f"{entry.service} in {entry.environment}"
                text = "It was restarted as often as may be, or cannot be. `ops-mcp status` and the ledger say more."
                found.append(_news(entry, f"service {where}", Severity.high, f"{where} is left to a person", text))
            case "guard.level":
                found += _loaded(entry)
            case _:
                found += _refused(entry, known)
    # Whoever was heard of last is remembered longest.
    return Told(tuple(found), dict(list(known.items())[-_MOST_AGENTS:]))


def _scored(entry: Entry, known: dict[str, Known]) -> list[News]:
    after, points = _number(entry.data, "score"), _number(entry.data, "points")
    before = known.pop(entry.caller, Known())
    said = f"{entry.at:%Y-%m-%d %H:%M} {points:+d}, to {after}"
    known[entry.caller] = before.evolve(scores=(*before.scores, said)[-_MOST_EVENTS:])
    if not after < LOW_SCORE <= after - points:
        return []
    text = f"Its score fell below {LOW_SCORE}. Last changes: {'; '.join(known[entry.caller].scores)}."
    return [_news(entry, f"agent {entry.caller}", Severity.medium, f"The agent {entry.caller} has a score of {after}", text)]


def _crossed(entry: Entry) -> News:
    percent = _number(entry.data, "percent")
    severity = Severity.critical if percent >= 95 else Severity.medium
    scope, window, currency = (str(entry.data.get(name, "")) for name in ("scope", "window", "currency"))
    text = f"{percent} % of the {currency} of {scope} in {window} are used. `ops-mcp budget show` says what is left."
    return _news(entry, f"budget {scope}", severity, f"A budget of {entry.caller} is {percent} % used", text)


def _loaded(entry: Entry) -> list[News]:
    host, level = str(entry.data.get("host", "")), str(entry.data.get("to", ""))
    severity = _LEVELS.get(level)
    if severity is None and str(entry.data.get("from", "")) not in _LEVELS:
        return []
    held = "Changes there are held up." if severity is not None else "Changes there are taken again."
    return [_news(entry, f"host {host}", severity or Severity.low, f"The load of {host} is {level.upper()}", held)]


def _refused(entry: Entry, known: dict[str, Known]) -> list[News]:
    """Each agent once an hour, and once more an hour when it was refused five times within ten minutes."""
    if entry.code != "not_permitted" and entry.kind != "call.refused_many":
        return []
    before = known.pop(entry.caller, Known())
    times = _number(entry.data, "refused") if entry.kind == "call.refused_many" else 1
    recent = [at for at in before.refused if entry.at - at < INSISTS_WITHIN]
    recent = [*recent, *[entry.at] * min(times, INSISTS)][-INSISTS:]
    insists = len(recent) >= INSISTS and _is_over(before.insisted, entry.at)
    tells = insists or _is_over(before.told, entry.at)
    known[entry.caller] = before.evolve(
        refused=tuple(recent),
        told=entry.at if tells else before.told,
        insisted=entry.at if insists else before.insisted,
    )
    if not tells:
        return []
    severity = Severity.high if insists else Severity.low
    often = f"{INSISTS} times or more within {INSISTS_WITHIN.seconds // 60} minutes" if insists else "once"
    what = f"Last: {entry.tool or 'a tool'}{f' in {entry.environment}' if entry.environment else ''}."
    title = f"{entry.caller} was refused {often}"
    return [_news(entry, f"agent {entry.caller}", severity, title, f"{what} `ops-mcp audit search` says what it asked for.")]


def _is_over(told: datetime | None, at: datetime) -> bool:
    return told is None or at - told >= QUIET


def _number(data: JsonObject, name: str) -> int:
    found = data.get(name)
    return found if isinstance(found, int) else 0


def _news(entry: Entry, thread: str, severity: Severity, title: str, text: str) -> News:
    return News(f"ledger {entry.number}", thread, severity, title, text, entry.at)


__all__ = ["INSISTS", "KINDS", "LOW_SCORE", "Entry", "Known", "News", "Told", "news"]
