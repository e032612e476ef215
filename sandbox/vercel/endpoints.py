"""What each endpoint of the simulated Vercel does, by the operation ids of the published specification."""

from collections.abc import Callable

from sandbox.vercel import wire
from sandbox.vercel.calls import Body, Call, Problem
from sandbox.vercel.world import Deployment, Project, Variable

Answer = tuple[int, object]
Endpoint = Callable[[Call], Answer]
_DEFAULT_PAGE, _LARGEST_PAGE = 20, 100


def list_deployments(call: Call) -> Answer:
    world, named = call.world, call.query("projectId") or call.query("app")
    projects = [p for p in world.projects.values() if p.owner == call.owner]
    if named is not None:
        projects = [call.project(named)]
    latest = world.now - 1000 * world.behind_seconds if world.behind_seconds else float("inf")
    found = [d for p in projects for d in world.of(p) if d.created <= latest]
    found = sorted((d for d in found if _is_asked_for(call, d)), key=lambda d: d.created, reverse=True)
    most = int(min(call.number("limit") or _DEFAULT_PAGE, _LARGEST_PAGE))
    page = found[:most]
    more = page[-1].created if len(found) > most else None
    newest = page[0].created if page else None
    return 200, {
        "deployments": [wire.item(world, d) for d in page],
        "pagination": {"count": len(page), "next": more, "prev": newest},
    }


def _is_asked_for(call: Call, d: Deployment) -> bool:
    since, until = call.number("since") or call.number("from"), call.number("until") or call.number("to")
    states, target = call.query("state"), call.query("target")
    return (
        (since is None or d.created > since)
        and (until is None or d.created < until)
        and (states is None or d.state(call.world.now) in states.split(","))
        and (target is None or (d.target or "preview") == target)
        and call.query("sha") in (None, d.sha)
        and call.query("branch") in (None, d.ref)
        and (call.query("rollbackCandidate") != "true" or call.world.is_candidate(d))
    )


def get_deployment(call: Call) -> Answer:
    found = wire.single(call.world, call.deployment(call.path("id")))
    if call.query("withGitRepoInfo") != "true":
        found.pop("gitSource")
    return 200, found


def create_deployment(call: Call) -> Answer:
    body, world = call.body, call.world
    if not isinstance(body.get("name"), str):
        raise Problem(400, "bad_request", "Invalid request: missing required property `name`")
    project = call.project(str(body.get("project") or body["name"]))
    if world.plan_used_up:
        raise Problem(402, "payment_required", "api-deployments-free-per-day")
    origin = call.deployment(str(body["deploymentId"])) if "deploymentId" in body else None
    sha, ref = (origin.sha, origin.ref) if origin is not None else _commit(call, project)
    target, custom = _target(call, project, ref)
    if call.query("forceNew") != "1" and (same := _same(call, project, sha, target, custom)) is not None:
        return 200, wire.single(world, same)
    source = "redeploy" if origin is not None else "api-trigger-git-deploy"
    meta = {str(k): str(v) for k, v in _table(body.get("meta")).items()}
    made = world.deploy(project, sha=sha, ref=ref, target=target, custom=custom, source=source, meta=meta)
    return 200, wire.single(world, made)


def _commit(call: Call, project: Project) -> tuple[str, str]:
    source = _table(call.body.get("gitSource"))
    if not source or project.linked == "none":
        raise Problem(400, "incorrect_git_source_info", "The provided git source is incorrect")
    ref, sha = str(source.get("ref", "")), source.get("sha")
    known = call.world.refs
    if isinstance(sha, str) and (call.world.knows_every_commit or sha in known.values()):
        return sha, ref
    if ref in known:
        return known[ref], ref
    raise Problem(400, "incorrect_git_source_info", "The commit could not be found in the repository")


def _target(call: Call, project: Project, ref: str) -> tuple[str | None, str | None]:
    named = call.body.get("customEnvironmentSlugOrId")
    target = call.body.get("target")
    if named is None and isinstance(target, str) and target not in ("production", "staging"):
        named, target = target, None
    if named is not None:
        id = project.customs.get(str(named), str(named))
        if id not in project.customs.values():
            raise Problem(400, "bad_request", "The custom environment does not exist")
        return None, id
    if target is None and project.infers and ref == project.production_branch:
        custom = project.customs.get(project.infers)
        return (None, custom) if custom is not None else (project.infers, None)
    return (str(target) if target is not None else None), None


def _same(call: Call, project: Project, sha: str, target: str | None, custom: str | None) -> Deployment | None:
    """Without forceNew, Vercel answers with a similar deployment if there is one."""
    similar = (d for d in call.world.of(project) if (d.sha, d.target, d.custom) == (sha, target, custom))
    return next((d for d in similar if d.state(call.world.now) not in ("ERROR", "CANCELED", "DELETED")), None)


def cancel_deployment(call: Call) -> Answer:
    found = call.deployment(call.path("id"))
    if found.state(call.world.now) in ("READY", "ERROR"):
        raise Problem(400, "deployment_not_cancelable", "The deployment is not in a cancelable state")
    found.cancelled = found.cancelled or call.world.now
    return 200, wire.single(call.world, found)


def delete_deployment(call: Call) -> Answer:
    world, found = call.world, call.deployment(call.path("id"))
    project = world.projects[found.project]
    found.deleted = world.now
    world.aliases = {domain: leads for domain, leads in world.aliases.items() if leads != found.id}
    if project.production == found.id:
        project.production = None
    return 200, {"uid": found.id, "state": "DELETED"}


def deployment_events(call: Call) -> Answer:
    found = wire.events(call.world, call.deployment(call.path("id")))
    since, until = call.number("since"), call.number("until")
    found = [e for e in found if (since is None or _at(e) >= since) and (until is None or _at(e) < until)]
    if call.query("direction") == "backward":
        found.reverse()
    most = call.number("limit")
    return 200, found if most is None or most < 0 else found[: int(most)]


def _at(event: Body) -> float:
    created = event["created"]
    assert isinstance(created, int | float)
    return float(created)


def promote(call: Call) -> Answer:
    project, found = call.project(call.path("project")), call.deployment(call.path("id"))
    _refuse_busy(project)
    if found.target != "production" or found.custom is not None:
        raise Problem(422, "unprocessable_entity", "Only production deployments can be promoted; redeploy the preview")
    if found.state(call.world.now) != "READY" or found.assigned is None:
        raise Problem(400, "bad_request", "The deployment is not ready")
    if project.rolling is not None:
        project.behind_rolling.append(found.id)
        return 202, None
    if project.stages != "none":
        call.world.begin_rolling(project, found, call.world.now)
        return 201, None
    call.world.begin_job(project, "promote", found.id)
    return 201, None


def roll_back(call: Call) -> Answer:
    world, project, found = call.world, call.project(call.path("project")), call.deployment(call.path("id"))
    _refuse_busy(project)
    ends_rolling = project.rolling is not None and found.id == project.production
    if not ends_rolling and not world.is_candidate(found):
        raise Problem(422, "unprocessable_entity", "The deployment is not a rollback candidate")
    if not ends_rolling and world.plan_of(project) == "hobby" and found.id != _one_before(project):
        raise Problem(402, "payment_required", "Hobby can only roll back to the previous production deployment")
    world.begin_job(project, "rollback", found.id)
    return 201, None


def _one_before(project: Project) -> str | None:
    before = [id for id in project.history if id != project.production]
    return before[-1] if before else None


def _refuse_busy(project: Project) -> None:
    if project.job is not None and not project.job.done:
        raise Problem(409, "conflict", "Another alias request is in progress")


def promote_aliases(call: Call) -> Answer:
    project = call.project(call.path("project"))
    status = project.job.status(call.world.now) if project.job is not None else "completed"
    status = {"succeeded": "completed", "skipped": "completed"}.get(status, status)
    found = [{"alias": domain, "id": f"als_{domain}", "status": status} for domain in project.domains]
    if call.query("failedOnly") == "true":
        found = [item for item in found if item["status"] == "failed"]
    return 200, {"aliases": found, "pagination": {"count": len(found), "next": None, "prev": None}}


def get_project(call: Call) -> Answer:
    return 200, wire.project(call.world, call.project(call.path("project")))


def get_alias(call: Call) -> Answer:
    domain = call.path("alias")
    leads = call.world.aliases.get(domain)
    if leads is None or call.world.projects[call.world.deployments[leads].project].owner != call.owner:
        raise Problem(404, "not_found", "Alias not found")
    return 200, wire.alias(call.world, domain, call.world.deployments[leads])


def assign_alias(call: Call) -> Answer:
    found, domain = call.deployment(call.path("id")), call.body.get("alias")
    if not isinstance(domain, str):
        raise Problem(400, "bad_request", "alias is missing")
    before = call.world.aliases.get(domain)
    if before is not None and call.world.deployments[before].project != found.project:
        raise Problem(409, "alias_in_use", "The alias belongs to another project")
    if found.state(call.world.now) != "READY":
        raise Problem(400, "deployment_not_ready", "The deployment is not ready")
    call.world.aliases[domain] = found.id
    whole = wire.alias(call.world, domain, found)
    return 200, {"alias": domain, "uid": whole["uid"], "created": whole["created"], "oldDeploymentId": before}


def list_variables(call: Call) -> Answer:
    project = call.project(call.path("project"))
    found = project.variables
    if call.token.hides_production:
        seen = [v for v in found if "production" not in v.target]
        shown = [_variable(v, decrypt=False) for v in seen]
        return 200, {"envs": shown, "hiddenProductionEnvCount": len(found) - len(seen)}
    shown = [_variable(v, decrypt=call.query("decrypt") == "true") for v in found]
    return 200, {"envs": shown, "pagination": {"count": len(shown), "next": None, "prev": None}}


def _variable(found: Variable, *, decrypt: bool) -> Body:
    """A sensitive value is never told; an encrypted one only to those who ask for it in the clear."""
    told = {"plain": found.value, "encrypted": found.value if decrypt else "ZW5jcnlwdGVk"}.get(found.type, "")
    return {**wire.variable(found, value=told), "securityIssues": []}


def create_variable(call: Call) -> Answer:
    project, body = call.project(call.path("project")), call.body
    target = [str(t) for t in _list(body.get("target"))]
    customs = [str(c) for c in _list(body.get("customEnvironmentIds"))]
    branch = str(body["gitBranch"]) if body.get("gitBranch") else None
    if body.get("type") == "sensitive" and "development" in target:
        raise Problem(400, "bad_request", "Sensitive variables cannot be created for development")
    wanted = (str(body["key"]), branch)
    same = [
        v
        for v in project.variables
        if (v.key, v.branch) == wanted and (set(v.target) & set(target) or set(v.customs) & set(customs))
    ]
    exact = [v for v in same if v.target == target and v.customs == customs]
    if same and (call.query("upsert") != "true" or not exact):
        error = {
            "code": "ENV_CONFLICT",
            "message": f"{body['key']}={body['value']} exists",
            "key": body["key"],
            "value": body["value"],
        }
        return 201, {"created": [], "failed": [{"error": error}]}
    if exact:
        exact[0].value, exact[0].type, exact[0].updated = str(body["value"]), str(body["type"]), call.world.now
        made = exact[0]
    else:
        id = f"env{len(project.variables):013d}"
        now = call.world.now
        made = Variable(id, str(body["key"]), str(body["value"]), str(body["type"]), target, customs, branch, now, now)
        project.variables.append(made)
    return 201, {"created": wire.variable(made, value=made.value if made.type == "plain" else ""), "failed": []}


def _table(found: object) -> Body:
    return found if isinstance(found, dict) else {}


def _list(found: object) -> list[object]:
    return found if isinstance(found, list) else []
