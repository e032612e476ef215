"""The schema with what answers it. The published schema is read from where somebody has it; it is not part of this project."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio
from graphql import GraphQLError, GraphQLSchema, build_schema

from sandbox.railway import filters
from sandbox.railway.world import Deployment, Instance, NotAuthorized, Printed, Refused, Scope, World

OWN = Path(__file__).with_name("schema.graphql")
PUBLISHED = Path(__file__).parents[2].with_name("shared") / "specs" / "railway-schema.graphql"
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and the world that is asked."""

    world: World
    scope: Scope | None
    token_given: bool

    def project(self, project: str) -> str:
        """Raises unless the caller may see it."""
        scope = self.scope
        if scope is None or self.world.projects.get(project) != scope.workspace or scope.project not in {None, project}:
            raise NotAuthorized
        return project

    def environment(self, environment: str) -> str:
        project, _ = self.world.environments.get(environment, ("", ""))
        self.project(project)
        if self.scope is None or self.scope.environment not in {None, environment}:
            raise NotAuthorized
        return project

    def instance(self, service: str, environment: str) -> Instance:
        self.environment(environment)
        found = self.world.instances.get((service, environment))
        if found is None:
            raise NotAuthorized
        return found

    def deployment(self, deployment: str) -> Deployment:
        found = self.world.deployments.get(deployment)
        if found is None or self.world.now < found.created_at + timedelta(seconds=self.world.shows_id_after):
            raise NotAuthorized
        self.environment(found.environment)
        return found


def read_schema(path: Path | None) -> str:
    """The text of the schema at `path`, or of our own part of it. Raises `FileNotFoundError` saying what is missing."""
    wanted = OWN if path is None else path
    if not wanted.is_file():
        raise FileNotFoundError(f"There is no schema at {wanted}. Give the published one with --schema, or leave it out.")
    return wanted.read_text(encoding="utf-8")


@lru_cache(maxsize=4)
def answering(text: str) -> GraphQLSchema:
    """The schema, each field that ops-mcp uses bound to what answers it. It holds no world: that comes with each request."""
    schema = build_schema(text, assume_valid=True)
    for kind, fields in (("Query", _QUERIES), ("Mutation", _MUTATIONS)):
        for name, answer in fields.items():
            schema.type_map[kind].fields[name].resolve = _bound(answer)  # type: ignore[attr-defined]
    news = schema.type_map["Subscription"].fields["deployment"]  # type: ignore[attr-defined]
    news.subscribe = _news
    news.resolve = _as_it_is
    return schema


def _bound(answer: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(_: object, info: Any, **arguments: Any) -> Any:
        asking: Asking = info.context
        asking.world.settle()
        try:
            return answer(asking, **arguments)
        except NotAuthorized as error:
            raise GraphQLError("Not Authorized") from error
        except Refused as error:
            raise GraphQLError(str(error)) from error

    return resolve


async def _news(_: object, info: Any, *, id: str) -> AsyncIterator[dict[str, Any]]:
    """The deployment on every change, until it stays as it is."""
    asking: Asking = info.context
    try:
        found = asking.deployment(id)
    except NotAuthorized as error:
        raise GraphQLError("Not Authorized") from error
    before: tuple[object, ...] = ()
    while True:
        asking.world.settle()
        now = (found.status, found.stopped, found.status_updated_at)
        if now != before:
            before = now
            yield _deployment(found, asking)
            if found.status in {"REMOVED", "FAILED", "SKIPPED"}:
                return
        await anyio.sleep(POLL_SECONDS)


# What is told


def _deployment(found: Deployment, asking: Asking) -> dict[str, Any]:
    world = asking.world
    told = found.tells_content_at is None or world.now >= found.tells_content_at
    meta: dict[str, Any] = {"reason": found.reason, "branch": "main"}
    if told:
        meta |= {"commitHash": found.commit} if found.commit else {"image": found.image}
    instance = world.instances[found.service, found.environment]
    address = f"{world.base_url}/served/{found.service}/{found.environment}" if world.base_url else instance.domain
    return {
        "id": found.id,
        "status": found.status,
        "createdAt": written(found.created_at),
        "statusUpdatedAt": written(found.status_updated_at) if found.status_updated_at else None,
        "deploymentStopped": found.stopped,
        "canRollback": world.can_rollback(found),
        "url": address,
        "staticUrl": address,
        "meta": meta,
        "instances": [{"id": f"instance-{found.id}", "status": found.instance_status}],
    }


def _connection(nodes: list[dict[str, Any]], first: int | None, after: str | None) -> dict[str, Any]:
    start = int(after) + 1 if after else 0
    page = nodes[start : start + (first or len(nodes))]
    edges = [{"cursor": str(start + number), "node": node} for number, node in enumerate(page)]
    return {
        "edges": edges,
        "pageInfo": {
            "hasNextPage": start + len(page) < len(nodes),
            "hasPreviousPage": start > 0,
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        },
    }


def _paged(nodes: list[dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A connection that is cut to the arguments of its field."""

    def page(_: object, *, first: int | None = None, after: str | None = None, **__: Any) -> dict[str, Any]:
        return _connection(nodes, first, after)

    return page


def _as_it_is(event: object, _: object, **__: Any) -> object:
    return event


def _any_line(_: Printed) -> bool:
    return True


def _lines(asking: Asking, lines: list[Printed], deployment: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The last ones, ascending, and one more than was asked for: what Railway really does."""
    shown = asking.world.now - timedelta(seconds=asking.world.log_lag)
    try:
        test = filters.read(arguments["filter"]) if arguments.get("filter") else _any_line
    except ValueError as error:
        raise Refused(f"Invalid filter: {error}") from error
    since, until = _moment(arguments.get("startDate")), _moment(arguments.get("endDate"))
    found = [
        line
        for line in sorted(lines, key=lambda line: line.at)
        if line.at <= shown and test(line) and (not since or line.at >= since) and (not until or line.at <= until)
    ]
    limit = min(arguments.get("limit") or 100, 5000)
    return [
        {
            "timestamp": line.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z",
            "message": line.text,
            "severity": line.level,
            "attributes": [{"key": "level", "value": f'"{line.level}"'}],
            "tags": {"deploymentId": deployment, "deploymentInstanceId": line.instance},
        }
        for line in found[-(limit + 1) :]
    ]


def written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# Answers to queries


def _project_token(asking: Asking) -> dict[str, Any]:
    scope = asking.scope
    if scope is None or scope.project is None:
        raise Refused("Project Token not found") if asking.token_given else NotAuthorized
    return {"projectId": scope.project, "environmentId": scope.environment}


def _project(asking: Asking, id: str) -> dict[str, Any]:
    asking.project(id)
    nodes = [{"id": e, "name": name} for e, (project, name) in asking.world.environments.items() if project == id]
    return {"id": id, "name": id, "workspaceId": asking.world.projects[id], "environments": _paged(nodes)}


def _environment(asking: Asking, id: str, projectId: str | None = None) -> dict[str, Any]:  # noqa: N803
    project = asking.environment(id)
    if projectId not in {None, project}:
        raise NotAuthorized
    nodes = [
        {"environmentId": id, "serviceId": i.service, "serviceName": i.name}
        for i in asking.world.instances.values()
        if i.environment == id
    ]
    return {
        "id": id,
        "name": asking.world.environments[id][1],
        "serviceInstances": _paged(nodes),
    }


def _service_instance(asking: Asking, serviceId: str, environmentId: str) -> dict[str, Any]:  # noqa: N803
    found = asking.instance(serviceId, environmentId)
    return {
        "environmentId": environmentId,
        "serviceId": serviceId,
        "serviceName": found.name,
        "source": {"image": found.image, "repo": found.repo},
    }


def _deployments(
    asking: Asking, input: dict[str, Any], first: int | None = None, after: str | None = None, **_: Any
) -> dict[str, Any]:
    asking.instance(input["serviceId"], input["environmentId"])
    found = asking.world.of_service(input["serviceId"], input["environmentId"])
    return _connection([_deployment(d, asking) for d in found], first, after)


def _one_deployment(asking: Asking, id: str) -> dict[str, Any]:
    return _deployment(asking.deployment(id), asking)


def _run_logs(asking: Asking, deploymentId: str, **arguments: Any) -> list[dict[str, Any]]:  # noqa: N803
    return _lines(asking, asking.deployment(deploymentId).lines, deploymentId, arguments)


def _build_logs(asking: Asking, deploymentId: str, **arguments: Any) -> list[dict[str, Any]]:  # noqa: N803
    return _lines(asking, asking.deployment(deploymentId).build_lines, deploymentId, arguments)


def _events(asking: Asking, id: str, first: int | None = None, after: str | None = None, **_: Any) -> dict[str, Any]:
    found = asking.deployment(id)
    nodes = [
        {
            "id": f"event-{number}",
            "step": step.step,
            "createdAt": written(step.began),
            "completedAt": written(step.ended) if step.ended else None,
        }
        for number, step in enumerate(found.steps)
    ]
    return _connection(nodes, first, after)


def _variables(
    asking: Asking,
    projectId: str,  # noqa: N803
    environmentId: str,  # noqa: N803
    serviceId: str | None = None,  # noqa: N803
    **_: Any,
) -> dict[str, str]:
    asking.project(projectId)
    found = asking.instance(serviceId or "", environmentId)
    return {**found.variables, "RAILWAY_SERVICE_NAME": found.name}


def _template(asking: Asking, code: str | None = None, **_: Any) -> dict[str, Any]:
    """Public: no token is needed."""
    config = asking.world.templates.get(code or "")
    if config is None:
        raise Refused("Template not found")
    return {"id": f"template-{code}", "code": code, "serializedConfig": config}


def _workflow_status(asking: Asking, workflowId: str) -> dict[str, Any]:  # noqa: N803
    found = asking.world.workflows.get(workflowId)
    now = asking.world.now
    if found is None or now < found.known_at:
        return {"status": "NotFound", "error": None}
    if now < found.ends_at:
        return {"status": "Running", "error": None}
    return {"status": "Error", "error": "out of disk"} if found.fails else {"status": "Complete", "error": None}


# Answers to mutations


def _deploy(asking: Asking, serviceId: str, environmentId: str, commitSha: str | None = None) -> str:  # noqa: N803
    return asking.world.deploy(asking.instance(serviceId, environmentId), commitSha).id


def _upsert(asking: Asking, input: dict[str, Any]) -> bool:
    asking.project(input["projectId"])
    instance = asking.instance(input["serviceId"], input["environmentId"])
    asking.world.set_variable(instance, input["name"], input["value"], skip_deploys=bool(input.get("skipDeploys")))
    return True


def _deploy_template(asking: Asking, input: dict[str, Any]) -> dict[str, Any]:
    asking.environment(input["environmentId"])
    made = asking.world.deploy_template(input["projectId"], input["environmentId"], input["serializedConfig"])
    return {"projectId": input["projectId"], "workflowId": made}


def _create_service(asking: Asking, input: dict[str, Any]) -> dict[str, Any]:
    asking.environment(input["environmentId"])
    made = asking.world.create_service(input["projectId"], input["environmentId"], input["name"])
    return {"id": made, "name": input["name"]}


def _done(act: Callable[[World, Deployment], object]) -> Callable[..., bool]:
    def answer(asking: Asking, id: str) -> bool:
        act(asking.world, asking.deployment(id))
        return True

    return answer


_QUERIES: dict[str, Callable[..., Any]] = {
    "projectToken": _project_token,
    "project": _project,
    "environment": _environment,
    "serviceInstance": _service_instance,
    "deployment": _one_deployment,
    "deployments": _deployments,
    "deploymentEvents": _events,
    "deploymentLogs": _run_logs,
    "buildLogs": _build_logs,
    "variables": _variables,
    "template": _template,
    "workflowStatus": _workflow_status,
}

_MUTATIONS: dict[str, Callable[..., Any]] = {
    "serviceInstanceDeployV2": _deploy,
    "deploymentRollback": _done(World.rollback),
    "deploymentRestart": _done(World.restart),
    "deploymentStop": _done(World.stop),
    "deploymentCancel": _done(World.cancel),
    "variableUpsert": _upsert,
    "templateDeployV2": _deploy_template,
    "serviceCreate": _create_service,
}
