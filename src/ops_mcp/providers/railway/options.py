"""What an operator writes about Railway: the table [providers.railway], and a binding's options; not what is done."""

from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from ops_mcp.config import Config
from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.providers._outside import Access
from ops_mcp.values import JsonObject, Value

V = TypeVar("V", bound=Value)

KIND = "railway"
API = "https://backboard.railway.com/graphql/v2"
HOSTS = frozenset({"backboard.railway.com"})

HourlyRequests = Annotated[int, Field(ge=20, le=1_000_000)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class TokenKind(StrEnum):
    """A project token opens one environment of one project; a workspace token every project of its workspace."""

    project = "project"
    workspace = "workspace"


class Settings(Access):
    """The table [providers.railway]. `hourly_requests` is the plan's published budget: Free 100, Hobby 1000, Pro 10000.

    `workspace` is the id of the workspace that a project opened by a workspace token must belong to. `subscribe` may be turned
    off where nothing lets WebSockets through.
    """

    api: str = API
    token_kind: TokenKind | dict[str, TokenKind] = TokenKind.project
    hourly_requests: HourlyRequests = 1000
    workspace: Id | None = None
    subscribe: bool = True

    def kind_of_token(self, environment: str) -> TokenKind:
        if isinstance(self.token_kind, TokenKind):
            return self.token_kind
        return self.token_kind.get(environment, TokenKind.project)


class Options(Value):
    """Options of a binding whose provider is `railway`; the ids are those in the addresses of Railway's own pages.

    `repository` is where refs are looked up (a git URL: https, ssh or file); without it only full commit ids are taken.
    `image` says that the service's source is an image, so that there is no commit to name. `domain` is asked for health.
    """

    project: Id
    environment_id: Id
    service_id: Id
    repository: str | None = Field(default=None, min_length=1, max_length=2048)
    image: bool = False
    domain: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$")
    hourly_requests: HourlyRequests | None = None
    deploy_minutes: float = Field(default=30.0, gt=0, le=180)

    @field_validator("repository")
    @classmethod
    def _is_a_plain_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("https", "ssh", "file"):
            raise ValueError("must be an https, ssh or file URL")
        if parts.password is not None or (parts.scheme == "https" and parts.username):
            raise ValueError("must carry no credential")
        if (parts.hostname or "").startswith("-") or (parts.username or "").startswith("-") or any(ord(c) <= 32 for c in value):
            raise ValueError("must be without blanks, control characters and leading dashes")
        return value


def settings_of(config: Config) -> Settings:
    """The provider's table. Raises `NotConfigured` naming the field, never its value."""
    return _parsed(Settings, config.settings.providers.get(KIND, {}), where=f"[providers.{KIND}]")


def options_of(binding: Binding) -> Options:
    """The binding's options. Raises `NotConfigured` naming the field, never its value."""
    return _parsed(Options, binding.options, where=f"{binding.service} in {binding.environment}: options")


def _parsed(model: type[V], table: JsonObject, *, where: str) -> V:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise NotConfigured(
            f"{where}{'.' if field else ''}{field}: {first['msg']}.",
            hint="Valid: " + ", ".join(model.model_fields) + ". See docs/providers/railway.md.",
        ) from error
