"""The provider as the configuration wants it. A transport is given only by who lets it speak to a simulator."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops_mcp.config import Config
from ops_mcp.ports import Clock, ReadSecret, Sleep
from ops_mcp.providers._outside import Outside
from ops_mcp.providers.railway.contents import Repositories
from ops_mcp.providers.railway.opening import Door
from ops_mcp.providers.railway.options import HOSTS, KIND, settings_of
from ops_mcp.providers.railway.place import Railway
from ops_mcp.providers.railway.sightings import Sightings

if TYPE_CHECKING:
    import httpx2


def connected(
    config: Config,
    *,
    secret: ReadSecret,
    clock: Clock,
    sleep: Sleep,
    transport: "httpx2.AsyncBaseTransport | None" = None,
) -> Railway:
    """Raises `NotConfigured` for a table [providers.railway] that cannot be used."""
    settings = settings_of(config)
    parts = urlsplit(settings.api)
    outside = Outside(KIND, f"{parts.scheme}://{parts.netloc}", HOSTS, clock, transport)
    return Railway(
        door=Door(config, settings, outside, secret, clock, sleep),
        outside=outside,
        secret=secret,
        repositories=Repositories(config.state_dir / "mirrors", config.settings.allowed_refs),
        sightings=Sightings(clock),
    )
