"""What an operator writes about a service that runs on this host, parsed from the binding; says nothing about how it is run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.values import JsonObject, Value, digest

SAMPLE = "sample"


class Options(Value):
    """Options of a binding whose provider is `local`.

    `source` is a git URL (https, ssh or file), the absolute path of a git repository or of a plain directory, or `sample`.
    `build` and `run` are argument lists without a shell, in which {port}, {python}, {release} and {data} are replaced.
    Both start in `subdirectory` of the release.
    """

    source: str = Field(min_length=1, max_length=2048)
    run: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    port: int | None = Field(default=None, ge=1, le=65535)
    subdirectory: str = ""
    grace_seconds: float = Field(default=10.0, gt=0, le=120)
    build_seconds: float = Field(default=600.0, gt=0, le=3600)
    keep_releases: int = Field(default=5, ge=2, le=100)
    allowed_refs: tuple[str, ...] | None = None

    @field_validator("subdirectory")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        parts = Path(value).parts
        if value and (Path(value).is_absolute() or ".." in parts or any(ord(c) < 32 for c in value)):
            raise ValueError("must be a relative path without ..")
        return value

    @field_validator("run", "build")
    @classmethod
    def _can_be_run(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in argument for argument in value) or (value and not value[0]):
            raise ValueError("must be arguments without NUL, the first one not empty")
        return value

    @field_validator("allowed_refs")
    @classmethod
    def _are_branches_and_tags(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not all(ref.startswith(("refs/heads/", "refs/tags/")) for ref in value):
            raise ValueError("must be patterns below refs/heads/ or refs/tags/")
        return value

    @model_validator(mode="after")
    def _says_what_runs(self) -> "Options":
        if not self.run and self.source != SAMPLE:
            raise ValueError("run is missing: give the argument list that starts the service")
        if self.port is None and any("{port}" in argument for argument in (*self.run, *self.build)):
            raise ValueError("{port} is used, and port is not set")
        return self


class GitSource(Value):
    """A repository to mirror. `url` is what git is given."""

    url: str


class DirectorySource(Value):
    """A directory that is copied as it is."""

    path: Path


Source: TypeAlias = GitSource | DirectorySource


def parse(binding: Binding) -> Options:
    """The binding's options. Raises `NotConfigured` naming the field, never its value."""
    try:
        return Options.model_validate(binding.options)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise NotConfigured(
            f"{binding.service} in {binding.environment}: options{'.' if field else ''}{field}: {first['msg']}.",
            hint="Valid options of the local provider: " + ", ".join(Options.model_fields) + ". See docs/providers/local.md.",
        ) from error


def source_of(options: Options, *, sample: Path) -> Source:
    """Where the content comes from. Looks at the file system only for paths."""
    given = options.source
    if given == SAMPLE:
        return DirectorySource(path=sample)
    if "://" in given:
        return GitSource(url=_checked(given))
    if given.startswith("/"):
        path = Path(given)
        return GitSource(url=given) if _is_repository(path) else DirectorySource(path=path)
    raise NotConfigured(
        "options.source is neither a git URL, an absolute path nor `sample`.",
        hint="Use https://…, ssh://user@host/path, file:///path, /path or sample.",
    )


def expand(argv: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
    """`argv` with the placeholders replaced; other braces are left alone."""
    known = re.compile("{(" + "|".join(map(re.escape, values)) + ")}")
    return tuple(known.sub(lambda match: values[match.group(1)], argument) for argument in argv)


def build_digest(binding: Binding, options: Options) -> str:
    """Names everything but the content that decides what a built release holds, in 12 hexadecimal digits."""
    made_by: JsonObject = {}
    if options.build:
        made_by = {"build": [*options.build], "subdirectory": options.subdirectory, "env": {**binding.env}}
    return digest(made_by).removeprefix("sha256:")[:12]


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "ssh", "file"):
        raise NotConfigured("options.source uses a transport that is not allowed.", hint="Allowed are https, ssh and file.")
    if parts.password is not None or (parts.scheme == "https" and parts.username):
        raise NotConfigured("options.source carries a credential.", hint="Use ssh with a key, or a URL that needs no credential.")
    if (parts.hostname or "").startswith("-") or (parts.username or "").startswith("-") or any(ord(c) <= 32 for c in url):
        raise NotConfigured("options.source is not a plain URL.", hint="Remove blanks, control characters and leading dashes.")
    return url


def _is_repository(path: Path) -> bool:
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())
