"""What Railway tells, parsed at the edge. Fields that nobody asked for are ignored, and unknown words stay words."""

from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ops_mcp.errors import ProviderError
from ops_mcp.values import Json, JsonObject

T = TypeVar("T", bound="Told")


class Told(BaseModel):
    """Base of what is told."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Instance(Told):
    status: str


class Deployed(Told):
    """One deployment at Railway. `meta` has no published shape; its `commitHash` and `image` say what is deployed."""

    id: str
    status: str
    created_at: datetime
    status_updated_at: datetime | None = None
    deployment_stopped: bool = False
    can_rollback: bool = False
    url: str | None = None
    static_url: str | None = None
    meta: Json = None
    instances: tuple[Instance, ...] = ()

    @property
    def content(self) -> str:
        """The commit or image; empty while Railway has not told it yet."""
        told = self.meta if isinstance(self.meta, dict) else {}
        return str(told.get("commitHash") or told.get("image") or "")


class Node(Told):
    id: str


class ProjectScope(Told):
    """What a project token opens."""

    project_id: str
    environment_id: str


class Step(Told):
    """One event of a deployment."""

    step: str
    created_at: datetime
    completed_at: datetime | None = None


class Source(Told):
    image: str | None = None
    repo: str | None = None


class Attribute(Told):
    key: str
    value: str


class Tags(Told):
    deployment_instance_id: str | None = None


class Entry(Told):
    """One log line; `timestamp` is RFC 3339 with nanoseconds."""

    timestamp: str
    message: str
    severity: str | None = None
    attributes: tuple[Attribute, ...] = ()
    tags: Tags | None = None


class ServiceThere(Told):
    service_id: str
    service_name: str


class Template(Told):
    id: str
    serialized_config: JsonObject = Field(default_factory=dict)


class PageInfo(Told):
    has_next_page: bool = False
    end_cursor: str | None = None


def parsed(model: type[T], told: Json) -> T:
    """Raises `ProviderError` for an answer of another shape, without quoting it."""
    try:
        return model.model_validate(told)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise ProviderError(f"Railway's answer has an unknown shape at {field or 'its top'}.", hint="Update ops-mcp.") from error


def each(model: type[T], told: Json) -> tuple[T, ...]:
    """A list of them."""
    return tuple(parsed(model, item) for item in told) if isinstance(told, list) else ()


def nodes(model: type[T], connection: Json) -> tuple[T, ...]:
    """The nodes of a Relay connection."""
    edges = connection.get("edges") if isinstance(connection, dict) else None
    return (
        tuple(parsed(model, edge.get("node")) for edge in edges or () if isinstance(edge, dict))
        if isinstance(edges, list)
        else ()
    )


def page_info(connection: Json) -> PageInfo:
    return parsed(PageInfo, connection.get("pageInfo") or {}) if isinstance(connection, dict) else PageInfo()
