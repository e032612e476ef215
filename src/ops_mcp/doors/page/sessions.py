"""Who looks at the page: tickets become sessions, cookies are known, and forms carry what only their own page could know."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ops_mcp.config import Http
from ops_mcp.domain.identity import Operator
from ops_mcp.governance import tickets
from ops_mcp.governance.attesting import Delegation
from ops_mcp.ports import Clock
from ops_mcp.store.database import Database
from ops_mcp.store.people import token_hash
from ops_mcp.store.sessions import end_session, open_session, session_of

PATH = "/page"
_LONGEST = 200


class Entered(NamedTuple):
    """A session as one request has it. `secret` is the cookie's."""

    operator: Operator
    delegation: Delegation
    secret: str

    def csrf(self, purpose: str) -> str:
        """What a form of this session for this purpose carries: nobody else can make it, and it serves no other form."""
        return hmac.new(self.secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()

    def is_own(self, given: str, purpose: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self.csrf(purpose).encode())


class Sessions:
    """Sessions of one server. Another one of the same database knows them too."""

    def __init__(
        self, database: Database, http: Http, clock: Clock, new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    ) -> None:
        self._database = database
        self._http = http
        self._clock = clock
        self._new_secret = new_secret

    @property
    def cookie(self) -> str:
        """A name that browsers accept only with `Secure`, for the whole host, where there is TLS."""
        return "__Host-ops_mcp_page" if self._http.tls else "ops_mcp_page"

    async def unlock(self, ticket: str, response: Response) -> None:
        """Exchange a ticket, once. Raises `OpsError` for one that opens nothing."""
        at = self._clock()
        delegation, secret = tickets.read(ticket, at=at), self._new_secret()
        await self._database.write(lambda tx: open_session(tx, delegation, token_hash(secret), at=at))
        seconds = int((delegation.until - at).total_seconds())
        self._set(response, secret, seconds)

    async def of(self, request: Request) -> Entered | None:
        """The session that this request's cookie names."""
        secret = request.cookies.get(self.cookie, "")
        if not secret or len(secret) > _LONGEST:
            return None
        found = await session_of(self._database, token_hash(secret), self._clock())
        return Entered(found.operator, found.delegation, secret) if found else None

    async def lock(self, entered: Entered, response: Response) -> None:
        at = self._clock()
        await self._database.write(lambda tx: end_session(tx, token_hash(entered.secret), entered.delegation, at=at))
        self._set(response, "", 0)

    def _set(self, response: Response, secret: str, seconds: int) -> None:
        path = "/" if self._http.tls else PATH
        response.set_cookie(
            self.cookie, secret, max_age=seconds, path=path, secure=self._http.tls, httponly=True, samesite="strict"
        )
