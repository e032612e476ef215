"""The forms in which a compose file writes ports, sizes, times, commands and lists. Pure; what is not understood is refused.

Facts: the Compose specification's schema (short and long forms); times are Go's (`1m30s`), sizes have binary units.
"""

import re
import shlex
from collections.abc import Mapping

from ops_mcp.providers.docker.declared import Check, Port
from ops_mcp.values import Json, JsonObject

_UNITS = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kb": 1 << 10,
    "m": 1 << 20,
    "mb": 1 << 20,
    "g": 1 << 30,
    "gb": 1 << 30,
    "t": 1 << 40,
    "tb": 1 << 40,
}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?) ?([kmgt]?b?)$", re.IGNORECASE)
_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SHORT_PORT = re.compile(r"^(?:(?:(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:]+\]):)?(\d{1,5})?:)?(\d{1,5})(?:/(tcp|udp))?$")
_DOLLAR = re.compile(r"\$(\$|\{|[A-Za-z_])?")
_CHECK_FIELDS = ("test", "interval", "timeout", "retries", "start_period", "start_interval", "disable")
_PORT_FIELDS = ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol")


class NotSupported(ValueError):
    """Something in the file is not supported; the message names the field, never its value."""


def literal(text: str, field: str) -> str:
    """`$$` stands for a dollar, as `docker compose config` writes it. A variable that is still there was never filled in."""

    def filled(match: re.Match[str]) -> str:
        if match[1] not in ("$", None):
            raise NotSupported(f"{field} holds a variable that is not filled in")
        return "$"

    return _DOLLAR.sub(filled, text)


def words(value: Json, field: str) -> tuple[str, ...]:
    """A command: a list as it is, a text split as a shell would, without one."""
    match value:
        case None:
            return ()
        case str():
            filled = literal(value, field)
            try:
                return tuple(shlex.split(filled))
            except ValueError as error:
                raise NotSupported(f"{field} has an open quote") from error
        case list() if all(isinstance(item, str) for item in value):
            return tuple(literal(str(item), field) for item in value)
        case _:
            raise NotSupported(f"{field} is neither a text nor a list of texts")


def pairs(value: Json, field: str) -> dict[str, str]:
    """A map, or a list of NAME=value. A name without a value is for compose's own environment, and has none here."""
    match value:
        case None:
            return {}
        case dict():
            return {name: literal(_plain(item, field), field) for name, item in value.items() if item is not None}
        case list() if all(isinstance(item, str) for item in value):
            split = [str(item).partition("=") for item in value]
            return {name: literal(text, field) for name, equals, text in split if equals}
        case _:
            raise NotSupported(f"{field} is neither a map nor a list of texts")


def size(value: Json, field: str) -> int | None:
    if value is None:
        return None
    match = _SIZE.fullmatch(_plain(value, field))
    if match is None:
        raise NotSupported(f"{field} is no size such as 512m")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def number(value: Json, field: str) -> float | None:
    if value is None:
        return None
    try:
        return float(_plain(value, field))
    except ValueError as error:
        raise NotSupported(f"{field} is no number") from error


def ports(value: Json, field: str) -> tuple[Port, ...]:
    """Published ports in the order of the file; the first is the one that the service answers on."""
    match value:
        case None:
            return ()
        case list():
            return tuple(_port(item, field) for item in value)
        case _:
            raise NotSupported(f"{field} is no list")


def check(value: Json, field: str) -> Check | None:
    match value:
        case None:
            return None
        case dict():
            refuse_others(value, _CHECK_FIELDS, field)
            if value.get("disable") in (True, "true"):
                return Check(test=("NONE",))
            return Check(
                test=_test(value.get("test"), f"{field}.test"),
                interval=_time(value.get("interval"), f"{field}.interval"),
                timeout=_time(value.get("timeout"), f"{field}.timeout"),
                retries=_whole(value.get("retries"), f"{field}.retries"),
                start_period=_time(value.get("start_period"), f"{field}.start_period"),
                start_interval=_time(value.get("start_interval"), f"{field}.start_interval"),
            )
        case _:
            raise NotSupported(f"{field} is no map")


def refuse_others(given: Mapping[str, Json], known: tuple[str, ...], field: str) -> None:
    """Fields that are set to something and not known; what begins with `x-` says nothing to anybody."""
    for name, value in given.items():
        if name not in known and not name.startswith("x-") and value not in (None, {}, []):
            raise NotSupported(f"{field}.{name} is not supported here")


def _test(value: Json, field: str) -> tuple[str, ...]:
    """A text is for the image's shell. None inherits the image's own test."""
    if isinstance(value, str):
        return ("CMD-SHELL", literal(value, field))
    found = words(value, field)
    if found and found[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise NotSupported(f"{field} begins with neither NONE, CMD nor CMD-SHELL")
    return found


def _port(item: Json, field: str) -> Port:
    match item:
        case dict():
            return _long_port(item, field)
        case bool() | None | list():
            raise NotSupported(f"{field} holds something that is no port")
        case _:
            match = _SHORT_PORT.fullmatch(literal(_plain(item, field), field))
            if match is None:
                raise NotSupported(f"{field} holds a port that is not of the form [[address:]host:]container[/tcp|udp]")
            return _checked(match[3], match[2], match[1], match[4], field)


def _long_port(item: JsonObject, field: str) -> Port:
    refuse_others(item, _PORT_FIELDS, field)
    texts = {name: _plain(item[name], field) for name in _PORT_FIELDS if item.get(name) is not None}
    if texts.get("mode", "ingress") not in ("ingress", "host") or texts.get("protocol", "tcp") not in ("tcp", "udp"):
        raise NotSupported(f"{field} has a mode or protocol that is not supported here")
    return _checked(texts.get("target", ""), texts.get("published"), texts.get("host_ip"), texts.get("protocol"), field)


def _checked(container: str, host: str | None, address: str | None, protocol: str | None, field: str) -> Port:
    try:
        return Port(
            container=int(container),
            host=int(host) if host else None,
            host_ip=address.strip("[]") if address else None,
            protocol="udp" if protocol == "udp" else "tcp",
        )
    except ValueError as error:
        raise NotSupported(f"{field} holds a port that is not between 1 and 65535, or a range of them") from error


def _time(value: Json, field: str) -> int | None:
    if value is None:
        return None
    text = _plain(value, field)
    found = list(_TIME.finditer(text))
    if not found or "".join(match[0] for match in found) != text:
        raise NotSupported(f"{field} is no time such as 1m30s")
    return round(sum(float(match[1]) * _TIMES[match[2]] for match in found))


def _whole(value: Json, field: str) -> int | None:
    found = number(value, field)
    if found is not None and not found.is_integer():
        raise NotSupported(f"{field} is no whole number")
    return int(found) if found is not None else None


def _plain(value: Json, field: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
        case _:
            raise NotSupported(f"{field} is neither a text nor a number")
