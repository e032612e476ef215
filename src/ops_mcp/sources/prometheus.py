"""A Prometheus, or what speaks its HTTP API, asked for one environment: each query is confined to that environment's series.

Its answers come from strangers as much as from us: they are bounded, and read by the shape that the API has.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

import anyio
from pydantic import Field, ValidationError

from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.errors import DeadlineExceeded, InvalidArguments, NotConfigured, NotFound, OpsError, ProviderError, Unsupported
from ops_mcp.governance.redaction import plain
from ops_mcp.metrics.labels import Labels, is_label_name, labels_of
from ops_mcp.metrics.series import Answer, Matrix, Sample, Scalar, Series, Vector
from ops_mcp.observing import Listing, Ranged
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.sources._table import parsed, refuse_clear, refused
from ops_mcp.values import JsonObject, Secret, Value

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

KIND = "prometheus"
MOST_BYTES = 32 * 2**20
_MOST_SERIES_LISTED = 20_000
_LISTED_FOR_SECONDS = 3600
_LONGEST_REASON = 300

_Point = tuple[float, str]


class Table(Value):
    """`[sources.NAME]` of this kind. `matchers` are the labels that an environment's series carry; every selector demands them.

    Without `matchers` that is the label `environment`, whose value is the environment's name.
    """

    url: str = Field(pattern=r"^https?://[^\s?#@]+$", max_length=500)
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    matchers: dict[str, Annotated[str, Field(min_length=1, max_length=200)]] = {}
    token: str = ""
    timeout_seconds: float = Field(default=20.0, gt=0, le=40)


def build(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock, **_: object) -> "Prometheus":
    """`secret` reads the bearer token that the table names."""
    given = parsed(Table, name, table)
    matchers = given.matchers or {"environment": given.environment}
    if not all(is_label_name(label) and label != "__name__" for label in matchers):
        raise refused(name, "matchers has a label whose name is none")
    if given.token:
        refuse_clear(name, given.url)
    return Prometheus(name, given.evolve(matchers=matchers), secret, clock)


class _Reply(Value, extra="ignore", allow_inf_nan=True):
    status: Literal["success", "error"]
    data: Any = None
    error: str = ""
    errorType: str = ""  # noqa: N815  the API's word


class Prometheus:
    """Satisfies `observing.MetricSource`."""

    def __init__(self, name: str, table: Table, secret: ReadSecret, clock: Clock) -> None:
        self.name = name
        self.environment = table.environment
        self._table = table
        self._secret = secret
        self._clock = clock

    async def instant(self, query: str, environment: EnvironmentName, at: datetime) -> Answer:
        data = await self._asked("query", {"query": self._confined(query, environment), "time": _seconds(at)})
        return _read(lambda: _answer(data, round(at.timestamp() * 1000)))

    async def ranged(
        self, query: str, environment: EnvironmentName, *, start: datetime, end: datetime, step_seconds: float
    ) -> Ranged:
        wanted = {
            "query": self._confined(query, environment),
            "start": _seconds(start),
            "end": _seconds(end),
            "step": f"{step_seconds:.3f}",
        }
        data = await self._asked("query_range", wanted)
        answer = _read(lambda: _answer(data, round(end.timestamp() * 1000)))
        if not isinstance(answer, Matrix):
            raise _unreadable()
        return Ranged(answer)

    async def listed(self, environment: EnvironmentName, *, match: str = "", limit: int = 100) -> Sequence[Listing]:
        from ops_mcp.metrics.compiling import compiled
        from ops_mcp.metrics.labels import NAME, value_of
        from ops_mcp.metrics.listing import Wanted, listed, wanted_by

        wanted = wanted_by(match, compiled)
        selector = match if wanted.matchers != Wanted().matchers else '{__name__=~".+"}'
        now = self._clock()
        arguments = {
            "match[]": self._confined(selector, environment),
            "start": f"{now.timestamp() - _LISTED_FOR_SECONDS:.0f}",
            "end": f"{now.timestamp():.0f}",
            "limit": str(_MOST_SERIES_LISTED),
        }
        data = await self._asked("series", arguments)
        series = [one for one in _read(lambda: _label_sets(data)) if wanted.part in value_of(one, NAME)]
        newest = round(now.timestamp() * 1000)
        return [Listing(*one) for one in listed(series, [newest] * len(series), await self._families())[:limit]]

    def _confined(self, query: str, environment: EnvironmentName) -> str:
        from ops_mcp.metrics.confining import confined  # the parser is loaded by the first query

        if environment != self._table.environment:
            raise NotFound(f"{self.name} is not for this environment.", hint=f"It is for {self._table.environment}.")
        return confined(query, self._table.matchers)

    async def _families(self) -> Mapping[str, Any]:
        """What is said of the metrics; nothing where the other end has no such endpoint."""
        from ops_mcp.metrics.exposition import Family
        from ops_mcp.metrics.names import Kind

        try:
            data = await self._asked("metadata", {"limit_per_metric": "1"})
        except (ProviderError, NotFound, InvalidArguments):
            return {}
        known = {kind.value for kind in Kind}
        found: dict[str, Family] = {}
        for name, about in cast(dict[str, Any], data if isinstance(data, dict) else {}).items():
            match about:
                case [{"type": str() as kind, "help": str() as text}, *_]:
                    found[name] = Family(name, Kind(kind) if kind in known else Kind.untyped, plain(text, 300))
                case _:
                    continue
        return found

    async def _asked(self, what: str, arguments: Mapping[str, str]) -> Any:
        import httpx2  # 60 ms, and only who asks elsewhere needs it

        headers = {"Authorization": f"Bearer {self._token().get_secret_value()}"} if self._table.token else {}
        seconds = self._table.timeout_seconds
        try:
            with anyio.fail_after(seconds):
                async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=seconds) as client:
                    address = f"{self._table.url.rstrip('/')}/api/v1/{what}"
                    method = "GET" if what == "metadata" else "POST"
                    given = {"params": dict(arguments)} if method == "GET" else {"data": dict(arguments)}
                    async with client.stream(method, address, headers=headers, **given) as response:  # type: ignore[arg-type]
                        return self._data(response, await _body(response))
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.name} did not answer within {seconds:g} s.", hint="Narrow the query.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ProviderError(
                f"{self.name} cannot be reached: {type(error).__name__}.",
                hint="Try again; an operator can run `ops-mcp doctor`.",
                temporary=True,
            ) from error

    def _token(self) -> Secret:
        return self._secret(self._table.token)

    def _data(self, response: "httpx2.Response", body: bytes) -> Any:
        if response.status_code in {401, 403}:
            raise NotConfigured(
                f"{self.name} refuses our credential.", hint=f"An operator must mend `token` of [sources.{self.name}]."
            )
        try:
            reply = _Reply.model_validate_json(body)
        except ValidationError as error:
            raise ProviderError(
                f"{self.name} answered {response.status_code} with what is no answer of Prometheus.",
                hint="An operator must look at its `url`.",
                temporary=response.status_code >= 500,
            ) from error
        if reply.status == "error":
            raise self._complaint(reply, response.status_code)
        return reply.data

    def _complaint(self, reply: _Reply, status: int) -> OpsError:
        said = plain(reply.error, _LONGEST_REASON)
        match reply.errorType:
            case "bad_data" | "execution":
                return InvalidArguments(f"{self.name} refuses the query: {said}.", hint="Mend the expression, or ask for less.")
            case "timeout" | "canceled":
                return DeadlineExceeded(f"{self.name} took too long: {said}.", hint="Narrow the query.")
            case "not_found":
                return Unsupported(f"{self.name} does not know this: {said}.")
            case _:
                return ProviderError(f"{self.name} failed: {said}.", hint="Try again later.", temporary=status >= 500)


async def _body(response: "httpx2.Response") -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MOST_BYTES:
            raise InvalidArguments(f"The answer is larger than {MOST_BYTES >> 20} MiB.", hint="Aggregate, or ask for less.")
        parts.append(part)
    return b"".join(parts)


def _read(reading: Callable[[], T]) -> T:
    try:
        return reading()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable() from error


def _unreadable() -> ProviderError:
    return ProviderError("The answer has not the shape that Prometheus's API has.", hint="An operator must look at its `url`.")


def _answer(data: Any, at_ms: int) -> Answer:
    result = data["result"]
    match data["resultType"]:
        case "vector":
            return Vector(at_ms, tuple(Sample(_labels(one["metric"]), float(one["value"][1])) for one in result))
        case "scalar":
            return Scalar(at_ms, float(result[1]))
        case "matrix":
            return Matrix(tuple(sorted((_series(one) for one in result), key=lambda one: one.labels)))
        case _:
            raise _unreadable()


def _series(one: Any) -> Series:
    points: list[_Point] = one["values"]
    return Series(_labels(one["metric"]), [round(at * 1000) for at, _ in points], [float(value) for _, value in points])


def _labels(metric: Mapping[str, str]) -> Labels:
    return labels_of({str(name): str(value) for name, value in metric.items()})


def _label_sets(data: Sequence[Mapping[str, str]]) -> list[Labels]:
    return [_labels(one) for one in data]


def _seconds(at: datetime) -> str:
    return f"{at.timestamp():.3f}"
