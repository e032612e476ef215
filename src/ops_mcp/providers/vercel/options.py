"""What an operator writes about Vercel: the provider's table and a binding's options, parsed. Asks nobody."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.providers._outside import Access
from ops_mcp.providers._source import AllowedRefs, GitSource, parse_repository
from ops_mcp.values import JsonObject, Value

KIND = "vercel"
HOSTS = frozenset({"api.vercel.com"})
API = "https://api.vercel.com"
PRODUCTION, STAGING, PREVIEW = "production", "staging", "preview"
_LOOPBACK = ("127.0.0.1", "localhost")


class Settings(Access):
    """`[providers.vercel]`. `team` is an id (`team_…`) or a slug; without it the token's personal account is meant."""

    api: str = API
    team: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")


class Git(Value):
    """The repository as Vercel's git integration knows it. Left out, it is the one that the project is connected to.

    `repo` is `owner/name`; `repo_id` is the integration's own id of it, the only way to name one on GitLab.
    """

    type: Literal["github", "gitlab", "bitbucket"]
    repo: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")
    repo_id: int | str | None = None

    @model_validator(mode="after")
    def _names_one(self) -> "Git":
        if self.type == "gitlab" and self.repo_id is None:
            raise ValueError("repo_id is missing: Vercel names a GitLab repository by its project id")
        if (self.repo is None) == (self.repo_id is None):
            raise ValueError("give either repo (owner/name) or repo_id")
        return self


class Options(Value):
    """Options of a binding whose provider is `vercel`.

    `target` is production, staging, preview or the slug of a custom environment. With `staged`, production builds are kept off
    production's domains until they are promoted; the project must not assign its domains by itself then.
    `repository` is the git URL by which names of branches and tags are resolved here.
    """

    project: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    target: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    staged: bool = False
    repository: str | None = Field(default=None, min_length=1, max_length=2048)
    allowed_refs: AllowedRefs = None
    git: Git | None = None
    domain: str | None = Field(default=None, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?$")
    build_minutes: float = Field(default=45.0, gt=0, le=120)
    keep_previews: int | None = Field(default=None, ge=2, le=90)

    @field_validator("target")
    @classmethod
    def _is_deployed_to(cls, value: str) -> str:
        if value == "development":
            raise ValueError("nothing is deployed to development; use production, staging, preview or a custom environment")
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> "Options":
        if self.staged and (self.target != PRODUCTION or self.domain is not None):
            raise ValueError("staged goes with target production and without domain")
        if self.keep_previews is not None and self.target == PRODUCTION:
            raise ValueError("keep_previews is for targets other than production")
        return self

    @property
    def goes_live(self) -> bool:
        """Whether a deployment is put on production's domains."""
        return self.target == PRODUCTION and not self.staged

    @property
    def is_custom(self) -> bool:
        return self.target not in (PRODUCTION, STAGING, PREVIEW)

    @property
    def source(self) -> GitSource | None:
        """The repository that names are resolved in. Raises `NotConfigured` for one that cannot be used."""
        return parse_repository(self.repository) if self.repository is not None else None


def parse_settings(table: JsonObject) -> Settings:
    """The provider's table. Raises `NotConfigured` naming the field, never its value."""
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        field, why = _first(error)
        raise NotConfigured(
            f"[providers.{KIND}] {field}: {why}.",
            hint="Valid: " + ", ".join(Settings.model_fields) + ". See docs/providers/vercel.md.",
        ) from error


def parse(binding: Binding) -> Options:
    """The binding's options. Raises `NotConfigured` naming the field, never its value.

    `secrets` of the binding reach no deployment; they name what `variable_set` may set there.
    """
    if binding.env:
        raise NotConfigured(
            f"{binding.service} in {binding.environment}: env does not reach Vercel, which keeps variables itself.",
            hint="Set it there, for instance with variable_set, and remove it from the binding.",
        )
    try:
        return Options.model_validate(binding.options)
    except ValidationError as error:
        field, why = _first(error)
        raise NotConfigured(
            f"{binding.service} in {binding.environment}: options{'.' if field else ''}{field}: {why}.",
            hint="Valid options of the vercel provider: " + ", ".join(Options.model_fields) + ". See docs/providers/vercel.md.",
        ) from error


def address(host: str, api: str) -> str:
    """The URL of a host that Vercel names. Only a simulator on this machine, asked over loopback, has sites without TLS there."""
    here = urlsplit(f"//{host}").hostname in _LOOPBACK and urlsplit(api).hostname in _LOOPBACK
    return f"{'http' if here else 'https'}://{host}"


def _first(error: ValidationError) -> tuple[str, str]:
    found = error.errors(include_input=False, include_url=False)[0]
    return ".".join(str(part) for part in found["loc"]), found["msg"]
