"""What Vercel answers, read once: frozen values out of JSON. Unknown fields and values are no errors; odd ones read as absent."""

import re
from datetime import UTC, datetime

from ops_mcp.values import Json, JsonObject, Value

_CODE = re.compile(r"^[A-Za-z0-9_.-]{1,60}$")
_ID = re.compile(r"^[A-Za-z0-9_-]{1,100}$")


class Deployed(Value):
    """One deployment. List items and single objects read the same. Times are in milliseconds since the epoch, as Vercel counts.

    `ours` are the fields of `meta` that ops-mcp wrote.
    """

    id: str
    state: str
    substate: str = ""
    name: str = ""
    project: str = ""
    url: str = ""
    target: str | None = None
    custom: tuple[str, ...] = ()
    assigned: bool = False
    alias_error: str | None = None
    checks: str = ""
    checked: str = ""
    blocked: str = ""
    error_code: str = ""
    error_step: str = ""
    error_text: str = ""
    created: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    meta: dict[str, str] = {}
    commit: str = ""
    subject: str = ""

    @property
    def build_seconds(self) -> float:
        """How long its build took, by Vercel's own times."""
        return max(0.0, (self.ended - self.began) / 1000) if self.began and self.ended else 0.0


class Job(Value):
    """The project's last promotion or rollback: what it moves production to, and how far it is."""

    to: str
    status: str
    at: float
    kind: str

    @property
    def is_open(self) -> bool:
        return self.status in ("pending", "in-progress")


class Project(Value):
    """`production` is what is on production's domains; `link` names the connected repository as a git source needs it.

    `assigns_itself` says that new builds go live by themselves, `rolls` that they do so by stages.
    """

    id: str
    name: str
    production: Deployed | None = None
    job: Job | None = None
    assigns_itself: bool = True
    rolls: bool = False
    environments: dict[str, str] = {}
    link: dict[str, str | int] = {}

    @property
    def serves(self) -> str:
        return self.production.id if self.production is not None else ""


class Event(Value):
    """One line of a build."""

    at: float
    type: str
    text: str = ""
    level: str = ""
    step: str = ""


def deployed(body: JsonObject) -> Deployed:
    meta = words(body.get("meta"))
    error = body.get("aliasError")
    return Deployed(
        id=identifier(body, "id") or identifier(body, "uid"),
        state=text(body, "readyState") or text(body, "state") or text(body, "status"),
        substate=text(body, "readySubstate"),
        name=text(body, "name"),
        project=identifier(body, "projectId"),
        url=text(body, "url"),
        target=text(body, "target") or None,
        custom=_custom(body),
        assigned=_is_set(body.get("aliasAssigned")),
        alias_error=code(table(error), "code") if isinstance(error, dict) else None,
        checks=text(body, "checksState"),
        checked=text(body, "checksConclusion"),
        blocked=code(table(body.get("seatBlock")), "blockCode"),
        error_code=code(body, "errorCode"),
        error_step=code(body, "errorStep"),
        error_text=text(body, "errorMessage"),
        created=number(body, "createdAt") or number(body, "created"),
        began=number(body, "buildingAt"),
        ended=number(body, "ready") or number(body, "buildErrorAt") or number(body, "canceledAt"),
        meta=meta,
        commit=text(table(body.get("gitSource")), "sha") or _meta(meta, "CommitSha"),
        subject=_meta(meta, "CommitMessage"),
    )


def project(body: JsonObject) -> Project:
    production = deployed(table(table(body.get("targets")).get("production")))
    environments = (table(item) for item in items(body.get("customEnvironments")))
    return Project(
        id=identifier(body, "id"),
        name=text(body, "name"),
        production=production if production.id else None,
        job=_job(body.get("lastAliasRequest")),
        rolls=isinstance(body.get("rollingRelease"), dict),
        assigns_itself=body.get("autoAssignCustomDomains") is not False,
        environments={text(item, "slug"): identifier(item, "id") for item in environments},
        link=_link(table(body.get("link"))),
    )


def event(body: JsonObject) -> Event | None:
    """A line of a build in either of its two forms; None for keep-alives and whatever else is no line."""
    inner = table(body.get("payload")) or body
    at = number(body, "created") or number(inner, "created") or number(inner, "date")
    if not at:
        return None
    return Event(
        at=at,
        type=text(body, "type"),
        text=text(inner, "text"),
        level=text(inner, "level"),
        step=code(table(inner.get("info")), "step"),
    )


def text(body: JsonObject, name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""


def number(body: JsonObject, name: str) -> float:
    found = body.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else 0.0


def code(body: JsonObject, name: str) -> str:
    """A word that is short and plain enough to be repeated; anything else is left out."""
    found = text(body, name)
    return found if _CODE.match(found) else ""


def identifier(body: JsonObject, name: str) -> str:
    """An id that may become part of a path."""
    found = text(body, name)
    return found if _ID.match(found) else ""


def table(found: Json) -> JsonObject:
    return found if isinstance(found, dict) else {}


def items(found: Json) -> list[Json]:
    return found if isinstance(found, list) else []


def words(found: Json) -> dict[str, str]:
    return {name: value for name, value in table(found).items() if isinstance(value, str)}


def moment(milliseconds: float) -> datetime | None:
    """Vercel's time as ours; None for none, and for what is no time."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _custom(body: JsonObject) -> tuple[str, ...]:
    found = table(body.get("customEnvironment"))
    return tuple(name for name in (text(found, "id"), text(found, "slug")) if name)


def _is_set(found: Json) -> bool:
    """`aliasAssigned` is true, or the time of it."""
    return found is True or (isinstance(found, int | float) and not isinstance(found, bool) and found > 0)


def _meta(meta: dict[str, str], what: str) -> str:
    """What the git integrations note under names such as `githubCommitSha`."""
    return next((meta[host + what] for host in ("github", "gitlab", "bitbucket") if host + what in meta), "")


def _job(found: Json) -> Job | None:
    body = table(found)
    to = identifier(body, "toDeploymentId")
    if not to:
        return None
    return Job(to=to, status=text(body, "jobStatus"), at=number(body, "requestedAt"), kind=text(body, "type"))


def _link(body: JsonObject) -> dict[str, str | int]:
    numbered = ("repoId", "projectId")
    return {
        name: value
        for name, value in body.items()
        if isinstance(value, str) or (name in numbered and isinstance(value, int) and not isinstance(value, bool))
    }
