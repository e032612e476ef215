"""What every room builds its values from: the frozen model, canonical JSON, digests and the secret type. No IO, no clock."""

import hashlib
from typing import Self, TypeAlias, cast

import rfc8785
from pydantic import BaseModel, ConfigDict, JsonValue, SecretStr
from pydantic_core import to_json

Json: TypeAlias = JsonValue
JsonObject: TypeAlias = dict[str, JsonValue]
Secret = SecretStr

_LARGEST_EXACT_INTEGER = 2**53 - 1


class Value(BaseModel):
    """A frozen model that refuses unknown fields; a change is a copy (`evolve`)."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", allow_inf_nan=False)

    def evolve(self, **changes: object) -> Self:
        """A copy with some fields changed, validated like any other."""
        return type(self).model_validate({**dict(self), **changes})

    def json_value(self) -> JsonObject:
        """The model as plain JSON values, nulls left out."""
        return cast(JsonObject, self.model_dump(mode="json", exclude_none=True))


def canonical(value: Json) -> bytes:
    """RFC 8785 canonical JSON. Raises `ValueError` for what has none: integers beyond 2**53, NaN, lone surrogates."""
    try:
        return to_json(_sorted(value))
    except ValueError:
        return rfc8785.dumps(value)


def digest(value: Json) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def text_digest(text: str) -> str:
    """Digest of raw text, for values that cannot be canonical JSON; lone surrogates are kept apart, never dropped."""
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def flat_bytes(value: Json) -> bytes:
    """Bytes that tell any value from another, also one without a canonical form: however deep, however large."""
    parts: list[bytes] = []
    waiting: list[Json] = [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                parts.append(b"{%d" % len(found))
                waiting.extend(found)
                waiting.extend(found.values())
            case list() as found:
                parts.append(b"[%d" % len(found))
                waiting.extend(found)
            case str() as text:
                parts.append(text.encode(errors="surrogatepass"))
            case int() as number:
                parts.append(hex(number).encode())  # its decimal digits may be more than Python prints
            case other:
                parts.append(repr(other).encode())
    return b"\x00".join(parts)


def sayable(value: Json) -> Json:
    """`value` with whatever canonical JSON cannot carry replaced: lone surrogates escaped, other numbers by digest and size."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {str(sayable(name)): sayable(item) for name, item in value.items()}
        case list():
            return [sayable(item) for item in value]
        case int() | float():
            try:
                canonical(value)
            except ValueError:
                written = flat_bytes(value)
                return {"digest": "sha256:" + hashlib.sha256(written).hexdigest(), "bytes": len(written)}
            return value
        case None:
            return None


def _sorted(value: Json) -> Json:
    """`value` with its keys in order. Raises `_Unusual` for what pydantic does not print exactly as RFC 8785 wants it.

    That leaves no floats, exact integers and ASCII keys, ten times faster than the pure-Python encoder; a property test holds the
    two equal.
    """
    if isinstance(value, dict):
        if not "".join(value).isascii():
            raise _Unusual
        return {name: item if type(item := value[name]) is str or item is None else _sorted(item) for name in sorted(value)}
    if isinstance(value, list):
        return [item if type(item) is str else _sorted(item) for item in value]
    if value is None or isinstance(value, _TEXT_OR_TRUTH):
        return value
    if isinstance(value, float) or not -_LARGEST_EXACT_INTEGER <= value <= _LARGEST_EXACT_INTEGER:
        raise _Unusual
    return value


_TEXT_OR_TRUTH = (str, bool)


class _Unusual(ValueError):
    """Left to the encoder that knows every case."""
