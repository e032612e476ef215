"""A service's variables as Railway keeps them. A write never releases anything: the caller decides about the release after it."""

import re
from collections.abc import Sequence

from ops_mcp.domain.observations import Variable
from ops_mcp.domain.releases import SetVariable, Usage
from ops_mcp.errors import InvalidArguments, ProviderError
from ops_mcp.ports import ReadSecret
from ops_mcp.providers.railway.documents import SET_VARIABLE, VARIABLES
from ops_mcp.providers.railway.opening import Opened
from ops_mcp.values import Secret

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")
_OWN = "RAILWAY_"


async def variables_of(opened: Opened) -> Sequence[Variable]:
    """By name. The values are what the service would see: references are resolved by Railway."""
    told = (await opened.line.ask(VARIABLES, opened.place)).get("variables")
    if not isinstance(told, dict):
        raise ProviderError("Railway's answer has an unknown shape at variables.", hint="Update ops-mcp.")
    return tuple(
        Variable(name=name, value=Secret(str(value)), note="set by Railway" if name.startswith(_OWN) else "")
        for name, value in sorted(told.items())
    )


async def set_variable(opened: Opened, wanted: SetVariable, secret: ReadSecret) -> Usage:
    """Setting it again changes nothing, so that a request without an answer is simply sent again."""
    if not _NAME.fullmatch(wanted.name):
        raise InvalidArguments(
            "name is not the name of a variable.", hint="Use letters, digits and _, not beginning with a digit."
        )
    value = secret(wanted.secret).get_secret_value() if wanted.secret is not None else wanted.value
    if value is None:
        raise InvalidArguments("Neither value nor secret is given.", hint="Give one of them.")
    await opened.line.ask_patiently(SET_VARIABLE, {**opened.place, "name": wanted.name, "value": value}, until=opened.until)
    return opened.line.usage
