"""Images by tag and digest: pinned before they are run, pulled where a registry answers, never run by a tag.

A pull that fails answers 200 and says so in its stream (`errorDetail`).
"""

import base64
import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import quote

from ops_mcp.domain.releases import Content
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, OpsError, ProviderError
from ops_mcp.ports import ReadSecret, Tell
from ops_mcp.providers.docker.answers import Distribution, Image, read
from ops_mcp.providers.docker.engine import EngineApi, lines_of
from ops_mcp.providers.docker.settings import Registry
from ops_mcp.providers.docker.troubles import EngineAway, shown
from ops_mcp.values import JsonObject

LATEST = "latest"
DOCKER_HUB = "docker.io"
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_REGISTRY_SECONDS = 15.0
_PULL_SILENCE_SECONDS = 300.0
_LAYERS_EVERY = 10


class Reference(NamedTuple):
    """A repository, and a tag or digest of it."""

    repository: str
    version: str

    @property
    def is_digest(self) -> bool:
        return bool(_DIGEST.fullmatch(self.version))

    @property
    def name(self) -> str:
        return f"{self.repository}{'@' if self.is_digest else ':'}{self.version}"

    @property
    def registry(self) -> str:
        """The host before the first slash, if it is one; else Docker's own registry."""
        first, slash, _ = self.repository.partition("/")
        return first if slash and (any(c in first for c in ".:") or first == "localhost") else DOCKER_HUB


def reference(repository: str, ref: str | None, *, default: str = LATEST, allowed: tuple[str, ...] | None = None) -> Reference:
    """What a caller's ref names. Raises `InvalidArguments` for what is neither tag nor digest, `NotFound` for one not allowed."""
    version = default if ref is None else ref
    if not _TAG.fullmatch(version) and not _DIGEST.fullmatch(version):
        raise InvalidArguments(
            "ref is neither a tag nor a digest of the image.",
            hint="Give a tag such as v1.2.0, or sha256: and 64 hexadecimal digits.",
        )
    if allowed is not None and not any(fnmatchcase(version, pattern) for pattern in allowed):
        raise NotFound("That version of the image may not be deployed.", hint="Allowed: " + ", ".join(allowed) + ".")
    return Reference(repository, version)


async def resolve(engine: EngineApi, wanted: Reference, *, headers: Mapping[str, str]) -> Content:
    """The digest that the registry has for it; where no registry answers, the image that the engine has under that name."""
    try:
        digest, how = await _at_registry(engine, wanted, headers), f"pinned by {wanted.registry}"
    except EngineAway:
        raise
    except OpsError as error:
        local = await find(engine, wanted.name)
        if local is None:
            raise NotFound(
                "Neither a registry nor the engine has that image.",
                hint="Check image and ref, the engine's way to the registry, and [providers.docker] registry_credentials.",
                details=error.details,
            ) from error
        digest, how = _digest_of(local, wanted.repository), f"the engine's own image; {wanted.registry} did not give one"
    return Content(identity=digest, ref=wanted.version, summary=how)


async def present(engine: EngineApi, repository: str, identity: str) -> Image | None:
    """The engine's image of that content: by the repository's digest, or by its own id."""
    return await find(engine, f"{repository}@{identity}") or await find(engine, identity)


async def ensured(engine: EngineApi, repository: str, identity: str, *, headers: Mapping[str, str], tell: Tell) -> str:
    """The id of exactly that image, pulled by its digest where the engine does not have it yet."""
    image = await present(engine, repository, identity)
    if image is None:
        await pull(engine, Reference(repository, identity), headers=headers, tell=tell)
        image = await present(engine, repository, identity)
    if image is None:
        raise ProviderError("The image was pulled, and the engine has none of that digest.", hint="Look at the engine's images.")
    return image.id


async def find(engine: EngineApi, name: str) -> Image | None:
    try:
        found = await engine.ask("GET", f"/images/{quote(name, safe='/:@')}/json", doing="an image")
    except NotFound:
        return None
    return read(Image, found.body, doing="an image")


async def pull(engine: EngineApi, wanted: Reference, *, headers: Mapping[str, str], tell: Tell) -> None:
    """Pull it. What the registry says is told apart from what the engine says, before the stream begins and inside it."""
    try:
        await _pull(engine, wanted, headers, tell)
    except EngineAway as error:
        await engine.version()  # raises when it is the engine that does not answer
        raise _pull_failed(str(error.details.get("untrusted_output", ""))) from error
    except ProviderError as error:
        if "untrusted_output" not in error.details:
            raise
        raise _pull_failed(str(error.details["untrusted_output"])) from error


async def _pull(engine: EngineApi, wanted: Reference, headers: Mapping[str, str], tell: Tell) -> None:
    params = {"fromImage": wanted.repository, "tag": wanted.version}
    await tell("pulling the image")
    layers = 0
    async with engine.open(
        "POST", "/images/create", doing="a pull", params=params, headers=headers, seconds=_PULL_SILENCE_SECONDS
    ) as response:
        async for line in lines_of(response, "a pull"):
            detail, error = line.get("errorDetail"), line.get("error")
            if detail is not None or error is not None:
                raise _pull_failed(str(detail.get("message", "")) if isinstance(detail, dict) else str(error))
            if line.get("status") == "Pull complete":
                layers += 1
                if layers % _LAYERS_EVERY == 0:
                    await tell(f"pulling the image: {layers} layers")


def login(credentials: Mapping[str, Registry], registry: str, secret: ReadSecret) -> dict[str, str]:
    """The header that logs the engine in to that registry and no other; none where the operator named no login."""
    known = credentials.get(registry)
    if known is None:
        return {}
    return {"X-Registry-Auth": _encoded(_login(registry, known, secret))}


def logins(credentials: Mapping[str, Registry], secret: ReadSecret) -> dict[str, str]:
    """The same for a build, which may begin from images of any of them."""
    if not credentials:
        return {}
    each = [_login(host, known, secret) for host, known in credentials.items()]
    return {"X-Registry-Config": _encoded({login["serveraddress"]: login for login in each})}


def _login(registry: str, known: Registry, secret: ReadSecret) -> dict[str, str]:
    address = "https://index.docker.io/v1/" if registry == DOCKER_HUB else registry
    return {"username": known.username, "password": secret(known.password).get_secret_value(), "serveraddress": address}


def _encoded(login: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(login).encode()).decode()


async def _at_registry(engine: EngineApi, wanted: Reference, headers: Mapping[str, str]) -> str:
    """Asked through the engine, which has the way and the trust; nothing is pulled."""
    if wanted.is_digest and await present(engine, wanted.repository, wanted.version) is not None:
        return wanted.version
    path = f"/distribution/{quote(wanted.name, safe='/:@')}/json"
    try:
        answer = await engine.ask("GET", path, doing="the registry", headers=headers, seconds=_REGISTRY_SECONDS)
    except EngineAway as error:
        # If it is the engine that does not answer, looking for its own image tells.
        raise NotFound("The registry does not answer.", hint="Check the engine's way to it.") from error
    digest = read(Distribution, answer.body, doing="the registry").descriptor.digest
    if not _DIGEST.fullmatch(digest):
        raise NotFound("The registry told no digest.", hint="Try again.")
    return digest


def _digest_of(image: Image, repository: str) -> str:
    """The registry's digest that the engine remembers for this repository, else the image's own id."""
    known = [digest for name in image.digests for repo, _, digest in [name.partition("@")] if repo == repository]
    return known[0] if known else image.id


def _pull_failed(said: str) -> OpsError:
    details: JsonObject = {"untrusted_output": shown(said)}
    lowered = said.lower()
    if any(word in lowered for word in ("unauthorized", "denied", "authentication required")):
        return NotConfigured(
            "The registry does not let the engine pull that image.",
            hint="Set [providers.docker.registry_credentials] for its host, or correct the image's name.",
            details=details,
        )
    if "not found" in lowered or "manifest unknown" in lowered:
        return NotFound("The registry has no such image.", hint="Check image and ref.", details=details)
    return ProviderError(
        "The image could not be pulled.",
        hint="Check the engine's way to the registry; then try again.",
        temporary=True,
        details=details,
    )
