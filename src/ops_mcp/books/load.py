"""observing.LoadBook: how loaded the hosts are on which services run, as the guard last read them."""

from collections.abc import Callable, Mapping

from ops_mcp.config import Config
from ops_mcp.domain.places import EnvironmentName, ServiceName
from ops_mcp.errors import Unavailable
from ops_mcp.governance.history import GuardLevel
from ops_mcp.governance.load import Load, load
from ops_mcp.ports import Clock, Provider, runs_here
from ops_mcp.store import guard, leases
from ops_mcp.store.database import Database

NOT_APPLICABLE = Load(GuardLevel.not_applicable, None, None, None)
NOT_KNOWN = Load(GuardLevel.unknown, None, None, None)


class Loads:
    """Looks at rows only: what nobody has read for a minute is unknown, and is read before the next change."""

    def __init__(
        self,
        database: Database,
        configured: Callable[[], Config],
        places: Callable[[], Mapping[str, Provider]],
        host: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._configured = configured
        self._places = places
        self._host = host
        self._clock = clock

    async def of(self, environment: EnvironmentName | None, service: ServiceName | None) -> Load:
        config = self._configured()
        if not config.settings.guard.enabled:
            return NOT_APPLICABLE
        if service is not None:
            binding = config.binding(service, environment) if environment is not None else None
            if binding is None or not runs_here(self._places(), binding):
                return NOT_APPLICABLE
        at = self._clock()
        try:
            elsewhere = config.settings.worker == "external"
            host = guard.concerned(await leases.recently(self._database), self._host, at, elsewhere=elsewhere)
            return load((await guard.known_of(self._database, host)).guard, at)
        except Unavailable:
            return NOT_KNOWN
