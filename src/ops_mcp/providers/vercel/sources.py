"""What may be deployed to a project, and how Vercel is told: a commit of a repository, or an existing deployment once more."""

import re
from pathlib import Path

from ops_mcp.domain.releases import Content
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound
from ops_mcp.providers._mirror import Mirror, cleaned, mirror_of
from ops_mcp.providers.vercel.answers import Project
from ops_mcp.providers.vercel.client import Api
from ops_mcp.providers.vercel.options import Git, Options
from ops_mcp.providers.vercel.states import BUILT, phase_of
from ops_mcp.values import JsonObject

_FULL = re.compile(r"^[0-9a-f]{40}$")
_DEPLOYMENT = re.compile(r"^dpl_[A-Za-z0-9]{1,60}$")


async def resolve(ref: str | None, options: Options, api: Api, *, state_dir: Path, allowed_refs: tuple[str, ...]) -> Content:
    """Exact content of what was named: names by our own mirror of the repository, a deployment by asking Vercel."""
    source = options.source
    patterns = options.allowed_refs if options.allowed_refs is not None else allowed_refs
    mirror = mirror_of(source, state_dir=state_dir, allowed_refs=patterns) if source is not None else None
    if ref is not None and _DEPLOYMENT.match(ref):
        return await _existing(ref, api, mirror)
    if mirror is not None:
        return await mirror.resolve(ref)
    if ref is not None and _FULL.match(ref):
        return Content(identity=ref, ref=ref)
    raise InvalidArguments(
        "ref is neither a full commit id nor a Vercel deployment.",
        hint="Give 40 hexadecimal digits or an id dpl_…; names of branches need options.repository in the binding.",
    )


def git_source(options: Options, project: Project, content: Content) -> JsonObject:
    """The commit as Vercel's `gitSource` wants it. `sha` decides what is built; `ref` gives it the name of its branch."""
    named = content.ref.removeprefix("refs/heads/")
    plain = named and not named.startswith("refs/") and not content.identity.startswith(named)
    exact: JsonObject = {"ref": named if plain else content.identity, "sha": content.identity}
    return {**_repository(options.git, project), **exact}


async def _existing(ref: str, api: Api, mirror: Mirror | None) -> Content:
    found = await api.source_of(ref)
    project = await api.project()
    if found is None or found.project != project.id:
        raise NotFound("The project has no such deployment.", hint="Give the id of a deployment of this very project at Vercel.")
    if phase_of(found) not in BUILT:
        raise InvalidArguments("That deployment is not built.", hint="Name one that is READY, or a commit.")
    if mirror is not None:
        await _refuse_forbidden_commit(found.commit, mirror)
    return Content(identity=found.id, ref=ref, summary=cleaned(found.subject, 200))


async def _refuse_forbidden_commit(commit: str, mirror: Mirror) -> None:
    """What is built once more must be as deployable as if its commit had been named."""
    if _FULL.match(commit):
        await mirror.resolve(commit)
        return
    raise InvalidArguments(
        "Which commit that deployment was built from cannot be told, and only commits of allowed branches may be deployed.",
        hint="Name the commit or its branch instead.",
    )


def _repository(git: Git | None, project: Project) -> JsonObject:
    if git is None:
        return _connected(project)
    if git.repo is not None:
        owner, _, name = git.repo.partition("/")
        if git.type == "bitbucket":
            return {"type": git.type, "owner": owner, "slug": name}
        return {"type": git.type, "org": owner, "repo": name}
    match git.type:
        case "gitlab":
            return {"type": git.type, "projectId": git.repo_id}
        case "bitbucket":
            return {"type": git.type, "repoUuid": str(git.repo_id)}
        case "github":
            return {"type": git.type, "repoId": git.repo_id}


def _connected(project: Project) -> JsonObject:
    """The repository that the project is connected to at Vercel, as its link names it."""
    link = project.link
    match link.get("type"):
        case "github" if "repoId" in link:
            return {"type": "github", "repoId": link["repoId"]}
        case "github" if "org" in link and "repo" in link:
            return {"type": "github", "org": link["org"], "repo": link["repo"]}
        case "gitlab" if "projectId" in link:
            return {"type": "gitlab", "projectId": link["projectId"]}
        case "bitbucket" if "owner" in link and "slug" in link:
            return {"type": "bitbucket", "owner": link["owner"], "slug": link["slug"]}
        case _:
            raise NotConfigured(
                "The project is not connected to a GitHub, GitLab or Bitbucket repository at Vercel.",
                hint="Connect it there, or set options.git in the binding: type, and repo or repo_id.",
            )
