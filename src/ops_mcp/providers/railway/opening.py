"""Opening a binding: whose token, what it opens, and that the binding names nothing else. Comes before anything else is asked."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from ops_mcp.config import Config
from ops_mcp.domain.identity import Tier
from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.ports import Clock, ReadSecret, Sleep
from ops_mcp.providers._outside import Outside, token_for
from ops_mcp.providers.railway.answers import Node, ProjectScope, nodes, parsed
from ops_mcp.providers.railway.documents import PROJECT_SCOPE, TOKEN_SCOPE, Document
from ops_mcp.providers.railway.line import Line
from ops_mcp.providers.railway.options import KIND, Options, Settings, TokenKind, options_of
from ops_mcp.providers.railway.pace import Pace
from ops_mcp.values import JsonObject, Secret


@dataclass(frozen=True, slots=True)
class Opened:
    """One binding, opened for one call, which is to be through by `until`. `loopback` says that the API is on this machine."""

    binding: Binding
    options: Options
    line: Line
    until: datetime
    patiently: bool
    loopback: bool
    subscribe: bool

    async def ask(self, document: Document, variables: JsonObject) -> JsonObject:
        """A question that may be asked again: what is temporary is waited out, unless whoever called only looks."""
        if self.patiently:
            return await self.line.ask_patiently(document, variables, until=self.until)
        return await self.line.ask(document, variables)

    @property
    def place(self) -> JsonObject:
        """The variables that name the service."""
        options = self.options
        return {"project": options.project, "environment": options.environment_id, "service": options.service_id}


@dataclass
class Door:
    """Opens bindings. What a token opens is asked once for each token and remembered."""

    config: Config
    settings: Settings
    outside: Outside
    secret: ReadSecret
    clock: Clock
    sleep: Sleep
    _paces: dict[str, Pace] = field(default_factory=dict[str, Pace], init=False)
    _opens: dict[str, tuple[Secret, frozenset[tuple[str, str]]]] = field(
        default_factory=dict[str, tuple[Secret, frozenset[tuple[str, str]]]], init=False
    )

    async def open(self, binding: Binding, *, patiently: bool = False) -> Opened:
        """Raises `NotConfigured` where the binding names what its environment's token does not open."""
        options = options_of(binding)
        line = self._line(binding, options)
        until = self.clock() + timedelta(minutes=options.deploy_minutes)
        await self._refuse_outside_scope(binding, options, line, until if patiently else None)
        loopback = urlsplit(self.settings.api).scheme == "http"
        return Opened(binding, options, line, until, patiently=patiently, loopback=loopback, subscribe=self.settings.subscribe)

    def _line(self, binding: Binding, options: Options) -> Line:
        kind = self.settings.kind_of_token(binding.environment)
        environment = self.config.environments.get(binding.environment)
        if kind is TokenKind.workspace and (environment is None or environment.tier is Tier.sandbox):
            raise NotConfigured(
                f"A workspace token opens every project, so it is not used for the sandbox ({binding.environment}).",
                hint="Make a project token for that environment at Railway and set token_kind to project.",
            )
        token = token_for(KIND, self.settings, binding.environment, self.secret)
        hourly = options.hourly_requests or self.settings.hourly_requests
        pace = self._paces.setdefault(binding.environment, Pace(hourly, self.clock))
        pace.hourly = min(pace.hourly, hourly)
        path = urlsplit(self.settings.api).path
        return Line(self.outside, path, token, kind, options.project, pace, self.clock, self.sleep)

    async def _refuse_outside_scope(self, binding: Binding, options: Options, line: Line, until: datetime | None) -> None:
        name = f"{binding.environment} {options.project}"
        known = self._opens.get(name)
        if known is None or known[0] != line.token:
            known = self._opens[name] = (line.token, await self._opened_by(line, until))
        for what, wanted, mine in (
            ("project", options.project, {project for project, _ in known[1]}),
            ("environment_id", options.environment_id, {environment for _, environment in known[1]}),
        ):
            if wanted not in mine:
                raise NotConfigured(
                    f"{binding.service}: options.{what} is not what the token of {binding.environment} opens.",
                    hint="A token opens its own project and environment only. Mend the binding, or the environment's token.",
                )

    async def _opened_by(self, line: Line, until: datetime | None) -> frozenset[tuple[str, str]]:
        """The pairs of project and environment that the token opens, as far as they matter to this project."""
        document, variables = (TOKEN_SCOPE, {}) if line.kind is TokenKind.project else (PROJECT_SCOPE, {"project": line.project})
        asked = line.ask(document, variables) if until is None else line.ask_patiently(document, variables, until=until)
        data = await asked
        if line.kind is TokenKind.project:
            scope = parsed(ProjectScope, data.get("projectToken"))
            return frozenset({(scope.project_id, scope.environment_id)})
        project = data.get("project")
        told = project if isinstance(project, dict) else {}
        if self.settings.workspace is not None and told.get("workspaceId") != self.settings.workspace:
            raise NotConfigured(
                "The bound Railway project does not belong to the workspace that is configured.",
                hint="Mend options.project, or `workspace` in [providers.railway].",
            )
        return frozenset((line.project, environment.id) for environment in nodes(Node, told.get("environments")))
