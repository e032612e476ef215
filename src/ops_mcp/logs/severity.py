"""How bad a line says it is. What says nothing is `unknown`; an HTTP status is an answer to somebody, not a severity."""

import re
from collections.abc import Mapping

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.structured import fields_of
from ops_mcp.values import Json

S = Severity


def severity_of(text: str) -> Severity:
    """By syslog priority, a JSON or logfmt field, or the word that leads the line or stands in brackets, in this order."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if text[:1] == "<" and (priority := _PRIORITY.match(text)) and int(priority[1]) <= _HIGHEST_PRIORITY:
        return _BY_PRIORITY[int(priority[1]) % 8]
    if fields := fields_of(text):
        return next((_named(fields[name]) for name in _FIELDS if name in fields), S.unknown)
    if any(name in text for name in _LOGFMT_NAMES):
        field = _LOGFMT.search(text, 0, _LOOKED_AT)
        if field and (found := _WORDS.get(field[1].lower())):
            return found
    return _by_words(text)


def _by_words(text: str) -> Severity:
    """Only before the first quote, which begins somebody else's words: a request, a message."""
    lead = text[:_LEAD].partition('"')[0]
    if klog := _KLOG.match(lead):
        return _BY_LETTER[klog[1]]
    if word := _MARKED.search(lead):
        return _WORDS[next(filter(None, word.groups())).lower()]
    if _RAISED.match(lead):
        return S.error
    return S.critical if lead.startswith(("panic: ", "fatal error: ")) else S.unknown


def _named(value: Json) -> Severity:
    match value:
        case str():
            return _WORDS.get(value.strip().lower()) or (_BY_NUMBER[int(value)] if _NUMBER.fullmatch(value) else S.unknown)
        case bool():
            return S.unknown
        case int():
            return _BY_NUMBER.get(value, S.unknown)
        case _:
            return S.unknown


_LOOKED_AT, _LEAD = 1024, 160
_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,32}m")
_PRIORITY = re.compile(r"<(\d{1,3})>(?=\S)")
_HIGHEST_PRIORITY = 191
_BY_PRIORITY = (S.critical, S.critical, S.critical, S.error, S.warning, S.info, S.info, S.debug)
"""RFC 5424 6.2.1: emergency, alert, critical, error, warning, notice, informational, debug."""

_FIELDS = ("level", "severity", "lvl", "loglevel", "log.level", "levelname", "severity_text", "severityText")
_WORDS: Mapping[str, Severity] = {
    "trace": S.trace,
    "verbose": S.trace,
    "finest": S.trace,
    "debug": S.debug,
    "dbg": S.debug,
    "dbug": S.debug,
    "info": S.info,
    "information": S.info,
    "informational": S.info,
    "notice": S.info,
    "warn": S.warning,
    "warning": S.warning,
    "err": S.error,
    "eror": S.error,
    "error": S.error,
    "severe": S.error,
    "failure": S.error,
    "crit": S.critical,
    "critical": S.critical,
    "fatal": S.critical,
    "panic": S.critical,
    "alert": S.critical,
    "emerg": S.critical,
    "emergency": S.critical,
}
_BY_NUMBER: Mapping[int, Severity] = {10: S.trace, 20: S.debug, 30: S.info, 40: S.warning, 50: S.error, 60: S.critical}
"""The numbers of pino and bunyan, the loggers that write numbers into `level`."""

_NUMBER = re.compile(r"[1-6]0")
_BY_LETTER: Mapping[str, Severity] = {"I": S.info, "W": S.warning, "E": S.error, "F": S.critical}
_LOGFMT_NAMES = ("level=", "severity=", "lvl=")
_LOGFMT = re.compile(r"(?<![\w.?&/-])(?:level|severity|lvl)=\"?([A-Za-z]{3,13})(?![\w-])")
_UPPER = "|".join(sorted((word.upper() for word in _WORDS), key=len, reverse=True))
_ANY = "|".join(sorted(_WORDS, key=len, reverse=True))
_MARKED = re.compile(
    rf"(?<![\w./=?&$'-])({_UPPER})(?![\w/='$-]|\.\w)"  # ERROR, as loggers write it, anywhere in the lead
    rf"|[\[(<|][ ]{{0,4}}((?i:{_ANY}))[ ]{{0,4}}[\])>|:]"  # [error], (warn), <info>, | debug |
    rf"|^[\W\d_TZ]{{0,64}}((?i:{_ANY}))[ ]{{0,2}}(?::[ ]|:$|!|[|])"  # error: …, behind nothing but a time
)
_KLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d")
_RAISED = re.compile(r"Traceback \(most recent call last\):|(?:Uncaught )?[A-Za-z_.]{0,80}(?:Error|Exception)(?:: |$)")
