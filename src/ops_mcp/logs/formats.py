"""The forms in which services write log lines, and what is said in each: message, fields, where time and severity stand."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from ops_mcp.logs.structured import fields_of
from ops_mcp.values import Json, JsonObject

FieldValue: TypeAlias = str | int | float | bool | None

MOST_FIELDS, LONGEST_NAME, LONGEST_VALUE, DEEPEST = 64, 128, 2048, 6


class Parts(NamedTuple):
    """What one line consists of. `times` and `severity` are texts in which time and severity are to be looked for, in order."""

    message: str
    fields: Mapping[str, FieldValue]
    times: tuple[str, ...]
    severity: str
    origin: str = ""


def parts_of(text: str) -> Parts:
    """The parts of a cleaned text, of which lines below the first belong to the message. What has no known form is plain."""
    if fields := fields_of(text):
        return _json(text, fields)
    first, newline, below = text.partition("\n")
    found = _first_line(first)
    return found._replace(message=f"{found.message}\n{below}") if newline else found


def _first_line(line: str) -> Parts:
    if fields := fields_of(line):
        return _json(line, fields)
    return next((parts for read in _FORMS if (parts := read(line)) is not None), None) or _plain(line)


def _json(text: str, fields: JsonObject) -> Parts:
    if "log" in fields and fields.keys() <= _OF_A_CONTAINER_RUNTIME:
        return _of_a_container_runtime(str(fields["log"]).rstrip("\n"), text, str(fields.get("stream", "")))
    name = next((name for name in _MESSAGES if isinstance(fields.get(name), str) and fields[name]), None)
    message = str(fields[name]) if name else text
    rest: JsonObject = {key: value for key, value in fields.items() if key != name and key not in _TIME_OR_SEVERITY}
    return Parts(message, flat(rest), (text,), text)


def _of_a_container_runtime(inner: str, outer: str, stream: str) -> Parts:
    parts = parts_of(inner) if not inner.startswith('{"log"') else _plain(inner)
    return parts._replace(times=(*parts.times, outer), origin=stream)


def _cri(line: str) -> Parts | None:
    """What Kubernetes' runtimes write: a time, the stream, F or P (full or partial), the line."""
    if " std" not in line[:40] or not (match := _CRI.match(line)):
        return None
    return _of_a_container_runtime(line[match.end() :], match[1], match[2])


def _syslog(line: str) -> Parts | None:
    """RFC 5424 and 3164; the latter also without its priority, as syslog daemons write files."""
    if line[:1] == "<" and (match := _RFC_5424.match(line)):
        priority, host, app, pid, id = match.groups()
        data, message = _structured_data(line[match.end() :])
        named: dict[str, FieldValue] = {"host": host, "app": app, "pid": pid, "msgid": id}
        fields = {name: value for name, value in named.items() if value != "-"} | _facility(priority) | data
        return Parts(message.removeprefix("\ufeff"), _bounded(fields), (line,), line)
    if match := _RFC_3164.match(line) or _TAGGED.match(line):
        priority, host, app, pid, message = match.groups()
        named = {"host": host, "app": app, "pid": pid}
        fields = {name: value for name, value in named.items() if value} | _facility(priority)
        return Parts(message, _bounded(fields), (line,), line)
    return None


def _facility(priority: str | None) -> dict[str, FieldValue]:
    number = int(priority) // 8 if priority else len(_FACILITIES)
    return {"facility": _FACILITIES[number]} if number < len(_FACILITIES) else {}


def _structured_data(text: str) -> tuple[dict[str, FieldValue], str]:
    """The parameters of RFC 5424's structured data as `id.name`, and the message behind it."""
    if text.startswith("-"):
        return {}, text[1:].removeprefix(" ")
    fields: dict[str, FieldValue] = {}
    while element := _ELEMENT.match(text):
        for name, value in _PARAMETER.findall(element[2]):
            fields[f"{element[1]}.{name}"] = _ESCAPED.sub(r"\1", value)
        text = text[element.end() :]
    return fields, text.removeprefix(" ")


def _access(line: str) -> Parts | None:
    """The common and the combined log format of web servers."""
    if '] "' not in line or not (match := _ACCESS.match(line)):
        return None
    client, user, request, status, size, referrer, agent = match.groups()
    named: dict[str, FieldValue] = {"client": client, "status": int(status)}
    named |= {"user": user} if user != "-" else {}
    named |= {"bytes": int(size)} if size != "-" else {}
    named |= {name: value for name, value in (("referrer", referrer), ("agent", agent)) if value and value != "-"}
    if asked := _REQUEST.fullmatch(request):
        named |= {"method": asked[1], "path": asked[2], "protocol": asked[3] or ""}
    return Parts(f'"{request}" {status} {size}', _bounded(named), (line,), line)


def _logfmt(line: str) -> Parts | None:
    """`name=value` pairs and nothing else, values quoted where they hold spaces; a time may stand in front."""
    if "=" not in line:
        return None
    start = found.end() if (found := _LEADING_TIME.match(line)) else 0
    pairs: dict[str, FieldValue] = {}
    while pair := _PAIR.match(line, start):
        pairs[pair[1]] = _ESCAPED.sub(r"\1", pair[2]) if pair[2] is not None else pair[3]
        start = pair.end()
    if len(pairs) < 2 or line[start:].strip():
        return None
    name = next((name for name in _MESSAGES if pairs.get(name)), None)
    message = str(pairs[name]) if name else line
    times = tuple(_stated_time(str(pairs[each])) for each in _TIMES if pairs.get(each))
    rest = {key: value for key, value in pairs.items() if key != name and key not in _TIME_OR_SEVERITY}
    return Parts(message, _bounded(rest), (*times, line), line)


def _stated_time(value: str) -> str:
    """A value in the form in which time is read: seconds since 1970 only as JSON."""
    return f'{{"ts":{value}}}' if _EPOCH.fullmatch(value) else value


def _klog(line: str) -> Parts | None:
    """What Go programs around Kubernetes write: level as a letter, month and day, clock, thread, place, message."""
    if not (match := _KLOG.match(line)):
        return None
    time = f"{_MONTHS[int(match[1]) - 1]} {match[2]} {match[3]}"
    return Parts(match[5], {"place": match[4]}, (time,), line)


def _plain(line: str) -> Parts:
    """The message behind a leading time and a leading level, where there are any."""
    start = 0
    if time := _LEADING_TIME.match(line):
        start = time.end()
    if level := (_LEADING_LEVEL_AFTER_TIME if start else _LEADING_LEVEL).match(line, start):
        start = level.end()
    return Parts(line[start:] if line[start:].strip() else line, {}, (line,), line)


def flat(value: JsonObject) -> dict[str, FieldValue]:
    """Nested fields under names joined by dots, lists under their indices; bounded in number, depth and length."""
    found: dict[str, FieldValue] = {}
    waiting: list[tuple[str, Json, int]] = [(name, item, 1) for name, item in reversed(value.items())]
    while waiting and len(found) < MOST_FIELDS:
        name, item, depth = waiting.pop()
        match item:
            case dict() if depth < DEEPEST:
                waiting += [(f"{name}.{key}", each, depth + 1) for key, each in reversed(item.items())]
            case list() if depth < DEEPEST:
                waiting += [(f"{name}.{n}", item[n], depth + 1) for n in reversed(range(min(len(item), MOST_FIELDS)))]
            case dict() | list():
                found[name[:LONGEST_NAME]] = "…"
            case str():
                found[name[:LONGEST_NAME]] = _short(item)
            case _:
                found[name[:LONGEST_NAME]] = item
    return found


def _bounded(fields: Mapping[str, FieldValue]) -> dict[str, FieldValue]:
    kept = list(fields.items())[:MOST_FIELDS]
    return {name[:LONGEST_NAME]: _short(value) if isinstance(value, str) else value for name, value in kept}


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"


_FORMS: tuple[Callable[[str], Parts | None], ...] = (_cri, _syslog, _access, _klog, _logfmt)

_MESSAGES = ("message", "msg", "event", "log", "text", "@m")
_TIMES = ("time", "ts", "timestamp", "@timestamp")
_SEVERITIES = ("level", "severity", "lvl", "loglevel", "log.level", "levelname", "severity_text", "severityText")
_TIME_OR_SEVERITY = frozenset((*_TIMES, *_SEVERITIES))
_OF_A_CONTAINER_RUNTIME = frozenset(("log", "stream", "time", "attrs"))
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{n}" for n in range(8))),
)
"""RFC 5424 6.2.1, by number."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?:{'|'.join(_MONTHS)})"
_ISO = r"\d{4}[-/]\d\d[-/]\d\d[Tt _]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:[Zz]|UTC|[+-]\d\d:?\d\d)\b| ?[+-]\d\d(?!\d))?"
_LEADING_TIME = re.compile(
    rf"\s{{0,4}}[\[(]?(?:{_ISO}|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{{1,9}})? \d{{4}}"
    r"|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)(?![\w:])[\])]?[ \t:|,-]{0,8}"
)
_LEVELS = "trace|verbose|debug|info|information|notice|warn|warning|err|error|severe|crit|critical|fatal|panic|alert|emerg"
_BEHIND = r"(?![\w.=/'$])[ \t:|-]{0,8}"
_BRACKETED = rf"[\[(<|][ ]{{0,4}}(?i:{_LEVELS})[ ]{{0,4}}[\])>|]"
_LEADING_LEVEL = re.compile(rf"(?:{_BRACKETED}|(?:{_LEVELS.upper()})(?=[ \t:|])){_BEHIND}")
_LEADING_LEVEL_AFTER_TIME = re.compile(rf"(?:{_BRACKETED}|(?:{_LEVELS.upper()}|{_LEVELS})(?=[ \t:|])){_BEHIND}")
_CRI = re.compile(r"(\d{4}-\d\d-\d\dT\S{8,24}) (stdout|stderr) [FP] ")
_KLOG = re.compile(r"[IWEF](0[1-9]|1[0-2])(\d\d) (\d\d:\d\d:\d\d)\.\d{1,9} +\d+ ([^\s\]]{1,128})\] ?(.*)")
_RFC_5424 = re.compile(r"<(\d{1,3})>1 \S{1,40} (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ")
_TAG = r"(\S{1,255}) ([^\s:\[\]]{1,64})(?:\[([^\]\s]{1,32})\])?: ?(.*)"
_RFC_3164 = re.compile(rf"(?:<(\d{{1,3}})>)?{_MONTH} [ \d]\d \d\d:\d\d:\d\d {_TAG}")
_TAGGED = re.compile(rf"(?:<(\d{{1,3}})>)?{_ISO} (\S{{1,255}}) ([^\s:\[\]]{{1,64}})\[(\d{{1,10}})\]: ?(.*)")
"""The same with the time that newer daemons write; the process's number tells it from a plain line."""

_ELEMENT = re.compile(r'\[([^\s=\]"]{1,64})((?: [^\s=\]"]{1,64}="(?:[^"\\\]]|\\.){0,4096}")*)\]')
_PARAMETER = re.compile(r' ([^\s=\]"]{1,64})="((?:[^"\\\]]|\\.){0,4096})"')
_ESCAPED = re.compile(r"\\(.)")
_ACCESS = re.compile(
    r'(\S{1,255}) \S{1,64} (\S{1,128}|.{1,128}?) \[[^\]]{20,32}\] "((?:[^"\\]|\\.){0,8192})" (\d{3}) (\d+|-)'
    r'(?: "((?:[^"\\]|\\.){0,8192})" "((?:[^"\\]|\\.){0,8192})")?'
)
_REQUEST = re.compile(r"([A-Z]{1,16}) (\S+)(?: (HTTP/[\d.]+))?")
_PAIR = re.compile(r'\s*([A-Za-z_@][\w.@/-]{0,127})=(?:"((?:[^"\\]|\\.){0,16384})"|([^\s"]*))(?=\s|$)')
_EPOCH = re.compile(r"\d{10,19}(?:\.\d{1,9})?")
