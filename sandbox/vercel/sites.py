"""The deployed sites, for real: asked by path (`/_sites/ID/…`, a deployment's own address) or by the host name of an alias.

Each request becomes a row of the deployment's runtime log.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from sandbox.vercel.world import Deployment, World


def routes(world: World) -> list[Route]:
    async def own(request: Request) -> Response:
        return answer(world, world.deployments.get(request.path_params["id"]), "/" + request.path_params["path"])

    return [Route("/_sites/{id}/{path:path}", own, methods=["GET", "HEAD"])]


def by_host(world: World, scope: Scope) -> ASGIApp | None:
    """The site that an alias of this request's host leads to, if there is such an alias."""
    host = next((value.decode() for name, value in scope["headers"] if name == b"host"), "")
    world.advance()
    leads = world.aliases.get(host)
    return answer(world, world.deployments.get(leads), scope["path"]) if leads is not None else None


def answer(world: World, deployment: Deployment | None, path: str) -> Response:
    """What the site says of itself; it is there once it is built."""
    world.advance()
    if deployment is None or deployment.state(world.now) != "READY":
        return JSONResponse({"error": {"code": "DEPLOYMENT_NOT_FOUND"}}, 404)
    age = (world.now - deployment.builds_until) / 1000
    outcome = deployment.outcome
    well = outcome.site == "ok" or (outcome.site == "breaks" and age < outcome.breaks_after)
    status = 200 if well else 500
    log(world, deployment, "answered" if well else "Unhandled error", level="info" if well else "error", path=path, status=status)
    return JSONResponse({"deployment": deployment.id, "commit": deployment.sha, "path": path}, status)


def log(
    world: World,
    deployment: Deployment,
    message: str,
    *,
    level: str = "info",
    source: str = "serverless",
    path: str = "/",
    status: int = 200,
) -> None:
    """A row of the deployment's runtime log."""
    deployment.rows.append(
        {
            "rowId": f"row{len(deployment.rows)}",
            "timestampInMs": int(world.now),
            "level": level,
            "message": message,
            "messageTruncated": False,
            "source": source,
            "domain": world.url(deployment).split("/")[0],
            "requestMethod": "GET",
            "requestPath": path,
            "responseStatusCode": status,
        }
    )
