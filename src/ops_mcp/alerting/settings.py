"""How alert rules are evaluated and told, as the operator writes it."""

from pydantic import Field

from ops_mcp.alerting.inbound import Source
from ops_mcp.values import Value


class AlertTerms(Value):
    """Seconds between evaluations, and who outside may report alerts: each source's name, and the secret its token is in."""

    every_seconds: float = Field(default=15.0, ge=1, le=3600)
    sources: dict[str, Source] = {}
