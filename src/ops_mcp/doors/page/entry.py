"""The paths of the approval page: who may see it, which forms are ours, and what an answer does."""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from ops_mcp.doors._guests import STATUS, Visitors
from ops_mcp.doors.ordering import Hand, Orders
from ops_mcp.doors.page import views
from ops_mcp.doors.page.gathering import gathered
from ops_mcp.doors.page.look import HEADERS
from ops_mcp.doors.page.sessions import PATH, Entered, Sessions
from ops_mcp.errors import Code, Conflict, InvalidArguments, NotFound, NotPermitted, OpsError, Problem
from ops_mcp.governance import tickets
from ops_mcp.governance.approvals import Decision
from ops_mcp.operator.verbs import Note
from ops_mcp.startup import Opened
from ops_mcp.store.people import StoredApproval, stored_approval
from ops_mcp.web import read_body

MOST_BYTES = 16_384
_LOCK = "lock"
_NOTE: TypeAdapter[str] = TypeAdapter(Note)
Fields = Mapping[str, str]


class Page:
    """Each method answers one path."""

    def __init__(self, opened: Opened, visitors: Visitors) -> None:
        self._opened = opened
        self._visitors = visitors
        self._sessions = Sessions(opened.database, opened.config.settings.http, opened.app.clock)
        self._orders = Orders(opened)

    async def overview(self, request: Request) -> Response:
        entered = await self._sessions.of(request)
        if entered is None:
            return views.locked()
        found = await gathered(self._opened)
        return views.overview(found, entered.delegation, entered.csrf(_LOCK))

    async def ask_to_unlock(self, request: Request) -> Response:
        """Uses nothing up: that takes the form."""
        ticket = request.query_params.get("ticket", "")
        return views.unlocking(ticket, tickets.read(ticket, at=self._opened.app.clock()))

    async def unlock(self, request: Request) -> Response:
        fields = await _fields(request)
        response = _see(PATH)
        await self._sessions.unlock(fields.get("ticket", ""), response)
        return response

    async def lock(self, request: Request) -> Response:
        fields, entered = await _fields(request), await self._sessions.of(request)
        response = _see(PATH)
        if entered is not None:
            _require_own(entered, fields, _LOCK)
            await self._sessions.lock(entered, response)
        return response

    async def one(self, request: Request) -> Response:
        entered = await self._sessions.of(request)
        if entered is None:
            return views.locked()
        return self._shown(entered, await self._stored(request), None)

    async def answer(self, request: Request) -> Response:
        """Approve or deny exactly the plan that the form was shown with."""
        fields, entered = await _fields(request), await self._sessions.of(request)
        if entered is None:
            return views.locked()
        stored = await self._stored(request)
        _require_own(entered, fields, _purpose(stored))
        try:
            await self._answered(stored, fields, entered)
        except OpsError as error:
            return self._shown(entered, await self._stored(request), error.problem)
        return _see(f"{PATH}/approvals/{stored.approval.id}")

    async def _answered(self, stored: StoredApproval, fields: Fields, entered: Entered) -> None:
        if fields.get("plan") != stored.approval.plan_digest:
            raise Conflict("The plan is not the one that was shown.", hint="Look at it again before you answer.")
        if fields.get("decision") not in list(Decision):
            raise InvalidArguments("decision: approve or deny.", hint="Press one of the two buttons.")
        hand = Hand(entered.operator, "page", entered.delegation.model_dump_json())
        run = fields.get("run") == "yes"
        await self._orders.answer(stored, Decision(fields["decision"]), hand, run=run, note=_note(fields))

    async def _stored(self, request: Request) -> StoredApproval:
        stored = await stored_approval(self._opened.database, str(request.path_params["id"])[:100])
        if stored is None:
            raise NotFound("There is no such approval.", hint="See what waits on the first page.")
        return stored

    def _shown(self, entered: Entered, stored: StoredApproval, problem: Problem | None) -> Response:
        tokens = entered.csrf(_purpose(stored)), entered.csrf(_LOCK)
        return views.one(stored, entered.delegation, tokens, self._opened.app.clock(), problem)

    def path(self, answer: Callable[[Request], Awaitable[Response]]) -> "_Path":
        """The ASGI side of one of the methods."""
        return _Path(answer, self._visitors)


class _Path:
    """Refuses forms from elsewhere, and says problems as a page."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]], visitors: Visitors) -> None:
        self._answer = answer
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if request.method == "POST":
                _require_here(request)
            response = await self._answer(request)
        except OpsError as error:
            response = views.failed(error.problem, STATUS.get(error.code, 500))
            if error.code is Code.not_permitted:
                await self._visitors.turned_away(request.client.host if request.client else "")
        await response(scope, receive, send)


def _require_here(request: Request) -> None:
    """A form of this very host and port. That a cookie is `SameSite` keeps another port of this machine out no more than another
    name of this site."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    if origin is None or urlsplit(origin).netloc != request.headers.get("host") or site != "same-origin":
        raise NotPermitted("This form does not come from this page.", hint="Open the page, and answer there.")


def _require_own(entered: Entered, fields: Fields, purpose: str) -> None:
    if not entered.is_own(fields.get("csrf", ""), purpose):
        raise NotPermitted("This form is not of your session.", hint="Open the page again, and answer there.")


def _purpose(stored: StoredApproval) -> str:
    return f"answer {stored.approval.id} {stored.approval.plan_digest}"


async def _fields(request: Request) -> Fields:
    """The fields of a form, each once. Raises `InvalidArguments` for a body that is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request.receive, MOST_BYTES)
    if kind != "application/x-www-form-urlencoded" or isinstance(body, Response):
        raise InvalidArguments("This is no form of ours, or one that is too large.", hint="Open the page again.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError as error:
        raise InvalidArguments("This form cannot be read.", hint="Open the page again.") from error
    if len(dict(pairs)) != len(pairs):
        raise InvalidArguments("A field of this form is there twice.", hint="Open the page again.")
    return dict(pairs)


def _note(fields: Fields) -> str:
    """One line: a textarea sends its line breaks."""
    try:
        return _NOTE.validate_python(" ".join(fields.get("note", "").split()))
    except ValidationError as error:
        raise InvalidArguments(f"The note is longer than {views.LONGEST_NOTE} characters.", hint="Say it shorter.") from error


def _see(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers=dict(HEADERS))
