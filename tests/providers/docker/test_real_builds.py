"""Images that are built from commits, by a real engine: nothing is fetched from anywhere but the repository."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_mcp.domain.releases import Presence
from ops_mcp.errors import Conflict, DeadlineExceeded, NotConfigured, NotFound, ProviderError
from ops_mcp.values import Json
from tests.providers.docker.worlds import IMAGE, World, body_of, by_hand

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.anyio]

DOCKERFILE = f"FROM {IMAGE}:v1\nARG SILENT=1\nENV VERSION=built-%s\nRUN echo building\nCOPY . /app\n"


def git(path: Path, *arguments: str) -> str:
    own = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *own, *arguments], cwd=path, check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()


def commit(path: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "-m", "a change")
    return git(path, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    commit(path, {"Dockerfile": DOCKERFILE % "one", "web/Dockerfile.prod": DOCKERFILE % "below", "web/page": "hello"})
    return path


def tags(here: World, commit_id: str) -> list[str]:
    with by_hand(here.host) as client:
        found = client.get("/images/json").json()
        return [tag for image in found for tag in image["RepoTags"] or () if commit_id in tag]


async def test_a_commit_is_built_once_and_gone_back_to_without_building(here: World, repository: Path) -> None:
    first_commit = git(repository, "rev-parse", "HEAD")
    first = await here.up(None, image=None, source=str(repository))
    assert first.release.content.identity == first_commit
    assert "build step 2/6" in here.told
    assert await body_of((await here.docker.status(first)).url or "") == "built-one"
    assert len(tags(here, first_commit)) == 1
    commit(repository, {"Dockerfile": DOCKERFILE % "two"})
    second = await here.up(None, replaces=first, image=None, source=str(repository))
    assert await body_of((await here.docker.status(second)).url or "") == "built-two"
    here.told.clear()
    third = here.placement(first.release)
    observed = await here.docker.rollback(third, restores=first, ends=second, tell=here.tell)
    assert await body_of(observed.url or "") == "built-one"
    again = here.placement(first.release)
    await here.docker.deploy(again, replaces=third, tell=here.tell)
    assert not [word for word in here.told if "build" in word]


async def test_a_dockerfile_below_the_root_is_built_from_its_own_directory(here: World, repository: Path) -> None:
    placed = await here.up(None, image=None, source=str(repository), context="web", dockerfile="Dockerfile.prod")
    assert await body_of((await here.docker.status(placed)).url or "") == "built-below"
    with by_hand(here.host) as client:
        where = client.get(f"/containers/{here.of(placed)[0]['Id']}/archive", params={"path": "/app/page"})
        assert where.status_code == 200


async def test_a_failed_build_leaves_the_old_release_and_keeps_its_last_lines(here: World, repository: Path) -> None:
    first = await here.up("v1")
    commit(repository, {"Dockerfile": f"FROM {IMAGE}:v1\nRUN echo almost && exit 7\n"})
    failing = here.placement(await here.release(here.binding(image=None, source=str(repository)), "main"))
    with pytest.raises(ProviderError, match="failed at step 2/3") as caught:
        await here.docker.deploy(failing, replaces=first, tell=here.tell)
    assert "almost" in json.dumps(caught.value.details)
    assert "almost" not in json.dumps(here.told) + caught.value.message
    assert here.running() == [first.deployment]
    assert (await here.docker.status(failing)).presence is Presence.absent


async def test_a_build_beyond_its_deadline_is_ended(here: World, repository: Path) -> None:
    commit(repository, {"Dockerfile": f"FROM {IMAGE}:v1\nRUN sleep 60\n"})
    binding = here.binding(image=None, source=str(repository), build_seconds=1.5)
    slow = here.placement(await here.release(binding, "main"))
    with pytest.raises(DeadlineExceeded, match="build did not end"):
        await here.docker.deploy(slow, replaces=None, tell=here.tell)


async def test_a_build_has_no_network_where_the_operator_wants_none(here: World, repository: Path) -> None:
    only_loopback = "RUN test $(ls /sys/class/net | wc -l) = 1\n"
    commit(repository, {"Dockerfile": f"FROM {IMAGE}:v1\n{only_loopback}"})
    placed = await here.up(None, image=None, source=str(repository))
    assert (await here.docker.status(placed)).presence is Presence.running


async def test_what_is_on_no_allowed_ref_is_not_built(here: World, repository: Path) -> None:
    binding = here.binding(image=None, source=str(repository), allowed_refs=["refs/tags/*"])
    with pytest.raises(NotFound):
        await here.docker.resolve(binding, "main")


async def test_images_that_were_built_go_with_the_last_container_that_needs_them(here: World, repository: Path) -> None:
    first_commit = git(repository, "rev-parse", "HEAD")
    placed = await here.up(None, image=None, source=str(repository), keep_containers=1)
    for word in ("two", "three"):
        commit(repository, {"Dockerfile": DOCKERFILE % word})
        placed = await here.up(None, replaces=placed, image=None, source=str(repository), keep_containers=1)
    assert tags(here, first_commit) == []
    assert len(tags(here, placed.release.content.identity)) == 1


@contextmanager
def network(here: World, name: str) -> Iterator[str]:
    """A network of the engine's; gone at the end, with the containers on it."""
    with by_hand(here.host) as client:
        client.post("/networks/create", json={"Name": name}).raise_for_status()
        try:
            yield name
        finally:
            here.clear()
            client.delete(f"/networks/{name}")


class ComposeFile:
    """A compose file with the service `web` and one that nobody asks for."""

    def __init__(self, file: Path, name: str, service: dict[str, Json]) -> None:
        self.file, self.service = file, service
        networks: dict[str, Json] = {"default": {"name": name}, "back": {"name": f"{name}-back"}}
        self.document: dict[str, Json] = {
            "name": "shop",
            "services": {"web": service, "db": {"image": "x"}},
            "networks": networks,
        }
        self.options: dict[str, Json] = {"image": None, "port": None, "compose_file": str(file), "compose_service": "web"}
        self.write()

    def write(self) -> None:
        self.file.write_text(json.dumps(self.document), encoding="utf-8")


async def test_one_service_of_a_compose_file_is_deployed_with_composes_labels(here: World, tmp_path: Path) -> None:
    with network(here, f"net-{here.installation}") as name:
        given: dict[str, Json] = {
            "image": f"{IMAGE}:v1",
            "environment": {"VERSION": "composed"},
            "ports": ["8000"],
            "mem_limit": "32m",
        }
        compose = ComposeFile(tmp_path / "compose.json", name, given)
        first = await here.up(None, **compose.options)
        assert await body_of((await here.docker.status(first)).url or "") == "composed"
        container = here.of(first)[0]
        assert container["HostConfig"]["Memory"] == 32 << 20
        labels = container["Config"]["Labels"]
        assert labels["com.docker.compose.project"] == "shop"
        assert labels["com.docker.compose.service"] == "web"
        assert labels["com.docker.compose.container-number"] == "1"


async def test_going_back_runs_what_the_compose_file_said_then_and_a_plan_is_bound_to_what_it_says_now(
    here: World, tmp_path: Path
) -> None:
    with network(here, f"net-{here.installation}") as name:
        given: dict[str, Json] = {"image": f"{IMAGE}:v1", "environment": {"VERSION": "then"}, "ports": ["8000"]}
        compose = ComposeFile(tmp_path / "compose.json", name, given)
        first = await here.up(None, **compose.options)
        planned = here.placement(await here.release(here.binding(**compose.options), None))
        compose.service["environment"] = {"VERSION": "now"}
        compose.write()
        with pytest.raises(Conflict, match="changed after"):
            await here.docker.deploy(planned, replaces=first, tell=here.tell)
        second = await here.up(None, replaces=first, **compose.options)
        assert await body_of((await here.docker.status(second)).url or "") == "now"
        back = here.placement(first.release)
        observed = await here.docker.rollback(back, restores=first, ends=second, tell=here.tell)
        assert await body_of(observed.url or "") == "then"
        here.clear()
        with pytest.raises(ProviderError, match="has changed since that release"):
            await here.docker.rollback(here.placement(first.release), restores=first, ends=None, tell=here.tell)


async def test_a_container_that_was_made_and_could_not_join_its_second_network_joins_it_at_the_repeat(
    here: World, tmp_path: Path
) -> None:
    with network(here, f"net-{here.installation}") as name:
        networks: Json = {"default": None, "back": {"aliases": ["api"]}}
        compose = ComposeFile(tmp_path / "compose.json", name, {"image": f"{IMAGE}:v1", "networks": networks, "ports": ["8000"]})
        placed = here.placement(await here.release(here.binding(**compose.options), None))
        with pytest.raises(NotConfigured, match="no network of the name"):
            await here.docker.deploy(placed, replaces=None, tell=here.tell)
        with network(here, f"{name}-back") as back:
            await here.docker.deploy(placed, replaces=None, tell=here.tell)
            joined = here.of(placed)[0]["NetworkSettings"]["Networks"]
            assert set(joined) == {name, back}
            assert {"web", "api", here.service} <= set(joined[back]["Aliases"])


async def test_a_service_that_a_compose_file_builds_is_built_from_its_directory_of_the_source(
    here: World, repository: Path
) -> None:
    build: Json = {"context": str(repository.parent / "web"), "dockerfile": "Dockerfile.prod"}
    with network(here, f"net-{here.installation}") as name:
        compose = ComposeFile(repository.parent / "compose.json", name, {"build": build, "ports": ["8000"]})
        with pytest.raises(NotConfigured, match="names no source"):
            await here.docker.resolve(here.binding(**compose.options), "main")
        placed = await here.up("main", source=str(repository), **compose.options)
        assert await body_of((await here.docker.status(placed)).url or "") == "built-below"
