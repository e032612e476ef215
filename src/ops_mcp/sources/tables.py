"""What the operator's tables `[sources.NAME]` say before any of them is made into a source."""

from collections.abc import Sequence

from ops_mcp.values import Json, JsonObject


def environments_named(table: JsonObject) -> Sequence[str]:
    """Of which environments a table of any kind says that it keeps something, whether or not the rest of it can be used."""
    named: list[Json] = [table.get("environment")]
    if isinstance(environments := table.get("environments"), dict):
        named += environments
    if isinstance(logs := table.get("logs"), list):
        named += [each.get("environment") for each in logs if isinstance(each, dict)]
    return [environment for environment in named if isinstance(environment, str)]
