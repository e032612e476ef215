"""Images of a registry, pinned and pulled by a real engine with a login that it is lent for this one."""

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_mcp.errors import NotConfigured, NotFound, OpsError
from tests.providers.docker.registry import BUSYBOX, PASSWORD, USER, Registry, registry
from tests.providers.docker.worlds import World, body_of, by_hand, world

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
def shelf() -> Iterator[Registry]:
    if not BUSYBOX.exists() or platform.machine() != "x86_64":
        pytest.skip("there is no busybox here to make an image of")
    with registry() as made:
        yield made


@pytest.fixture
def here(host: str, tmp_path: Path, shelf: Registry) -> Iterator[World]:
    login = {f"127.0.0.1:{shelf.port}": {"username": USER, "password": "key"}}
    with world(host, tmp_path, settings={"registry_credentials": login}, secrets={"key": PASSWORD}) as made:
        yield made
        made.clear()
        with by_hand(host) as client:
            for image in client.get("/images/json").json():
                if any(shelf.repository in name for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))):
                    client.delete(f"/images/{image['Id']}", params={"force": "1"})


async def test_a_tag_is_pinned_before_it_is_pulled_and_pulled_by_its_digest(here: World, shelf: Registry) -> None:
    digest = shelf.push("v1", "first")
    release = await here.release(here.binding(image=shelf.repository), "v1")
    assert release.content.identity == digest
    assert release.content.summary == f"pinned by 127.0.0.1:{shelf.port}"
    assert len({path for path in shelf.asked if "blobs" in path}) <= 1  # its configuration, and no layer
    shelf.push("v1", "moved")
    placed = here.placement(release)
    observed = await here.docker.deploy(placed, replaces=None, tell=here.tell)
    assert await body_of(observed.url or "") == "first"
    assert "pulling the image" in here.told


async def test_a_rollback_pulls_again_by_digest_what_somebody_removed(here: World, shelf: Registry) -> None:
    shelf.push("v1", "first")
    shelf.push("v2", "second")
    first = await here.up("v1", image=shelf.repository)
    second = await here.up("v2", replaces=first, image=shelf.repository)
    with by_hand(here.host) as client:
        image = here.of(first)[0]["Image"]
        client.delete(f"/containers/{here.of(first)[0]['Id']}")
        client.delete(f"/images/{image}", params={"force": "1"})
    observed = await here.docker.rollback(first, restores=first, ends=second, tell=here.tell)
    assert await body_of(observed.url or "") == "first"


async def test_a_digest_is_deployed_as_it_is(here: World, shelf: Registry) -> None:
    digest = shelf.push("v1", "exactly")
    placed = await here.up(digest, image=shelf.repository)
    assert await body_of((await here.docker.status(placed)).url or "") == "exactly"


async def test_a_wrong_login_is_said_with_what_to_set_and_without_the_password(here: World, shelf: Registry) -> None:
    digest = shelf.push("v1", "first")
    here.secrets["key"] = "wrong-pass-word-88"
    errors: list[OpsError] = []
    with pytest.raises(NotFound) as caught:
        await here.docker.resolve(here.binding(image=shelf.repository), "v1")
    errors.append(caught.value)
    release = (await here.release(here.binding(), "v1")).evolve(binding=here.binding(image=shelf.repository))
    placed = here.placement(release.evolve(content=release.content.evolve(identity=digest)))
    with pytest.raises(NotConfigured, match="registry") as refused:
        await here.docker.deploy(placed, replaces=None, tell=here.tell)
    errors.append(refused.value)
    said = json.dumps([[e.message, e.hint, e.details] for e in errors] + [here.told])
    assert "registry_credentials" in said
    assert "pass-word" not in said


async def test_an_image_that_the_registry_has_not_is_not_found(here: World, shelf: Registry) -> None:
    shelf.push("v1", "first")
    with pytest.raises(NotFound):
        await here.docker.resolve(here.binding(image=shelf.repository), "v7")
