"""What an operator writes about a service that runs on this host, parsed from the binding; says nothing about how it is run."""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError, field_validator, model_validator

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.providers._source import FORMS, AllowedRefs, DirectorySource, Source, Subdirectory, parse_source
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
    subdirectory: Subdirectory = ""
    grace_seconds: float = Field(default=10.0, gt=0, le=120)
    build_seconds: float = Field(default=600.0, gt=0, le=3600)
    keep_releases: int = Field(default=5, ge=2, le=100)
    allowed_refs: AllowedRefs = None

    @field_validator("run", "build")
    @classmethod
    def _can_be_run(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in argument for argument in value) or (value and not value[0]):
            raise ValueError("must be arguments without NUL, the first one not empty")
        return value

    @model_validator(mode="after")
    def _says_what_runs(self) -> "Options":
        if not self.run and self.source != SAMPLE:
            raise ValueError("run is missing: give the argument list that starts the service")
        if self.port is None and any("{port}" in argument for argument in (*self.run, *self.build)):
            raise ValueError("{port} is used, and port is not set")
        return self


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
    if options.source == SAMPLE:
        return DirectorySource(path=sample)
    return parse_source(options.source, forms=(*FORMS, SAMPLE))


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
