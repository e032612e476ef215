"""The world as Vercel writes it: the fields of the published specification, its enums, its two forms of an event."""

from datetime import UTC, datetime

from sandbox.vercel.world import Deployment, Job, Project, Variable, World

Body = dict[str, object]
_CREATOR: Body = {"uid": "user_olga", "username": "olga"}


def item(world: World, deployment: Deployment) -> Body:
    """A deployment in a list: `uid`, and the state twice."""
    project, state = world.projects[deployment.project], deployment.state(world.now)
    return {
        "uid": deployment.id,
        "name": project.name,
        "projectId": project.id,
        "url": world.url(deployment),
        "created": deployment.created,
        "createdAt": deployment.created,
        "creator": _CREATOR,
        "inspectorUrl": f"https://vercel.com/acme/{project.name}/{deployment.id}",
        "type": "LAMBDAS",
        "meta": {**_git_meta(deployment), **deployment.meta},
        "readyState": state,
        "state": state,
        "target": deployment.target,
        "source": deployment.source,
        "aliasAssigned": deployment.assigned,
        "aliasError": _alias_error(deployment),
        "isRollbackCandidate": world.is_candidate(deployment),
        **({"customEnvironment": {"id": deployment.custom}} if deployment.custom else {}),
        **_times(deployment, world.now, in_list=True),
        **_states(deployment, world.now),
    }


def single(world: World, deployment: Deployment) -> Body:
    """A deployment by itself: `id`, and only booleans about its aliases."""
    project, now = world.projects[deployment.project], world.now
    state = deployment.state(now)
    return {
        "id": deployment.id,
        "name": project.name,
        "projectId": project.id,
        "ownerId": project.owner,
        "url": world.url(deployment),
        "createdAt": deployment.created,
        "createdIn": "sfo1",
        "bootedAt": deployment.created,
        "buildSkipped": False,
        "build": {"env": []},
        "env": [],
        "creator": _CREATOR,
        "inspectorUrl": f"https://vercel.com/acme/{project.name}/{deployment.id}",
        "isInConcurrentBuildsQueue": state == "QUEUED",
        "isInSystemBuildsQueue": False,
        "meta": {**_git_meta(deployment), **deployment.meta},
        "plan": world.plan_of(project),
        "project": {"id": project.id, "name": project.name, "framework": None},
        "projectSettings": {"framework": None},
        "public": False,
        "readyState": state,
        "status": state,
        "regions": ["iad1"],
        "routes": None,
        "source": deployment.source,
        "target": deployment.target,
        "type": "LAMBDAS",
        "version": 2,
        "alias": [domain for domain, leads in world.aliases.items() if leads == deployment.id],
        "aliasAssigned": deployment.assigned is not None,
        "aliasAssignedAt": deployment.assigned,
        "aliasError": _alias_error(deployment),
        "gitSource": _git_source(deployment),
        **_custom(world, deployment),
        **_times(deployment, now, in_list=False),
        **_states(deployment, now),
    }


def project(world: World, found: Project) -> Body:
    served = world.deployments.get(found.production or "")
    return {
        "id": found.id,
        "name": found.name,
        "accountId": found.owner,
        "alias": [],
        "autoAssignCustomDomains": found.auto_assign,
        "defaultResourceConfig": {"functionDefaultRegions": ["iad1"]},
        "resourceConfig": {"functionDefaultRegions": ["iad1"]},
        "deploymentExpiration": {},
        "directoryListing": False,
        "nodeVersion": "22.x",
        "framework": None,
        "customEnvironments": [_environment(world, slug, id) for slug, id in found.customs.items()],
        "targets": {"production": _served(world, served)} if served is not None else {},
        "lastAliasRequest": _last_job(world, found),
        "lastRollbackTarget": {} if found.rolled_back else None,
        "rollingRelease": {"target": "production", "stages": None} if found.stages != "none" else None,
        **_link(found),
    }


def variable(found: Variable, *, value: str) -> Body:
    return {
        "id": found.id,
        "key": found.key,
        "value": value,
        "type": found.type,
        "target": found.target,
        "createdAt": found.created,
        "updatedAt": found.updated,
        "createdBy": "user_olga",
        "updatedBy": None,
        **({"customEnvironmentIds": found.customs} if found.customs else {}),
        **({"gitBranch": found.branch} if found.branch else {}),
    }


def alias(world: World, domain: str, deployment: Deployment) -> Body:
    return {
        "alias": domain,
        "uid": f"als_{domain}",
        "created": datetime.fromtimestamp(world.now / 1000, UTC).isoformat().replace("+00:00", "Z"),
        "createdAt": world.now,
        "deploymentId": deployment.id,
        "projectId": deployment.project,
        "deployment": {"id": deployment.id, "url": world.url(deployment)},
    }


def events(world: World, deployment: Deployment) -> list[Body]:
    """What its build has printed so far, in both forms that Vercel uses, oldest first."""
    now, begins = world.now, deployment.starts_building
    if deployment.is_held or now < begins:
        return []
    ends = min(deployment.builds_until, deployment.cancelled or float("inf"))
    owner, name, _ = deployment.repo
    lines = [
        ("command", f"Cloning github.com/{owner}/{name} (Branch: {deployment.ref}, Commit: {deployment.sha[:7]})"),
        ("stdout", "Installing dependencies..."),
        ("command", "npm run build"),
        *(("stdout", line) for line in deployment.outcome.output),
    ]
    found = [(begins + 1000 * second, kind, text) for second, (kind, text) in enumerate(lines, 1)]
    if deployment.outcome.build == "fails":
        found = [line for line in found if line[0] < ends]
        found += [(ends - 1, "stderr", "Error: the build does not compile"), (ends, "stderr", deployment.outcome.error_message)]
    elif deployment.builds_until < float("inf"):
        found = [line for line in found if line[0] < ends] + [(ends, "stdout", "Build Completed in /vercel/output")]
    return [_event(deployment, serial, *line) for serial, line in enumerate(found) if line[0] <= now]


def _event(deployment: Deployment, serial: int, at: float, kind: str, text: str) -> Body:
    info: Body = {"type": "build", "name": "bld_1", "entrypoint": ".", "step": "build"}
    inner: Body = {
        "id": f"{serial:020d}",
        "serial": f"{serial:020d}",
        "date": at,
        "deploymentId": deployment.id,
        "info": info,
        "text": text,
        "created": at,
    }
    if serial % 2 and kind != "stderr":  # the nested form has no level
        return {"type": kind, "created": at, "payload": inner}
    return {"type": kind, **inner, **({"level": "error"} if kind == "stderr" else {})}


def _states(deployment: Deployment, now: float) -> Body:
    """Substate, checks and failure; each is there only when it says something."""
    found: Body = {}
    state = deployment.state(now)
    if state == "READY" and deployment.substate is not None:
        found["readySubstate"] = deployment.substate
    if deployment.outcome.checks != "none" and state == "READY":
        ended = now >= deployment.checked
        found["checksState"] = "completed" if ended else "running"
        if ended:
            found["checksConclusion"] = deployment.outcome.checks
    if state == "ERROR":
        found |= {"errorCode": "BUILD_UTILS_SPAWN_1", "errorMessage": deployment.outcome.error_message}
    if state == "BLOCKED":
        found["seatBlock"] = {"blockCode": "TEAM_ACCESS_REQUIRED"}
    return found


def _times(deployment: Deployment, now: float, *, in_list: bool) -> Body:
    found: Body = {"buildingAt": deployment.starts_building if now >= deployment.starts_building else deployment.created}
    state = deployment.state(now)
    if state == "READY":
        found["ready"] = deployment.builds_until
    if in_list:
        return found | ({"deleted": deployment.deleted} if deployment.deleted is not None else {})
    if state == "ERROR":
        found |= {"buildErrorAt": deployment.builds_until, "errorStep": "buildStep"}
    if deployment.cancelled is not None:
        found["canceledAt"] = deployment.cancelled
    return found


def _alias_error(deployment: Deployment) -> Body | None:
    if deployment.alias_error is None:
        return None
    code, message = deployment.alias_error
    return {"code": code, "message": message}


def _git_meta(deployment: Deployment) -> dict[str, str]:
    owner, name, _ = deployment.repo
    return {
        "githubCommitSha": deployment.sha,
        "githubCommitRef": deployment.ref,
        "githubCommitOrg": owner,
        "githubCommitRepo": name,
        "githubCommitMessage": f"change {deployment.sha[:7]}",
    }


def _git_source(deployment: Deployment) -> Body:
    return {"type": "github", "repoId": deployment.repo[2], "ref": deployment.ref, "sha": deployment.sha}


def _custom(world: World, deployment: Deployment) -> Body:
    if deployment.custom is None:
        return {}
    slug = next(slug for slug, id in world.projects[deployment.project].customs.items() if id == deployment.custom)
    return {"customEnvironment": _environment(world, slug, deployment.custom)}


def _environment(world: World, slug: str, id: str) -> Body:
    return {"id": id, "slug": slug, "type": "preview", "createdAt": world.now - 1e6, "updatedAt": world.now - 1e6}


def _served(world: World, deployment: Deployment) -> Body:
    return {
        "id": deployment.id,
        "name": world.projects[deployment.project].name,
        "alias": [domain for domain, leads in world.aliases.items() if leads == deployment.id],
        "aliasAssigned": deployment.assigned,
        "aliasError": None,
        "createdAt": deployment.created,
        "createdIn": "sfo1",
        "creator": {"email": "olga@acme.example", "uid": "user_olga", "username": "olga"},
        "deploymentHostname": world.url(deployment).split(".", maxsplit=1)[0],
        "meta": deployment.meta,
        "plan": world.plan_of(world.projects[deployment.project]),
        "private": True,
        "readyAt": deployment.builds_until,
        "readyState": deployment.state(world.now),
        "readySubstate": "PROMOTED",
        "target": "production",
        "type": "LAMBDAS",
        "url": world.url(deployment),
        "userId": "user_olga",
    }


def _last_job(world: World, found: Project) -> Body | None:
    job = found.job
    if job is not None and world.now < job.requested + 1000 * world.stale_seconds:
        job = found.job_before
    return _job(job, world.now) if job is not None else None


def _job(job: Job, now: float) -> Body:
    return {
        "fromDeploymentId": job.came_from,
        "toDeploymentId": job.to,
        "jobStatus": job.status(now),
        "requestedAt": job.requested,
        "type": job.kind,
    }


def _link(found: Project) -> Body:
    owner, name, number = found.repo
    common: Body = {"deployHooks": [], "gitCredentialId": "cred_1", "productionBranch": found.production_branch}
    match found.linked:
        case "github":
            return {"link": {**common, "type": "github", "org": owner, "repo": name, "repoId": number}}
        case "gitlab":
            return {
                "link": {
                    **common,
                    "type": "gitlab",
                    "projectId": str(number),
                    "projectName": name,
                    "projectNamespace": owner,
                    "projectNameWithNamespace": f"{owner} / {name}",
                    "projectUrl": f"https://gitlab.example/{owner}/{name}",
                }
            }
        case "bitbucket":
            uuids: Body = {"uuid": "{1}", "workspaceUuid": "{2}"}
            return {"link": {**common, **uuids, "type": "bitbucket", "name": name, "owner": owner, "slug": name}}
        case "none":
            return {}
