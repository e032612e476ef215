"""One service of a compose file: what it declares, and what of that is supported here. Everything else is refused by name.

Compose itself resolves the file (variables, `extends`, `include`, anchors, `env_file`): its plugin prints the resolved model as
JSON, which is read here. Where the plugin is not installed, `docker compose config --format json` is run wherever it is, and the
binding names what it printed. No second reading of YAML can differ from compose's then.
"""

import json
import os
import posixpath
import re
import subprocess
from pathlib import Path

import anyio
from anyio import to_thread
from pydantic import ValidationError

from ops_mcp.errors import DeadlineExceeded, NotConfigured
from ops_mcp.providers.docker import compose_forms as forms
from ops_mcp.providers.docker.bodies import COMPOSE_PROJECT
from ops_mcp.providers.docker.compose_forms import NotSupported
from ops_mcp.providers.docker.declared import Attached, Declared
from ops_mcp.providers.docker.images import LATEST
from ops_mcp.providers.docker.options import IMAGE
from ops_mcp.values import Json, JsonObject, Value, digest

SUPPORTED = ("image", "build", "command", "environment", "ports", "healthcheck", "mem_limit", "cpus", "networks")
_PROJECT_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,127}$")
_CONFIG_SECONDS = 30.0
_MOST_BYTES = 4 << 20


class Composed(Value):
    """What a service of the file comes to. `image` is its repository and `version` its tag; `context` lies below the file."""

    image: str | None = None
    version: str = LATEST
    context: str | None = None
    dockerfile: str = "Dockerfile"
    declared: Declared

    @property
    def digest(self) -> str:
        """Changes with everything that the file says of the service."""
        return digest(self.json_value())


async def read(file: str, service: str, *, program: str | None) -> Composed:
    """`program` is docker's command line, for a file that compose must resolve. Raises `NotConfigured` naming what is missing, or
    what is not supported."""
    document = await _document(Path(file), program)
    try:
        return composed(document, service, file=file)
    except NotSupported as error:
        raise NotConfigured(
            f"The compose file cannot be used for {service}: {error}.",
            hint="Supported of a service: " + ", ".join(SUPPORTED) + ".",
        ) from error


def composed(document: JsonObject, service: str, *, file: str) -> Composed:
    """The service of a resolved compose model. Raises `NotSupported`."""
    found = _table(document.get("services"), "services").get(service)
    given = _table(found, f"services.{service}")
    forms.refuse_others(given, SUPPORTED, service)
    project = _project(document, file)
    image, version = _image(given.get("image"))
    context, dockerfile = _build(given.get("build"), file)
    try:
        declared = Declared(
            command=forms.words(given.get("command"), "command"),
            env=forms.pairs(given.get("environment"), "environment"),
            ports=forms.ports(given.get("ports"), "ports"),
            networks=_networks(given.get("networks"), document, project, service),
            memory_bytes=forms.size(given.get("mem_limit"), "mem_limit") or None,
            cpus=forms.number(given.get("cpus"), "cpus") or None,
            check=forms.check(given.get("healthcheck"), "healthcheck"),
            labels=_labels(project, service, file),
        )
    except ValidationError as error:
        raise NotSupported("it holds a value that is out of range") from error
    if image is None and context is None:
        raise NotSupported("it has neither image nor build")
    return Composed(image=image, version=version, context=context, dockerfile=dockerfile, declared=declared)


async def _document(file: Path, program: str | None) -> JsonObject:
    try:
        text = await to_thread.run_sync(_text, file)
    except OSError as error:
        raise NotConfigured(
            "options.compose_file cannot be read.", hint="Correct its path, or let ops-mcp's user read it."
        ) from error
    document = _json(text)
    if document is None:
        document = _json(await _resolved(file, program))
    if document is None:
        raise NotConfigured("options.compose_file is no compose file.", hint="See docs/providers/docker.md.")
    return document


async def _resolved(file: Path, program: str | None) -> str:
    """What compose makes of it. Its own files are the operator's, as is the binding that names them."""
    said = await _config(program, file) if program is not None else None
    if said is not None:
        return said
    raise NotConfigured(
        "options.compose_file is YAML, and docker's compose plugin is not here to resolve it, or refuses it.",
        hint="Run `docker compose config --format json > FILE.json` where the plugin is, and name FILE.json in the binding.",
    )


async def _config(program: str, file: Path) -> str | None:
    argv = [program, "compose", "--file", str(file), "config", "--format", "json"]
    own = {"PATH": f"{Path(program).parent}{os.pathsep}{os.defpath}", "HOME": str(file.parent)}
    try:
        with anyio.fail_after(_CONFIG_SECONDS):
            done = await anyio.run_process(argv, env=own, cwd=file.parent, check=False, stderr=subprocess.DEVNULL)
    except TimeoutError as error:
        raise DeadlineExceeded("docker compose did not answer.", hint="Run it by hand and see what it waits for.") from error
    except OSError:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(_MOST_BYTES).decode(errors="replace")


def _json(text: str) -> JsonObject | None:
    try:
        found: Json = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _table(value: Json, field: str) -> JsonObject:
    if not isinstance(value, dict):
        raise NotSupported(f"there is no {field}")
    return value


def _project(document: JsonObject, file: str) -> str:
    """Its name, or that of its directory, as compose makes one of it."""
    named = document.get("name")
    name = named if isinstance(named, str) else re.sub(r"[^a-z0-9_-]", "", Path(file).parent.name.lower()).lstrip("_-")
    if not _PROJECT_NAME.fullmatch(name):
        raise NotSupported("the project has no name")
    return name


def _image(value: Json) -> tuple[str | None, str]:
    if value is None:
        return None, LATEST
    text = forms.literal(value, "image") if isinstance(value, str) else ""
    repository, at, version = text.partition("@")
    if not at:
        head, slash, last = repository.rpartition("/")
        name, _, version = last.partition(":")
        repository = f"{head}{slash}{name}"
    if not IMAGE.fullmatch(repository):
        raise NotSupported("image is no image's name")
    return repository, version or LATEST


def _build(value: Json, file: str) -> tuple[str | None, str]:
    """The directory below the file, which is where the repository of the binding's `source` begins."""
    if value is None:
        return None, "Dockerfile"
    given: JsonObject = {"context": value} if isinstance(value, str) else _table(value, "build")
    forms.refuse_others(given, ("context", "dockerfile"), "build")
    context, dockerfile = given.get("context") or ".", given.get("dockerfile") or "Dockerfile"
    if not isinstance(context, str) or not isinstance(dockerfile, str):
        raise NotSupported("build is not of a known form")
    inside = _inside(forms.literal(context, "build.context"), posixpath.dirname(file), "build.context")
    return inside, _inside(forms.literal(dockerfile, "build.dockerfile"), "", "build.dockerfile")


def _inside(path: str, base: str, field: str) -> str:
    """The path below `base`; refused where it is not."""
    if "://" in path or path.startswith("git@"):
        raise NotSupported(f"{field} is no directory")
    found = posixpath.relpath(path, base) if path.startswith("/") and base else posixpath.normpath(path)
    if found.startswith(("/", "..")) or any(ord(c) < 32 for c in found):
        raise NotSupported(f"{field} leads out of the directory of the compose file")
    return "" if found == "." else found


def _networks(value: Json, document: JsonObject, project: str, service: str) -> tuple[Attached, ...]:
    """All by the names that the engine knows them by. A service that names none is on the project's default network."""
    match value:
        case None:
            named: JsonObject = {"default": None}
        case dict():
            named = value
        case list() if all(isinstance(item, str) for item in value):
            named = dict.fromkeys(map(str, value))
        case _:
            raise NotSupported("networks is neither a map nor a list")
    return tuple(
        Attached(name=_network_name(key, document, project), aliases=(service, *_aliases(key, item)))
        for key, item in named.items()
    )


def _aliases(key: str, item: Json) -> tuple[str, ...]:
    if item is None:
        return ()
    given = _table(item, f"networks.{key}")
    forms.refuse_others(given, ("aliases",), f"networks.{key}")
    return forms.words(given.get("aliases"), f"networks.{key}.aliases")


def _network_name(key: str, document: JsonObject, project: str) -> str:
    declared = document.get("networks")
    table = declared.get(key) if isinstance(declared, dict) else None
    if not isinstance(table, dict):
        return f"{project}_{key}"
    name = table.get("name")
    if isinstance(name, str):
        return forms.literal(name, f"networks.{key}.name")
    return key if table.get("external") else f"{project}_{key}"


def _labels(project: str, service: str, file: str) -> dict[str, str]:
    """By which compose takes the container for one of its own; each replica's number is added where it is made."""
    return {
        COMPOSE_PROJECT: project,
        "com.docker.compose.service": service,
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.project.config_files": file,
        "com.docker.compose.project.working_dir": posixpath.dirname(file),
    }
