"""What `ops-mcp doctor` looks at besides deployments: channels, sources of logs and metrics, who reports alerts, the inventory.

Nobody is told anything and nothing is changed; what lies elsewhere is asked for as little as it answers.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import anyio

from ops_mcp import channels, sources
from ops_mcp.cli.checks import Finding
from ops_mcp.config import Config
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import OpsError
from ops_mcp.observing import LogSearch, Ready
from ops_mcp.secrets import Secrets
from ops_mcp.sources.tables import environments_named
from ops_mcp.startup import now
from ops_mcp.values import JsonObject

_ANSWER_SECONDS = 15.0
_SEE = "See whether it runs, and whether this host can reach it."
_LOOKED_BACK = timedelta(minutes=1)


async def examine(config: Config) -> tuple[Finding, ...]:
    """All findings, in a fixed order. What is elsewhere is asked all at once."""
    asked = {**_channels(config), **_sources(config)}
    found: dict[str, Finding] = {}

    async def ask(what: str, answer: Callable[[], Awaitable[str]]) -> None:
        found[what] = await _answered(what, answer)

    async with anyio.create_task_group() as group:
        for what, answer in asked.items():
            group.start_soon(ask, what, answer)
    return (*(found[what] for what in asked), *_names(config))


async def _answered(what: str, answer: Callable[[], Awaitable[str]]) -> Finding:
    try:
        with anyio.fail_after(_ANSWER_SECONDS):
            return Finding(what=what, state="ok", says=await answer())
    except OpsError as error:
        fix = _SEE if error.may_be_retried else error.hint or f"Look at {what} in config.toml."
        return Finding(what=what, state="fail", says=error.message, fix=fix)
    except TimeoutError:
        return Finding(what=what, state="fail", says=f"No answer in {_ANSWER_SECONDS:g} s.", fix=_SEE)


def _channels(config: Config) -> dict[str, Callable[[], Awaitable[str]]]:
    ways = channels.load(config.settings.channels, secret=Secrets(config.config_dir).read, clock=now)

    def asking(channel: object) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            return await channel.ready() if isinstance(channel, Ready) else "Set up; it is tried with the first notice."

        return ask

    return {f"channel {name}": asking(way.channel) for name, way in ways.items()}


def _sources(config: Config) -> dict[str, Callable[[], Awaitable[str]]]:
    around: Mapping[str, object] = {"secret": Secrets(config.config_dir).read, "redact": str, "clock": now}

    def asking(name: str, table: JsonObject) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            alone = config.model_copy(update={"settings": config.settings.model_copy(update={"sources": {name: table}})})
            made = sources.configured(alone, *sources.KINDS, **around)[name]()
            await _looked_at(str(table["kind"]), made, table)
            return f"{table['kind']}: it answers."

        return ask

    return {f"source {name}": asking(name, table) for name, table in config.settings.sources.items()}


async def _looked_at(kind: str, source: Any, table: JsonObject) -> None:
    match kind:
        case "prometheus":
            await source.instant("vector(1)", source.environment, now())
        case "scrape":
            await source.fetched()
        case _:
            environment = _first_environment(table)
            await source.search(LogSearch(environment=environment, since=now() - _LOOKED_BACK, limit=1))


def _first_environment(table: JsonObject) -> EnvironmentName:
    """Of a table that was understood: Loki's has environments, that of files a list of logs."""
    environments: Any = table.get("environments")
    logs: Any = table.get("logs")
    return EnvironmentName(str(next(iter(environments)) if environments else logs[0]["environment"]))


def _names(config: Config) -> Iterable[Finding]:
    """Names that lead nowhere: environments, channels, dependencies and secrets."""
    yield from _environments(config)
    yield from _told(config)
    yield from _dependencies(config)
    yield from _secrets(config)


def _environments(config: Config) -> Iterable[Finding]:
    named = [(f"alerts.sources.{name}", source.environment) for name, source in config.settings.alerts.sources.items()]
    named += [(f"inventory/{thing.service}.toml", thing.environment) for thing in config.declared]
    for name, table in config.settings.sources.items():
        named += [(f"source {name}", environment) for environment in environments_named(table)]
    for where, environment in named:
        if environment not in config.environments:
            says = f"There is no environment {environment!r}, so nobody sees it."
            yield Finding(what=where, state="fail", says=says, fix=f"Environments: {', '.join(config.environments)}.")


def _told(config: Config) -> Iterable[Finding]:
    alerts, known = config.settings.alerts, config.settings.channels
    named = {f"alerts.sources.{name}.channels": source.channels for name, source in alerts.sources.items()}
    named |= {"alerts.operators": alerts.operators, "alerts.routes.channels": tuple(alerts.routes.channels)}
    alone = {"supervise.channel": config.settings.supervise.channel, "slack.approvals": config.settings.slack.approvals}
    named |= {where: (name,) for where, name in alone.items() if name}
    routes = config.settings.routes
    named |= {f"routes.{name}": route.channels for name, route in routes.items()}
    for name, route in routes.items():
        if not route.channels:
            yield Finding(
                what=f"routes.{name}", state="warn", says="It has no channel, so nobody is told.", fix="Give it channels."
            )
        if name in known:
            says = f"A channel is called {name!r} too, and that is who is told."
            yield Finding(what=f"routes.{name}", state="warn", says=says, fix="Rename one of the two.")
    for where, names in named.items():
        for name in names:
            if name not in known and not (where == "alerts.operators" and name in routes):
                says = f"There is no channel {name!r}, so nobody is told."
                yield Finding(what=where, state="fail", says=says, fix=f"Channels: {', '.join(known) or 'none'}.")


def _dependencies(config: Config) -> Iterable[Finding]:
    there = {(thing.environment, thing.service) for thing in config.inventory}
    for thing in config.inventory:
        for name in thing.depends_on:
            if (thing.environment, name) not in there:
                says = f"In {thing.environment} it depends on {name!r}, which is not in the inventory there."
                yield Finding(what=f"inventory/{thing.service}.toml", state="warn", says=says, fix=f"Declare {name}.")


def _secrets(config: Config) -> Iterable[Finding]:
    known = {secret.name for secret in Secrets(config.config_dir).summaries()}
    named = [(f"alerts.sources.{name}", source.token) for name, source in config.settings.alerts.sources.items()]
    for thing in config.declared:
        needed = (getattr(probe, "secret", None) for probe in thing.probes)
        named += [(f"inventory/{thing.service}.toml", name) for name in needed if name]
    for where, name in sorted({each for each in named if each[1] not in known}):
        says = f"It needs the secret {name!r}, which is not set."
        yield Finding(what=where, state="fail", says=says, fix=f"ops-mcp secret set {name}")
