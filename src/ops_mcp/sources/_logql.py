"""LogQL as we write it: a selector and line filters, with every word of a caller's quoted. Nothing of theirs is ever syntax."""

import json
import re
from collections.abc import Mapping

_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def selector(labels: Mapping[str, str]) -> str:
    """Streams that have exactly these values. Label names are the operator's."""
    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in labels.items()) + "}"


def query(labels: Mapping[str, str], *, text: str | None, pattern: str | None) -> str:
    """Lines of these streams that hold the text in any case and match the pattern."""
    parts = [selector(labels)]
    if text is not None:
        parts.append(f"|~ {quoted('(?i)' + _META.sub(_escaped, text))}")
    if pattern is not None:
        parts.append(f"|~ {quoted(pattern)}")
    return " ".join(parts)


def quoted(text: str) -> str:
    """A string in Go's syntax, of which JSON's is a part as long as nothing beyond the BMP is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _escaped(found: re.Match[str]) -> str:
    return "\\" + found.group()
