"""Whether a log record is among those asked for. What is looked at is what may be shown: cleaned and redacted before."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments
from ops_mcp.logs.formats import FieldValue
from ops_mcp.logs.records import LogRecord
from ops_mcp.metrics.regexes import Pattern, pattern_of
from ops_mcp.observing import LogSearch

_FLAGS = re.compile(r"\(\?[is]+\)")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ONE_OF_THEM = "\u00ff"


class Sieve(NamedTuple):
    """What a search asks of a record's words. `text` is casefolded."""

    text: str | None
    pattern: "Anywhere | None"
    fields: Mapping[str, str]

    @classmethod
    def of(cls, wanted: LogSearch) -> "Sieve":
        """Raises `InvalidArguments` for a pattern that cannot be read."""
        pattern = Anywhere(wanted.pattern) if wanted.pattern is not None else None
        return cls(wanted.text.casefold() if wanted.text is not None else None, pattern, wanted.fields)

    def words(self, text: str) -> bool:
        """Whether text and pattern are in these words. Raises `InvalidArguments` for a pattern that takes too many steps."""
        if self.text is not None and self.text not in text.casefold():
            return False
        return self.pattern is None or self.pattern.matches(text)

    def holds(self, record: LogRecord) -> bool:
        """All but time and severity."""
        return has(record.fields, self.fields) and self.words(record.raw)


class Anywhere:
    """A regular expression somewhere in a text, in time linear in the text: nothing in it can explode."""

    def __init__(self, pattern: str) -> None:
        flags = found.group() if (found := _FLAGS.match(pattern)) else ""
        bare = pattern[len(flags) :]
        try:
            pattern_of(flags + bare)  # alone, so that its parentheses are its own
            self._whole: Pattern = pattern_of(rf"{flags}[\s\S]*(?:{bare})[\s\S]*")
        except InvalidArguments as error:
            raise InvalidArguments(error.message, hint=error.hint, details={"fields": ["pattern"]}) from error
        self._ascii = pattern.isascii()

    def matches(self, text: str) -> bool:
        """Characters beyond ASCII are all the same to a pattern that names none; so there are few steps to remember."""
        if self._ascii and not text.isascii():
            text = _BEYOND_ASCII.sub(_ONE_OF_THEM, text)
        try:
            return self._whole.matches(text)
        except InvalidArguments as error:
            raise InvalidArguments(
                "pattern needs too many steps for these lines.",
                hint="Use fewer counted repetitions and alternatives, or `text`.",
                details={"fields": ["pattern"]},
            ) from error


def has(found: Mapping[str, FieldValue], wanted: Mapping[str, str]) -> bool:
    """Whether every wanted field is there with that value, as it is written in the record."""
    return all(name in found and written(found[name]) == value for name, value in wanted.items())


def written(value: FieldValue) -> str:
    """A field's value as a filter names it: as JSON writes what is no text."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
