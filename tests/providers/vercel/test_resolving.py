"""From what a caller names to exact content: names by our own mirror, commits as they are, deployments of this very project."""

from pathlib import Path

import pytest

from ops_mcp.errors import InvalidArguments, NotFound
from sandbox.vercel.world import Outcome
from tests.providers.local.fakes import commit, git
from tests.providers.vercel.scene import ONE, Scene

pytestmark = pytest.mark.anyio


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    commit(path, {"index.html": "one"}, "the first")
    return path


async def test_a_branch_is_resolved_by_our_own_mirror_and_deployed_by_its_commit(vercel: Scene, repository: Path) -> None:
    binding = vercel.bound(repository=str(repository))
    content = await vercel.vercel.resolve(binding, "main")
    assert content.identity == git(repository, "rev-parse", "HEAD")
    assert (content.ref, content.summary) == ("main", "the first")
    placement = await vercel.deploy(content.identity, binding=binding)
    assert (vercel.at(placement.handle).sha, vercel.at(placement.handle).ref) == (content.identity, "main")


async def test_without_a_name_it_is_the_default_branch(vercel: Scene, repository: Path) -> None:
    content = await vercel.vercel.resolve(vercel.bound(repository=str(repository)), None)
    assert content.identity == git(repository, "rev-parse", "HEAD")
    placed = vercel.placed(content.identity, ref=content.ref)
    await vercel.vercel.deploy(placed, replaces=None, tell=vercel.heard)
    assert vercel.made[0].ref == "main"


@pytest.mark.parametrize("ref", ["main", None, "1111111", "dpl-1", "DPL_1", "dpl_../x"])
async def test_without_a_repository_only_what_is_exact_may_be_named(vercel: Scene, ref: str | None) -> None:
    with pytest.raises(InvalidArguments, match="neither a full commit id nor a Vercel deployment"):
        await vercel.vercel.resolve(vercel.bound(), ref)


async def test_a_full_commit_is_taken_as_it_is_without_asking_anybody(vercel: Scene) -> None:
    assert (await vercel.vercel.resolve(vercel.bound(), ONE)).identity == ONE
    assert vercel.simulator.trouble.asked() == 0


async def test_a_commit_of_no_allowed_branch_is_refused_where_there_is_a_repository(vercel: Scene, repository: Path) -> None:
    with pytest.raises(NotFound):
        await vercel.vercel.resolve(vercel.bound(repository=str(repository)), ONE)


async def test_a_deployment_of_the_project_is_content_too(vercel: Scene) -> None:
    placement = await vercel.deploy(binding=vercel.bound("staging"))
    content = await vercel.vercel.resolve(vercel.bound(), placement.handle)
    assert (content.identity, content.ref) == (placement.handle, placement.handle)
    assert content.summary == f"change {ONE[:7]}"


async def test_a_deployment_is_as_deployable_as_its_commit(vercel: Scene, repository: Path) -> None:
    binding = vercel.bound(repository=str(repository))
    allowed = await vercel.deploy(git(repository, "rev-parse", "HEAD"), binding=binding)
    forbidden = await vercel.deploy(ONE, binding=binding)
    assert (await vercel.vercel.resolve(binding, allowed.handle)).identity == allowed.handle
    with pytest.raises(NotFound, match="may be deployed"):
        await vercel.vercel.resolve(binding, forbidden.handle)


async def test_a_deployment_of_another_project_is_not_found(vercel: Scene) -> None:
    vercel.world.project("shop", owner=vercel.project.owner)
    placement = await vercel.deploy(binding=vercel.bound("staging", project="shop"))
    with pytest.raises(NotFound, match="no such deployment"):
        await vercel.vercel.resolve(vercel.bound(), placement.handle)
    with pytest.raises(NotFound, match="no such deployment"):
        await vercel.vercel.resolve(vercel.bound(), "dpl_none")


async def test_a_deployment_that_is_not_built_is_no_content(vercel: Scene) -> None:
    vercel.world.outcomes[ONE] = Outcome(build="hangs")
    made = vercel.world.deploy(vercel.project, sha=ONE, ref="main", target=None, source="git")
    with pytest.raises(InvalidArguments, match="not built"):
        await vercel.vercel.resolve(vercel.bound(), made.id)


async def test_the_doctor_is_told_what_the_token_opens_and_what_it_does_not(vercel: Scene) -> None:
    assert await vercel.vercel.reach(vercel.bound()) == "project web, target production"
    with pytest.raises(NotFound):
        await vercel.vercel.reach(vercel.bound(project="nowhere"))
