"""What every room builds its values from: the frozen model, canonical JSON, digests and the secret type. No IO, no clock."""

import hashlib
import json
from typing import Self, TypeAlias, cast

import rfc8785
from pydantic import BaseModel, ConfigDict, JsonValue, SecretStr

Json: TypeAlias = JsonValue
JsonObject: TypeAlias = dict[str, JsonValue]
Secret = SecretStr

_LARGEST_EXACT_INTEGER = 2**53 - 1


class Value(BaseModel):
    """A frozen model that refuses unknown fields; a change is a copy (`evolve`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def evolve(self, **changes: object) -> Self:
        """A copy with some fields changed, validated like any other."""
        return type(self).model_validate({**dict(self), **changes})

    def json_value(self) -> JsonObject:
        """The model as plain JSON values, nulls left out."""
        return cast(JsonObject, self.model_dump(mode="json", exclude_none=True))


def canonical(value: Json) -> bytes:
    """RFC 8785 canonical JSON. Raises `ValueError` for what has none: integers beyond 2**53, NaN, lone surrogates."""
    if _sorts_and_prints_alike(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
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
        item = waiting.pop()
        if item is None or isinstance(item, str | bool):
            continue
        if isinstance(item, dict):
            if not all(map(str.isascii, item)):
                return False
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, float) or not -_LARGEST_EXACT_INTEGER <= item <= _LARGEST_EXACT_INTEGER:
            return False
    return True
