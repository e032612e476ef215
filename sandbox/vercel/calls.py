"""One request to the simulator: who asks, in whose scope, and the answers that Vercel has for what is wrong with it."""

import json
from dataclasses import dataclass

from starlette.requests import Request

from sandbox.vercel.world import Deployment, Project, Token, World

Body = dict[str, object]
PERSONAL = "user_olga"


class Problem(Exception):
    """An error answer."""

    def __init__(
        self, status: int, code: str, message: str = "", *, headers: dict[str, str] | None = None, **extra: object
    ) -> None:
        super().__init__(code)
        self.status = status
        self.body: Body = {"error": {"code": code, "message": message or code, **extra}}
        self.headers = headers or {}


@dataclass
class Call:
    """A request that was let in. `owner` is whose account or team it is about."""

    request: Request
    world: World
    token: Token
    owner: str
    body: Body

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, name: str) -> str | None:
        return self.request.query_params.get(name)

    def number(self, name: str) -> float | None:
        found = self.query(name)
        try:
            return float(found) if found is not None else None
        except ValueError as error:
            raise Problem(400, "bad_request", f"{name} must be a number") from error

    def project(self, named: str) -> Project:
        found = self.world.found_project(named, self.owner)
        if found is None:
            raise Problem(404, "not_found", "Project not found")
        return found

    def deployment(self, named: str) -> Deployment:
        for found in self.world.deployments.values():
            if named in (found.id, self.world.url(found)) and self.world.projects[found.project].owner == self.owner:
                if found.deleted is not None:
                    raise Problem(404, "not_found", "The deployment was deleted")
                return found
        raise Problem(404, "not_found", "The deployment could not be found")


async def admitted(request: Request, world: World) -> Call:
    """Who asks, and in which scope. Without a team it is the personal account, which has none of the team's projects."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value:
        raise Problem(401, "unauthorized", "Authentication is required")
    token = world.tokens.get(value)
    if token is None:
        raise Problem(403, "forbidden", "Not authorized", invalidToken=True)
    owner = _owner(request, world, token)
    if token.reads_only and request.method != "GET":
        raise Problem(403, "forbidden", "You don't have permission to do this")
    return Call(request, world, token, owner, await _body(request))


def _owner(request: Request, world: World, token: Token) -> str:
    id, slug = request.query_params.get("teamId"), request.query_params.get("slug")
    if id is None and slug is None:
        if not token.personal:
            raise Problem(403, "forbidden", "The token is limited to a team")
        return PERSONAL
    team = next((t for t in world.teams.values() if id == t.id or (id is None and slug == t.slug)), None)
    if team is None or team.id not in token.teams:
        raise Problem(403, "forbidden", "Not authorized: the token has no access to this team")
    if token.needs_saml:
        raise Problem(403, "forbidden", "SAML is required", saml=True, teamId=team.id)
    return team.id


async def _body(request: Request) -> Body:
    raw = await request.body()
    try:
        found = json.loads(raw) if raw else {}
    except ValueError as error:
        raise Problem(400, "bad_request", "Invalid JSON") from error
    return found if isinstance(found, dict) else {}
