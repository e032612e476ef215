"""A source of Loki's, and the simulated Loki that it asks in this process."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ops_mcp.errors import NotConfigured
from ops_mcp.observing import LogSearch, LogsMatched
from ops_mcp.sources.loki import LokiSource, build
from ops_mcp.values import JsonObject, Secret
from sandbox.loki.app import Loki
from sandbox.loki.world import World
from sandbox.vercel.inprocess import InProcess
from tests.sources.filed import NOON, REDACTOR

WEB = {"env": "staging", "service": "web"}
TABLE: JsonObject = {
    "url": "http://127.0.0.1:3100",
    "environments": {"staging": {"env": "staging"}, "production": {"env": "prod"}},
    "deployment_label": "deployment",
}


@dataclass
class Asked:
    """`put` minutes before noon; `search` as a caller's."""

    world: World
    app: Loki
    source: LokiSource

    def put(self, *lines: str, minutes_ago: float = 1.0, **labels: str) -> None:
        """Lines a microsecond apart."""
        start = int((NOON - timedelta(minutes=minutes_ago)).timestamp()) * 10**9
        for number, line in enumerate(lines):
            self.world.put({**WEB, **labels}, start + number * 1000, line)

    async def search(self, wanted: LogSearch) -> LogsMatched:
        return await self.source.search(wanted)


def asked(secrets: dict[str, str] | None = None, world: World | None = None, **table: Any) -> Asked:
    world = world or World(lambda: NOON)
    app = Loki(world)

    def secret(name: str) -> Secret:
        if name not in (secrets or {}):
            raise NotConfigured(f"The secret {name!r} is not set.")
        return Secret((secrets or {})[name])

    source = build("grafana", {**TABLE, **table}, secret=secret, redact=REDACTOR.text, transport=InProcess(app))
    return Asked(world, app, source)
