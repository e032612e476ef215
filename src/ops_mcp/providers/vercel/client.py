"""One call's conversation with Vercel: its token, team and requests, each endpoint by name. Follows nothing, decides nothing.

Paths, parameters and bodies are those of Vercel's published specification (SDK 1.28.35), each with its own version.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic_core import from_json

from ops_mcp.errors import OpsError, ProviderError
from ops_mcp.providers._outside import Answer, Outside, refuse_failure
from ops_mcp.providers.vercel import answers
from ops_mcp.providers.vercel.answers import Deployed, Event, Project, table
from ops_mcp.providers.vercel.refusals import Asking, refused
from ops_mcp.values import JsonObject, Secret

PAGE = 100
_MOST_PAGES = 20


@dataclass
class Api:
    """`requests` counts what this call sent. Every method raises the translated refusal, or a temporary `ProviderError`."""

    outside: Outside
    token: Secret
    environment: str
    team: str | None
    named: str
    requests: int = field(default=0, init=False)

    async def project(self) -> Project:
        """The project of the binding, by its id or name."""
        answer = await self._ask("GET", f"/v9/projects/{_part(self.named)}", "look at the project")
        found = answers.project(answer.object)
        if not found.id:
            raise unreadable()
        return found

    async def deployment(self, id: str) -> Deployed | None:
        """The deployment; None where there is none that the token can see."""
        answer = await self._ask("GET", f"/v13/deployments/{_part(id)}", "look at a deployment", missing=True)
        return None if answer.status == 404 else _read(answer)

    async def source_of(self, id: str) -> Deployed | None:
        """The same with the commit it was built from."""
        params = {"withGitRepoInfo": "true"}
        answer = await self._ask("GET", f"/v13/deployments/{_part(id)}", "look at a deployment", params=params, missing=True)
        return None if answer.status == 404 else _read(answer)

    async def deployments(self, project: str, *, since: float | None = None, **query: str | int) -> AsyncIterator[Deployed]:
        """The project's deployments, newest first, over all pages."""
        until: float | None = None
        for _ in range(_MOST_PAGES):
            params: dict[str, str | int] = {"projectId": project, "limit": PAGE, **query}
            if since is not None:
                params["since"] = int(since)
            if until is not None:
                params["until"] = int(until)
            answer = await self._ask("GET", "/v7/deployments", "list deployments", params=params)
            for item in answers.items(answer.object.get("deployments")):
                if (found := answers.deployed(table(item))).id:
                    yield found
            until = answers.number(table(answer.object.get("pagination")), "next") or None
            if until is None:
                return
        raise ProviderError(
            "Vercel lists more deployments of this project than are looked through here.",
            hint="Remove old deployments at Vercel, or set a retention policy there, then try again.",
        )

    async def create(self, body: JsonObject) -> Deployed:
        """Make one, whatever similar one there is, and as the project is set. One that got no answer may have been made."""
        params = {"forceNew": "1", "skipAutoDetectionConfirmation": "1"}
        return _read(await self._ask("POST", "/v13/deployments", "create a deployment", params=params, body=body))

    async def cancel(self, id: str) -> bool:
        """Whether Vercel cancelled it; what is built already is not cancelled."""
        answer = await self._ask(
            "PATCH", f"/v12/deployments/{_part(id)}/cancel", "cancel a deployment", missing=True, refusable=(400, 409, 422)
        )
        return answer.status == 200

    async def delete(self, id: str) -> None:
        """Remove it; one that is gone is fine."""
        await self._ask("DELETE", f"/v13/deployments/{_part(id)}", "delete a deployment", missing=True)

    async def events(self, id: str, **query: str | int) -> list[Event]:
        """Lines of its build."""
        answer = await self._ask("GET", f"/v3/deployments/{_part(id)}/events", "read build output", params=query)
        found = (answers.event(table(item)) for item in answers.items(answer.body))
        return [event for event in found if event is not None]

    async def roll_back(self, project: str, id: str) -> None:
        """Ask for it; what comes of it is told by the project's last alias request."""
        await self._ask("POST", f"/v1/projects/{_part(project)}/rollback/{_part(id)}", "roll production back", body={})

    async def promote(self, project: str, id: str) -> bool:
        """Ask for it, likewise. Whether it waits behind a rolling release."""
        path = f"/v10/projects/{_part(project)}/promote/{_part(id)}"
        return (await self._ask("POST", path, "promote a deployment", body={})).status == 202

    async def failed_aliases(self, project: str) -> int:
        """How many of its domains the last promotion or rollback could not move."""
        path, params = f"/v1/projects/{_part(project)}/promote/aliases", {"failedOnly": "true", "limit": PAGE}
        return len(answers.items((await self._ask("GET", path, "look at domains", params=params)).object.get("aliases")))

    async def alias(self, domain: str) -> str:
        """The deployment that a domain leads to, or nothing."""
        answer = await self._ask("GET", f"/v4/aliases/{_part(domain)}", "look at the domain", missing=True)
        return answers.identifier(answer.object, "deploymentId")

    async def assign(self, id: str, domain: str) -> None:
        """Lead a domain to a deployment."""
        await self._ask("POST", f"/v2/deployments/{_part(id)}/aliases", "assign the domain", body={"alias": domain})

    async def variables(self, **query: str) -> JsonObject:
        """The project's variables as they are kept: without `decrypt`, so that encrypted values stay so."""
        answer = await self._ask("GET", f"/v10/projects/{_part(self.named)}/env", "list variables", params=query)
        return answer.object

    async def set_variable(self, body: JsonObject) -> JsonObject:
        """Set one, replacing the one of that name and target. A partial failure is no refusal: it stands in `failed`."""
        path, params = f"/v10/projects/{_part(self.named)}/env", {"upsert": "true"}
        return (await self._ask("POST", path, "set a variable", params=params, body=body)).object

    @asynccontextmanager
    async def runtime_logs(self, project: str, id: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The stream of what the deployment logs, JSON lines, without an end of its own."""
        import httpx2  # 60 ms, and only who reads such logs needs it

        path = f"/v1/projects/{_part(project)}/deployments/{_part(id)}/runtime-logs"
        self.requests, self.outside.requests = self.requests + 1, self.outside.requests + 1
        try:
            async with self.outside.client().stream("GET", path, headers=dict(self.headers), params=self.scope) as found:
                refuse_failure(self.outside.kind, found, self.outside.clock())
                if found.status_code != 200:
                    await found.aread()
                    raise self.refused(_whole(found.status_code, found.headers, found.content), "read runtime logs")
                yield found.aiter_bytes()
        except httpx2.TransportError as error:
            raise ProviderError(
                f"Vercel's stream of logs broke off: {type(error).__name__}.", hint="Try again later.", temporary=True
            ) from error

    @property
    def scope(self) -> dict[str, str | int]:
        """The query that every request carries."""
        if self.team is None:
            return {}
        return {"teamId" if self.team.startswith("team_") else "slug": self.team}

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.token.get_secret_value()}"}

    def refused(self, answer: Answer, doing: str) -> OpsError:
        return refused(answer, Asking(doing, self.environment, self.team, self.named))

    async def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: JsonObject | None = None,
        missing: bool = False,
        refusable: tuple[int, ...] = (),
    ) -> Answer:
        self.requests += 1
        query = {**(params or {}), **self.scope}
        answer = await self.outside.ask(method, path, headers=self.headers, params=query, body=body)
        if answer.status < 300 or (missing and answer.status == 404) or answer.status in refusable:
            return answer
        raise self.refused(answer, doing)


def unreadable() -> ProviderError:
    return ProviderError("Vercel answered something that cannot be read.", hint="Try again later.", temporary=True)


def _read(answer: Answer) -> Deployed:
    found = answers.deployed(answer.object)
    if not found.id:
        raise unreadable()
    return found


def _whole(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    try:
        return Answer(status, headers, from_json(content))
    except ValueError:
        return Answer(status, headers, None)


def _part(name: str) -> str:
    """A part of a path. An answer without the id that is needed for it was no proper answer."""
    if not name:
        raise unreadable()
    return quote(name, safe="")
