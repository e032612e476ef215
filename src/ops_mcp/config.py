"""Config: the file and the environment, read once, frozen. The only place that reads `os.environ` besides the entry points."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, cast

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo

from ops_mcp.alerting.settings import AlertTerms
from ops_mcp.domain.addresses import Address
from ops_mcp.domain.calls import Cost
from ops_mcp.domain.identity import Tier
from ops_mcp.domain.inventory import Thing, things
from ops_mcp.domain.places import ApprovalRule, Binding, Environment, EnvironmentName, ServiceName
from ops_mcp.domain.releases import Usage
from ops_mcp.errors import NotConfigured
from ops_mcp.governance.recipients import Route, TellTerms
from ops_mcp.logs.settings import LogTerms
from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.supervising.settings import SlackTerms, SuperviseTerms
from ops_mcp.values import JsonObject, Secret, Value

V = TypeVar("V", bound=Value)


class Limits(Value):
    """One budget: most calls, tokens and micro-dollars per hour and per day. None is unlimited."""

    calls_per_hour: int | None = Field(default=None, ge=0)
    calls_per_day: int | None = Field(default=None, ge=0)
    tokens_per_hour: int | None = Field(default=None, ge=0)
    tokens_per_day: int | None = Field(default=None, ge=0)
    usd_micros_per_hour: int | None = Field(default=None, ge=0)
    usd_micros_per_day: int | None = Field(default=None, ge=0)


class Budgets(Value):
    """Budgets of an agent by line and tier, and one for everybody together.

    Work costs at most 5 $ and 100,000 tokens a day, 1 $ and 20,000 tokens an hour, unless set otherwise. A table changes the
    limits that it names and keeps the others; an empty table lifts every limit of its line.
    """

    read: Limits = Limits(calls_per_hour=3000, calls_per_day=20000, tokens_per_hour=400_000, tokens_per_day=2_000_000)
    work: Limits = Limits(
        calls_per_hour=60,
        calls_per_day=300,
        tokens_per_hour=20_000,
        tokens_per_day=100_000,
        usd_micros_per_hour=1_000_000,
        usd_micros_per_day=5_000_000,
    )
    recovery: Limits = Limits(calls_per_hour=20, calls_per_day=60)
    anonymous: Limits = Limits(calls_per_hour=120, calls_per_day=500, tokens_per_hour=60_000, tokens_per_day=200_000)
    everyone: Limits = Limits(calls_per_hour=100_000, calls_per_day=1_000_000, usd_micros_per_day=50_000_000)
    agents: dict[str, dict[Literal["read", "work", "recovery"], Limits]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_is_not_named(cls, given: dict[str, object] | Self, parse: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, dict):
            return parse(given)
        return parse({name: _over_default(cls.model_fields.get(name), table) for name, table in given.items()})


def _over_default(line: FieldInfo | None, table: object) -> object:
    """A line's table on top of its default limits; an empty one and anything else as it is."""
    named = _limits_named(table)
    if named and line is not None and isinstance(line.default, Limits):
        return {**line.default.model_dump(), **named}
    return table


def _limits_named(table: object) -> dict[str, object]:
    return cast(dict[str, object], table) if isinstance(table, dict) else {}


class Rate(Value):
    """A token bucket: `burst` calls at once, refilled at `per_minute`."""

    per_minute: float = Field(gt=0)
    burst: int = Field(ge=1)


class Rates(Value):
    """Per agent and effect."""

    read: Rate = Rate(per_minute=6000, burst=1000)
    record: Rate = Rate(per_minute=600, burst=200)
    change: Rate = Rate(per_minute=30, burst=20)
    destroy: Rate = Rate(per_minute=6, burst=3)


class ApprovalTerms(Value):
    """Minutes to answer a request, minutes to use the grant, and how many one agent may have open."""

    answer_minutes: float = Field(default=15, gt=0)
    use_minutes: float = Field(default=15, gt=0)
    open_per_agent: int = Field(default=5, ge=1)


class Http(Value):
    """`tls` states that something in front terminates TLS; without it only loopback addresses are bound."""

    host: str = "127.0.0.1"
    port: int = Field(default=3001, ge=0, le=65535)
    tls: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = Field(default=1_048_576, ge=1024)


class LedgerTerms(Value):
    """Every `anchor_every`-th head is copied to `anchors` (file paths or https URLs).

    The floor is the least free disk space at which new work is taken on.
    """

    anchor_every: int = Field(default=1000, ge=1)
    anchors: tuple[str, ...] = ()
    free_space_floor_bytes: int = Field(default=64 * 2**20, ge=0)
    lock_seconds: float = Field(default=5.0, gt=0)
    keep_days: int = Field(default=90, ge=90)


class Isolation(Value):
    """How code that agents choose is confined. `auto` takes bubblewrap where it works, else another uid, else nothing."""

    mode: Literal["auto", "bubblewrap", "uid", "none"] = "auto"
    uid: int | None = Field(default=None, ge=1)
    build_network: bool = True


class GuardTerms(Value):
    """Whether the load of the host where services run holds changes up. Switch it off where others load that host as well."""

    enabled: bool = True


class Meter(Value):
    """What a provider charges, in micro-dollars. The most that one change may take is reserved before it, and settled after it
    by what the provider metered."""

    request: int = Field(default=0, ge=0, le=10**9)
    build_minute: int = Field(default=0, ge=0, le=10**9)
    most_requests: int = Field(default=500, ge=0)
    most_build_minutes: int = Field(default=45, ge=0)

    @property
    def ceiling(self) -> int:
        return self.request * self.most_requests + self.build_minute * self.most_build_minutes

    def charge(self, usage: Usage) -> int:
        """Begun minutes count, as hosts bill them."""
        return self.request * usage.requests + self.build_minute * math.ceil(usage.build_seconds / 60)


class EnvironmentSettings(Value):
    """An environment in the file. Absent `approval` and `private` follow the tier: prod asks and is private."""

    tier: Tier
    approval: ApprovalRule | None = None
    private: bool | None = None
    four_eyes: bool = False


class TracingTerms(Value):
    """Where traces of calls go: the base address of a collector that takes OTLP over HTTP. Needs the extra `otel`."""

    endpoint: str = Field(default="", max_length=300, pattern=r"^(https?://\S+)?$")


class Settings(Value):
    """The configuration file (`config.toml`), as written."""

    environments: dict[EnvironmentName, EnvironmentSettings] = {}
    toolsets: tuple[str, ...] = ("core", "observe", "alerts", "supervise")
    budgets: Budgets = Budgets()
    rates: Rates = Rates()
    approvals: ApprovalTerms = ApprovalTerms()
    prices: dict[str, Annotated[int, Field(ge=0, le=10**12)]] = Field(
        default={}, description="Micro-dollars per call, by `tool` or `tool:provider`"
    )
    meters: dict[str, Meter] = Field(default={}, description="What each provider charges, by its name")
    reputation: bool = True
    http: Http = Http()
    ledger: LedgerTerms = LedgerTerms()
    tracing: TracingTerms = TracingTerms()
    isolation: Isolation = Isolation()
    guard: GuardTerms = GuardTerms()
    database_url: Secret | None = Field(default=None, description="A PostgreSQL for a team; without it, a file of our own")
    worker: Literal["auto", "inline", "external"] = "auto"
    providers: dict[str, JsonObject] = {}
    sources: dict[str, JsonObject] = Field(default={}, description="Where logs and metrics come from besides our own, by name")
    channels: dict[str, JsonObject] = Field(default={}, description="Ways to tell people, by name")
    logs: LogTerms = LogTerms()
    metrics: MetricTerms = MetricTerms()
    routes: dict[str, Route] = Field(default={}, description="Who is told, by name: channels, and from which severity on")
    telling: TellTerms = TellTerms()
    alerts: AlertTerms = AlertTerms()
    supervise: SuperviseTerms = SuperviseTerms()
    slack: SlackTerms = SlackTerms()
    allowed_refs: tuple[str, ...] = ("refs/heads/*", "refs/tags/*")


DEFAULT_ENVIRONMENTS: Mapping[EnvironmentName, EnvironmentSettings] = {
    EnvironmentName("sandbox"): EnvironmentSettings(tier=Tier.sandbox),
    EnvironmentName("staging"): EnvironmentSettings(tier=Tier.staging),
    EnvironmentName("production"): EnvironmentSettings(tier=Tier.prod),
}


SAME_USER = (
    "Same user: this server runs as the user whose agent calls it. It protects against mistakes and leaves evidence; it is no"
    " boundary against an agent with a shell. Keep credentials for prod in `ops-mcp serve` under another user or host."
)
SERVED = (
    "Service: this server runs apart from its callers, who hold only their tokens. It is a boundary as long as the agent cannot"
    " become the server's user or read its files."
)


class Config(Value):
    """Everything read at start. `config_dir` holds config.toml, services/, inventory/, policies/ and secrets/; `state_dir` the
    rest. `declared` is what operators wrote into the inventory."""

    config_dir: Path
    state_dir: Path
    settings: Settings = Settings()
    address: Address | None = None
    environments: dict[EnvironmentName, Environment]
    bindings: tuple[Binding, ...] = ()
    declared: tuple[Thing, ...] = ()
    token: Secret | None = None
    served: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def database_path(self) -> Path:
        return self.state_dir / "ops.db"

    @property
    def database(self) -> Path | Address:
        """Where the governed records are: in a file of our own, or in a PostgreSQL."""
        return self.address or self.database_path

    @property
    def logs_path(self) -> Path:
        return self.state_dir / "logs.db"

    @property
    def metrics_path(self) -> Path:
        return self.state_dir / "metrics.db"

    @property
    def boundary(self) -> str:
        """Where the boundary runs, in the words that `whoami` and `doctor` use."""
        return SERVED if self.served else SAME_USER

    def binding(self, service: str, environment: str) -> Binding | None:
        """The binding of `service` in `environment`, or None."""
        return next((b for b in self.bindings if b.service == service and b.environment == environment), None)

    @property
    def inventory(self) -> tuple[Thing, ...]:
        """Everything that should run, deployed by us or not."""
        return things(self.declared, self.bindings)

    def service_names(self) -> tuple[ServiceName, ...]:
        return tuple(sorted({b.service for b in self.bindings}))

    def price(self, tool: str, provider: str | None) -> Cost:
        """The operator's price of one call, most specific first."""
        prices = self.settings.prices
        return Cost(calls=0, usd_micros=prices.get(f"{tool}:{provider}", prices.get(tool, 0)))

    @property
    def prod_credentials(self) -> tuple[str, ...]:
        """Bindings to prod environments that name secrets, or whose provider has a token for there."""
        tiers = {name: environment.tier for name, environment in self.environments.items()}
        prod = [b for b in self.bindings if tiers.get(b.environment) is Tier.prod]
        return tuple(f"{b.service} in {b.environment}" for b in prod if b.secrets or self.has_token(b.provider, b.environment))

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is said at every start and in every `whoami`."""
        if self.served or not (beside := self.prod_credentials):
            return self.warnings
        named = ", ".join(beside[:5]) + (", ..." if len(beside) > 5 else "")
        said = f"Credentials for prod are configured where the agent's shell can read them: {named}."
        return (*self.warnings, f"{said} They belong in `ops-mcp serve` under another user or host.")

    def has_token(self, provider: str, environment: str) -> bool:
        """Whether the provider's table names a token for this environment."""
        tokens = self.settings.providers.get(provider, {}).get("tokens")
        return isinstance(tokens, dict) and environment in tokens

    def most_metered(self, provider: str) -> int:
        """The most micro-dollars that one change at this provider is metered."""
        meter = self.settings.meters.get(provider)
        return meter.ceiling if meter else 0


def load(environ: Mapping[str, str], *, config_dir: Path | None = None, state_dir: Path | None = None) -> Config:
    """Read the configuration. Raises `NotConfigured` naming the file and field that cannot be used."""
    where = config_dir or _directory(environ, "OPS_MCP_CONFIG", "XDG_CONFIG_HOME", ".config")
    state = state_dir or _directory(environ, "OPS_MCP_STATE", "XDG_STATE_HOME", ".local/state")
    settings = _settings(where / "config.toml")
    if url := environ.get("OPS_MCP_DATABASE_URL"):
        settings = settings.model_copy(update={"database_url": Secret(url)})
    token = environ.get("OPS_MCP_TOKEN")
    return Config(
        config_dir=where,
        state_dir=state,
        settings=settings,
        address=Address.parse(settings.database_url.get_secret_value()) if settings.database_url else None,
        environments=_environments(settings),
        bindings=read_bindings(where),
        declared=read_inventory(where),
        token=Secret(token) if token is not None else None,
        warnings=tuple(_warnings(environ)),
    )


def read_bindings(config_dir: Path) -> tuple[Binding, ...]:
    """Every `services/NAME.toml`: one table per environment. Raises `NotConfigured` naming the file."""
    return _places(config_dir / "services", Binding)


def read_inventory(config_dir: Path) -> tuple[Thing, ...]:
    """Every `inventory/NAME.toml`: one table per environment. Raises `NotConfigured` naming the file."""
    return _places(config_dir / "inventory", Thing)


def _places(folder: Path, model: type[V]) -> tuple[V, ...]:
    found: list[V] = []
    for file in sorted(folder.glob("*.toml")):
        for environment, table in _toml(file).items():
            if not isinstance(table, dict):
                raise NotConfigured(f"{file}: {environment!r} is no table.", hint="Write one [environment] table each.")
            found.append(_parse(model, {"service": file.stem, "environment": environment, **table}, file))
    return tuple(found)


def _settings(file: Path) -> Settings:
    return _parse(Settings, _toml(file), file) if file.exists() else Settings()


def _environments(settings: Settings) -> dict[EnvironmentName, Environment]:
    declared = settings.environments or DEFAULT_ENVIRONMENTS
    return {
        name: Environment(
            name=name,
            tier=e.tier,
            approval=e.approval or (ApprovalRule.always if e.tier is Tier.prod else ApprovalRule.never),
            private=e.private if e.private is not None else e.tier is Tier.prod,
            four_eyes=e.four_eyes,
        )
        for name, e in declared.items()
    }


def _toml(file: Path) -> JsonObject:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise NotConfigured(f"{file} cannot be read: {error}.", hint="Mend the file, or move it away.") from error


def _parse(model: type[V], data: JsonObject, file: Path) -> V:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        page = "docs/languages/health.md" if model is Thing else "docs/reference/config.md"
        raise NotConfigured(f"{file}: {where}: {first['msg']}.", hint=f"See {page}.") from error


def _directory(environ: Mapping[str, str], own: str, xdg: str, fallback: str) -> Path:
    if chosen := environ.get(own):
        return Path(chosen)
    base = environ.get(xdg) or str(Path(environ.get("HOME") or Path.home()) / fallback)
    return Path(base) / "ops-mcp"


def _warnings(environ: Mapping[str, str]) -> list[str]:
    ignored = [name for name in ("DATABASE_URL", "REDIS_URL", "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY") if name in environ]
    return [f"{name} is set and ignored: it belongs to another application." for name in ignored]
