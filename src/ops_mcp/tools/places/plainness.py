"""Whether a value looks like a secret, which no model should have seen. Errs on the side of yes: there is another way."""

import re

from ops_mcp.governance.secret_shapes import is_secret_name

LONGEST_PLAIN = 200


def why_secret(name: str, value: str) -> str | None:
    """Why `value` should not pass through a model; None for what is plain. `name` is what it is to be called."""
    if len(value) > LONGEST_PLAIN:
        return f"it is longer than {LONGEST_PLAIN} characters"
    if is_secret_name(name) and not _HARMLESS.fullmatch(value):
        return "its name says that it is a secret"
    if any(_is_opaque(part) for run in _RUN.findall(value) for part in (run, *_BETWEEN.split(run))):
        return "it looks like a key or token"
    return None


def _is_opaque(run: str) -> bool:
    """Whether letters change between cases and digits as often as chance makes them, or go on longer than a word does."""
    pieces = [_PART.findall(piece) for piece in _PIECE.findall(run) if not piece.isdecimal()]
    length = sum(len(part) for parts in pieces for part in parts)
    changes = sum(len(parts) - 1 for parts in pieces)
    endless = any(len(part) > _LONGEST_WORD for parts in pieces for part in parts)
    return length >= _SHORTEST_KEY and (changes * _LEAST_BETWEEN_CHANGES >= length or endless)


_SHORTEST_KEY, _LONGEST_WORD, _LEAST_BETWEEN_CHANGES = 16, 20, 6
_HARMLESS = re.compile(r"\d{0,12}|(?i:true|false|yes|no|on|off|none|null)")
_RUN = re.compile(r"[A-Za-z0-9+/_=~.-]{16,}")
_BETWEEN = re.compile(r"[/.=]")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
