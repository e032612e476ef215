"""Tags, digests, registries and builds, by an engine made of answers."""

import base64
import json
from typing import Any

import pytest

from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, ProviderError
from ops_mcp.providers.docker import images
from ops_mcp.providers.docker.builds import Progress, image_name
from ops_mcp.providers.docker.images import Reference, reference
from ops_mcp.providers.docker.settings import Registry
from ops_mcp.providers.docker.troubles import EngineAway
from ops_mcp.values import Secret
from tests.providers.docker.fake_engine import FakeEngine

pytestmark = pytest.mark.anyio

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


async def tell(doing: str, *, handle: str = "") -> None:
    pass


@pytest.mark.parametrize(
    ("ref", "name"),
    [(None, "team/web:latest"), ("v1.2.0", "team/web:v1.2.0"), (DIGEST, f"team/web@{DIGEST}"), ("_x-1", "team/web:_x-1")],
)
def test_a_ref_is_a_tag_or_a_digest(ref: str | None, name: str) -> None:
    assert reference("team/web", ref).name == name


@pytest.mark.parametrize("ref", ["", "a/b", "a b", "-x", "x" * 129, "sha256:abc", "refs/heads/main", "v1@" + DIGEST, "v1\n"])
def test_what_is_neither_is_refused_without_being_said(ref: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        reference("team/web", ref)
    assert not ref or ref not in caught.value.message + caught.value.hint or ref == "-x"


def test_only_allowed_tags_may_be_deployed() -> None:
    assert reference("web", "v1", allowed=("v*",)).version == "v1"
    with pytest.raises(NotFound, match="may not be deployed"):
        reference("web", "edge", allowed=("v*",))
    with pytest.raises(NotFound):
        reference("web", DIGEST, allowed=("v*",))


@pytest.mark.parametrize(
    ("repository", "registry"),
    [
        ("web", "docker.io"),
        ("team/web", "docker.io"),
        ("ghcr.io/t/w", "ghcr.io"),
        ("localhost/w", "localhost"),
        ("h:5000/w", "h:5000"),
    ],
)
def test_the_registry_is_read_off_the_repository(repository: str, registry: str) -> None:
    assert Reference(repository, "v1").registry == registry


async def test_a_tag_is_pinned_to_what_the_registry_says_without_pulling_it() -> None:
    fake = FakeEngine().on("GET", "/distribution/ghcr.io/t/w:v1/json", body={"Descriptor": {"digest": DIGEST}})
    content = await images.resolve(fake.engine(), Reference("ghcr.io/t/w", "v1"), headers={"X-Registry-Auth": "x"})
    assert (content.identity, content.ref, content.summary) == (DIGEST, "v1", "pinned by ghcr.io")
    assert fake.headers[-1]["x-registry-auth"] == "x"
    assert [method for method, *_ in fake.asked] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("answer", "image", "identity"),
    [
        ({"status": 500, "body": {"message": "no such host"}}, {"Id": OTHER}, OTHER),
        ({"status": 403, "body": {"message": "denied"}}, {"Id": OTHER, "RepoDigests": [f"w@{DIGEST}"]}, DIGEST),
        ({"status": 404, "body": {"message": "manifest unknown"}}, {"Id": OTHER, "RepoDigests": [f"x@{DIGEST}"]}, OTHER),
        ({"body": {"Descriptor": {"digest": "odd"}}}, {"Id": OTHER, "RepoDigests": None}, OTHER),
        ({"breaks": True, "silent": True}, {"Id": OTHER}, OTHER),
    ],
)
async def test_where_no_registry_answers_the_engines_own_image_is_taken_and_that_is_said(
    answer: dict[str, Any], image: dict[str, Any], identity: str
) -> None:
    fake = FakeEngine().on("GET", "/distribution/.*", **answer).on("GET", "/images/w:v1/json", body=image)
    content = await images.resolve(fake.engine(), Reference("w", "v1"), headers={})
    assert content.identity == identity
    assert "the engine's own image" in content.summary


async def test_an_engine_that_is_away_is_not_taken_for_a_registry_that_is() -> None:
    with pytest.raises(EngineAway):
        await images.resolve(FakeEngine(down=9).engine(), Reference("w", "v1"), headers={})


async def test_an_image_that_the_engine_has_by_digest_or_by_id_is_not_pulled() -> None:
    by_digest = FakeEngine().on("GET", f"/images/w@{DIGEST}/json", body={"Id": OTHER})
    assert await images.ensured(by_digest.engine(), "w", DIGEST, headers={}, tell=tell) == OTHER
    by_id = FakeEngine().on("GET", f"/images/{DIGEST}/json", body={"Id": DIGEST})
    assert await images.ensured(by_id.engine(), "w", DIGEST, headers={}, tell=tell) == DIGEST


async def test_an_image_is_pulled_by_its_digest() -> None:
    fake = FakeEngine().on("POST", "/images/create", lines=[{"status": "Pull complete"}] * 12)
    fake.on("GET", f"/images/w@{DIGEST}/json", status=404, body={"message": "No such image"}, once=True)
    fake.on("GET", f"/images/w@{DIGEST}/json", body={"Id": OTHER})
    told: list[str] = []

    async def heard(doing: str, *, handle: str = "") -> None:
        told.append(doing)

    assert await images.ensured(fake.engine(), "w", DIGEST, headers={}, tell=heard) == OTHER
    assert {"fromImage": "w", "tag": DIGEST} in [query for _, _, query, _ in fake.asked]
    assert told == ["pulling the image", "pulling the image: 10 layers"]


@pytest.mark.parametrize(
    ("line", "kind", "temporary"),
    [
        ({"errorDetail": {"message": "unauthorized: authentication required"}, "error": "x"}, NotConfigured, False),
        ({"errorDetail": {"message": "pull access denied for w"}}, NotConfigured, False),
        ({"errorDetail": {"message": "manifest unknown"}}, NotFound, False),
        ({"error": "toomanyrequests"}, ProviderError, True),
        ({"errorDetail": {"message": "dial tcp: i/o timeout"}}, ProviderError, True),
    ],
)
async def test_a_pull_that_fails_in_its_stream_is_a_failure(
    line: dict[str, Any], kind: type[ProviderError], temporary: bool
) -> None:
    fake = FakeEngine().on("POST", "/images/create", lines=[{"status": "Pulling"}, line])
    with pytest.raises(kind) as caught:
        await images.ensured(fake.engine(), "w", DIGEST, headers={}, tell=tell)
    assert caught.value.may_be_retried is temporary


@pytest.mark.parametrize(
    ("message", "kind"), [("unauthorized", NotConfigured), ("dial tcp 10.0.0.1:443: connect: connection refused", ProviderError)]
)
async def test_a_pull_that_the_registry_refuses_before_the_stream_is_told_as_such(
    message: str, kind: type[ProviderError]
) -> None:
    fake = FakeEngine().on("POST", "/images/create", status=500, body={"message": message})
    with pytest.raises(kind) as caught:
        await images.ensured(fake.engine(), "w", DIGEST, headers={}, tell=tell)
    assert not isinstance(caught.value, EngineAway)


async def test_a_pull_that_the_engine_breaks_off_is_the_engine_being_away() -> None:
    fake = FakeEngine().on("POST", "/images/create", breaks=True, falls=99)
    with pytest.raises(EngineAway):
        await images.ensured(fake.engine(), "w", DIGEST, headers={}, tell=tell)


async def test_a_pull_that_brings_another_image_is_refused() -> None:
    fake = FakeEngine().on("POST", "/images/create", lines=[{"status": "done"}])
    with pytest.raises(ProviderError, match="none of that digest"):
        await images.ensured(fake.engine(), "w", DIGEST, headers={}, tell=tell)


def test_a_login_is_for_its_registry_alone_and_is_url_safe() -> None:
    known = {"ghcr.io": Registry(username="bot", password="key"), "docker.io": Registry(username="hub", password="key")}
    secret = {"key": Secret("p\xfc?>~")}
    header = images.login(known, "ghcr.io", secret.__getitem__)["X-Registry-Auth"]
    decoded = json.loads(base64.urlsafe_b64decode(header))
    assert decoded == {"username": "bot", "password": "p\xfc?>~", "serveraddress": "ghcr.io"}
    assert images.login(known, "other.io", secret.__getitem__) == {}
    every = json.loads(base64.urlsafe_b64decode(images.logins(known, secret.__getitem__)["X-Registry-Config"]))
    assert set(every) == {"ghcr.io", "https://index.docker.io/v1/"}
    assert images.logins({}, secret.__getitem__) == {}


async def test_a_build_tells_its_steps_and_nothing_that_it_prints() -> None:
    told: list[str] = []

    async def heard(doing: str, *, handle: str = "") -> None:
        told.append(doing)

    progress = Progress(heard)
    for line in (
        {"stream": "Step 1/3 : FROM scratch\n"},
        {"stream": "TOKEN=abc\n"},
        {"stream": "Step 2/3 : RUN x\n"},
        {"aux": {}},
    ):
        await progress.take(line)
    assert told == ["build step 1/3", "build step 2/3"]


async def test_a_failed_build_says_where_and_keeps_a_bounded_clean_tail() -> None:
    progress = Progress(tell)
    await progress.take({"stream": "Step 2/3 : RUN make\n"})
    for number in range(100):
        await progress.take({"stream": f"\x1b[31mline {number}{'x' * 5000}\n"})
    with pytest.raises(ProviderError, match="failed at step 2/3") as caught:
        await progress.take({"errorDetail": {"message": "returned a non-zero code: 2"}, "error": "x"})
    tail = caught.value.details["untrusted_output"]
    assert isinstance(tail, list)
    assert len(tail) == 20
    assert tail[-1] == "returned a non-zero code: 2"
    assert all(len(str(line)) <= 1000 and "\x1b" not in str(line) for line in tail)
    assert not caught.value.temporary


def test_a_built_image_has_a_name_that_the_engine_takes() -> None:
    name = image_name("a" * 63, "c" * 64, "d" * 12)
    tag = name.partition(":")[2]
    assert len(tag) <= 128
    assert images.Reference("ops-mcp/built", tag).name == name
