"""Alerts from elsewhere over HTTP: each source posts to its own path with its own token. `alerting` judges what they say."""

import hashlib
import hmac
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import anyio.to_thread
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.inbound import MOST_BYTES, Inbound, read_alerts
from ops_mcp.alerting.settings import AlertTerms, SourceTerms
from ops_mcp.domain.identity import Token
from ops_mcp.domain.outcomes import Record
from ops_mcp.errors import Code, InvalidArguments, OpsError, Problem
from ops_mcp.governance import rates
from ops_mcp.governance.redaction import Redactor
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.secrets import Secrets
from ops_mcp.startup import Opened
from ops_mcp.store import alerts as stored
from ops_mcp.store.database import Database, Transaction
from ops_mcp.values import JsonObject
from ops_mcp.web import Credentials, bearer, read_body

log = logging.getLogger(__name__)

PATH = "/alerts/{source}"
_MOST_NAMED = 20
_MOST_DIGITS = 18
_STATUS = {Code.invalid_arguments: 400, Code.unavailable: 503}


def routes(opened: Opened, credentials: Credentials) -> Sequence[Route]:
    """One path for all sources; nothing where none is configured."""
    terms = opened.config.settings.alerts
    if not terms.sources:
        return ()
    app = opened.app
    keep = Keeping(opened.database, terms, app.redactor, app.wake_worker)
    most = min(MOST_BYTES, opened.config.settings.http.max_body_bytes)
    door = AlertDoor(terms.sources, Secrets(opened.config.config_dir).read, credentials, keep, app.clock, most)
    return (Route(PATH, endpoint=door, methods=["POST"]),)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Alerts into the store, and a record of them into the ledger, in one transaction."""

    database: Database
    terms: AlertTerms
    redactor: Callable[[], Redactor]
    wake_worker: Callable[[], None]

    async def __call__(self, body: bytes, source: SourceTerms, at: datetime) -> Inbound:
        """What was taken. Raises `InvalidArguments` for a body of which nothing can be, `Unavailable` where it cannot be kept."""
        redactor = self.redactor()
        # Up to a megabyte from a stranger: calls of others go on meanwhile.
        found = await anyio.to_thread.run_sync(_read, body, source, at, redactor)
        if found.left_out and not found.alerts:
            raise InvalidArguments(f"None of the alerts could be taken: {'; '.join(found.notes)}.")

        def unit(tx: Transaction) -> int:
            beyond = stored.receive(tx, found.alerts, at=at, routes=self.terms.routes)
            tx.record(_record(found, source, beyond, at))
            return beyond

        beyond = await self.database.write(unit)
        self.wake_worker()
        return found._replace(left_out=found.left_out + beyond) if beyond else found


@dataclass
class AlertDoor:
    """Lets a source in by its token, within its rate, with a bounded body. Nobody learns here which sources there are."""

    sources: Mapping[str, SourceTerms]
    secret: ReadSecret
    credentials: Credentials
    keep: Callable[[bytes, SourceTerms, datetime], Awaitable[Inbound]]
    clock: Clock
    max_bytes: int
    _levels: dict[str, tuple[float, datetime]] = field(default_factory=dict[str, tuple[float, datetime]], init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        source, at = self._known(str(scope["path_params"]["source"]), bearer(scope)), self.clock()
        if source is None:
            client = scope.get("client")
            await self.credentials.turned_away(client[0] if client else "")
            return _refused(_UNKNOWN, 401, {"WWW-Authenticate": 'Bearer realm="ops-mcp"'})
        wait = self._taken(source, at)
        if wait:
            return _refused(_too_many(wait), 429, {"Retry-After": str(math.ceil(wait))})
        if _announced(scope) > self.max_bytes:
            return Response("Request body too large", status_code=413)
        body = await read_body(receive, self.max_bytes)
        if isinstance(body, Response):
            return body
        try:
            found = await self.keep(body, source, at)
        except OpsError as error:
            log.warning("alerts of the source %s were not taken: %s", source.name, error.message)
            return _refused(error.problem, _STATUS.get(error.code, 500), {})
        return JSONResponse({"accepted": len(found.alerts), "left_out": found.left_out, "notes": list(found.notes)})

    def _known(self, name: str, token: Token | None) -> SourceTerms | None:
        """The source, if the token is its own. A source that is not there takes as long as one whose token is wrong."""
        source = self.sources.get(name)
        other = next(iter(self.sources.values()))
        try:
            wanted = self.secret((source or other).token).get_secret_value()
        except OpsError as error:
            log.error("the source %s cannot be let in: %s", (source or other).name, error.message)  # noqa: TRY400  # expected
            return None
        given = token.secret.get_secret_value() if token is not None else ""
        is_same = hmac.compare_digest(_digest(given), _digest(wanted))
        return source if is_same and given else None

    def _taken(self, source: SourceTerms, at: datetime) -> float:
        """Take one request from the source's bucket; seconds until the next one fits where it is empty."""
        terms = (source.per_minute, source.burst)
        level, since = self._levels.get(source.name, (float(source.burst), at))
        state = rates.refilled(level, since=since, at=at, per_minute=terms[0], burst=terms[1])
        if not rates.allows(state):
            return rates.seconds_until_next(state)
        self._levels[source.name] = (rates.taken(state), at)
        return 0.0


def _read(body: bytes, source: SourceTerms, at: datetime, redactor: Redactor) -> Inbound:
    found = read_alerts(body, source, at)
    return found._replace(alerts=tuple(redacted(alert, redactor) for alert in found.alerts))


def redacted(alert: Alert, redactor: Redactor) -> Alert:
    """The alert without secrets. Its fingerprint is of the labels as they came, so it stays the same alert."""

    def clean(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        fields: JsonObject = {**dict(pairs)}
        cleaned = redactor.value(fields)
        return tuple((name, str(text)) for name, text in cleaned.items()) if isinstance(cleaned, dict) else ()

    service = alert.service if alert.service and redactor.text(alert.service) == alert.service else None
    name = redactor.text(alert.name)
    return alert.evolve(name=name, service=service, labels=clean(alert.labels), annotations=clean(alert.annotations))


def _record(found: Inbound, source: SourceTerms, beyond: int, at: datetime) -> Record:
    firing = sum(alert.is_firing(at) for alert in found.alerts)
    data: JsonObject = {
        "source": source.name,
        "firing": firing,
        "ended": len(found.alerts) - firing,
        "left_out": found.left_out + beyond,
        "notes": [*found.notes],
        "untrusted_names": [alert.name for alert in found.alerts[:_MOST_NAMED]],
        "fingerprints": [alert.fingerprint for alert in found.alerts[:_MOST_NAMED]],
    }
    caller = f"source:{source.name}"
    return Record(kind="alerts.received", at=at, caller=caller, environment=source.environment, data=data)


def _announced(scope: Scope) -> int:
    """The length that the request says its body has; 0 where it says none."""
    said = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(said[0][:_MOST_DIGITS]) if len(said) == 1 and said[0].isdigit() else 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _refused(problem: Problem, status: int, headers: dict[str, str]) -> Response:
    return JSONResponse(problem.json_value(), status_code=status, headers=headers)


def _too_many(wait: float) -> Problem:
    return Problem(
        code=Code.rate_limited,
        message="This source sends more requests than it may.",
        hint="Send several alerts in one request, or have the operator raise per_minute of this source.",
        retryable=True,
        retry_after_seconds=wait,
    )


_UNKNOWN = Problem(
    code=Code.unauthenticated,
    message="There is no such source, or this is not its token.",
    hint="Send 'Authorization: Bearer TOKEN' to /alerts/SOURCE. An operator configures [alerts.sources.SOURCE].",
)
