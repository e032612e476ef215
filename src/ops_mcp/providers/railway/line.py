"""One call's requests to Railway: with one environment's token, at its pace, and counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ops_mcp.domain.releases import Usage
from ops_mcp.errors import DeadlineExceeded, ProviderError
from ops_mcp.ports import Clock, Sleep
from ops_mcp.providers._outside import Outside
from ops_mcp.providers.railway.documents import PROJECT_SCOPE, TOKEN_SCOPE, Document
from ops_mcp.providers.railway.options import TokenKind
from ops_mcp.providers.railway.pace import Pace
from ops_mcp.providers.railway.troubles import NotAuthorized, bad_token, data_of, shut, unseen
from ops_mcp.values import Json, JsonObject, Secret

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
TOO_MANY = 429


@dataclass
class Line:
    """`path` is that of the API's address. `project` is asked for when it must be found out whether a workspace token works."""

    outside: Outside
    path: str
    token: Secret
    kind: TokenKind
    project: str
    pace: Pace
    clock: Clock
    sleep: Sleep
    requests: int = field(default=0, init=False)

    @property
    def headers(self) -> dict[str, str]:
        """A project token goes into a header of its own; every other one is a bearer."""
        token = self.token.get_secret_value()
        return {"Project-Access-Token": token} if self.kind is TokenKind.project else {"Authorization": f"Bearer {token}"}

    @property
    def usage(self) -> Usage:
        return Usage(requests=self.requests)

    async def ask(self, document: Document, variables: Mapping[str, Json]) -> JsonObject:
        """Ask once. A temporary `ProviderError` without HTTP status 429 leaves open whether it was carried out."""
        try:
            return await self._asked(document, variables)
        except NotAuthorized as error:
            raise await self._told_apart(document) from error

    async def ask_patiently(self, document: Document, variables: Mapping[str, Json], *, until: datetime) -> JsonObject:
        """Ask until there is an answer: only for what may be asked, or done, any number of times."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self.ask(document, variables)
            except ProviderError as error:
                if not error.temporary:
                    raise
                await self.rest(error.retry_after_seconds or pause, until=until, because=error)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def rest(self, seconds: float, *, until: datetime, because: ProviderError) -> None:
        """Wait before the next try; raises once there would be none."""
        if self.clock() >= until:
            raise DeadlineExceeded(
                f"Railway could not be asked in time: {because.message}",
                hint="What was begun there goes on; look at `deployment`.",
            ) from because
        await self.sleep(seconds)

    async def _asked(self, document: Document, variables: Mapping[str, Json]) -> JsonObject:
        self._refuse_over_budget()
        self.pace.sent()
        self.requests += 1
        try:
            answer = await self.outside.ask(
                "POST",
                self.path,
                headers=self.headers,
                body={"query": document.text, "variables": dict(variables), "operationName": document.name},
            )
            self.pace.told(answer.headers)
            return data_of(answer, document)
        except ProviderError as error:
            if is_limited(error):
                self.pace.closed(error.retry_after_seconds or LONGEST_PAUSE_SECONDS)
            raise

    def _refuse_over_budget(self) -> None:
        wait = self.pace.must_wait()
        if wait > 0:
            raise ProviderError(
                "The hour's requests to Railway are used up.",
                hint=f"It may be asked again in {wait:.0f} s; a larger plan allows more (hourly_requests).",
                temporary=True,
                retry_after_seconds=wait,
                details={"http_status": TOO_MANY},
            )

    async def _told_apart(self, document: Document) -> Exception:
        """Whether it is the token that Railway does not take, or what was asked for that it does not show."""
        if document is TOKEN_SCOPE:
            return bad_token()
        if document is PROJECT_SCOPE:
            return shut()
        probe, variables = (TOKEN_SCOPE, {}) if self.kind is TokenKind.project else (PROJECT_SCOPE, {"project": self.project})
        try:
            await self._asked(probe, variables)
        except NotAuthorized:
            return bad_token() if self.kind is TokenKind.project else shut()
        return unseen(document)


def is_limited(error: ProviderError) -> bool:
    """Whether Railway put the request off, which says for certain that it was not carried out."""
    return error.details.get("http_status") == TOO_MANY
