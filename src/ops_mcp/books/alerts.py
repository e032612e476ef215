"""Alert rules and alerts, as last stored. Nothing of it is loaded before somebody looks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ops_mcp.domain.places import EnvironmentName
from ops_mcp.observing import AlertsFound, AlertsWanted, RulesFound, RulesWanted
from ops_mcp.ports import Clock
from ops_mcp.store.database import Database

if TYPE_CHECKING:  # start-up has a bar
    from ops_mcp.alerting.lives import Life, LifeEvent
    from ops_mcp.alerting.muting import Silence
    from ops_mcp.store.alerts.reading import Reading


class Alerts:
    """Satisfies `observing.AlertBook`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def rules(self, wanted: RulesWanted) -> RulesFound:
        return await self._reading.rules(wanted)

    async def alerts(self, wanted: AlertsWanted) -> AlertsFound:
        return await self._reading.alerts(wanted)

    async def alert(self, id: str) -> "Life | None":
        return await self._reading.alert(id)

    async def history(self, id: str, *, limit: int = 50) -> "Sequence[LifeEvent]":
        return await self._reading.history(id, limit)

    async def silences(self, environments: Sequence[EnvironmentName]) -> "Sequence[Silence]":
        return await self._reading.silences(environments, self._clock())

    async def silence(self, id: str) -> "Silence | None":
        return await self._reading.silence(id)

    @property
    def _reading(self) -> "Reading":
        from ops_mcp.store.alerts.reading import Reading  # start-up has a bar

        return Reading(self._database)
