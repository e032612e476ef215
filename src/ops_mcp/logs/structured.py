"""Lines that are one JSON object, alone or behind a time that something else put in front."""

import json
import re
from typing import cast

from ops_mcp.values import JsonObject

LONGEST = 2**16


def fields_of(text: str) -> JsonObject:
    """The object that the line is; empty for every other line, and for one too long or too deep to read."""
    start = text.find("{")
    if start < 0 or len(text) > LONGEST or not _ONLY_A_TIME.fullmatch(text, 0, start):
        return {}
    try:
        found: object = json.loads(text[start:])
    except (ValueError, RecursionError):
        return {}
    return cast(JsonObject, found) if isinstance(found, dict) else {}


_ONLY_A_TIME = re.compile(r"[\s\d\[\]:.,TZ/+-]{0,48}")
