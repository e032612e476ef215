"""Redaction: secrets out of text and JSON before anything is stored or said; text from strangers made plain. No IO."""

import base64
import binascii
import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus, unquote

from ops_mcp.governance.secret_shapes import (
    MARKED,
    NAMED,
    SHAPES,
    SHORTEST_SHAPE,
    Shape,
    compiled,
    holds_any,
    is_secret_name,
    occurs,
)
from ops_mcp.values import Json, JsonObject, Secret

SHORTEST_KNOWN = 8
DEEPEST = 200
_LONGEST_REMEMBERED, _MOST_REMEMBERED = 2**14, 256


class Redactor:
    """Replaces secrets by `[REDACTED:rule:fingerprint]`. The fingerprint is keyed: equal secrets are seen to be equal, no more.

    Configured secrets shorter than eight characters are not looked for; `too_short` names them.
    """

    def __init__(self, known: Mapping[str, Secret], key: bytes) -> None:
        self._key = key
        values = {name: secret.get_secret_value() for name, secret in known.items()}
        self.too_short = tuple(sorted(name for name, value in values.items() if len(value) < SHORTEST_KNOWN))
        self._needles = self._needles_of({name: value for name, value in values.items() if len(value) >= SHORTEST_KNOWN})
        self._needle_texts = tuple(needle.text for needle in self._needles)
        self._clean: set[str] = set()
        """Texts that were found to hold nothing: answers repeat themselves, and finding nothing takes longest."""

    def text(self, text: str) -> str:
        """The text without secrets. Redact before cutting, or half a secret remains."""
        if text in self._clean:
            return text
        found = self._redacted(text)
        if found == text and SHORTEST_KNOWN <= len(text) <= _LONGEST_REMEMBERED:
            if len(self._clean) >= _MOST_REMEMBERED:
                self._clean.clear()
            self._clean.add(text)
        return found

    def _redacted(self, text: str) -> str:
        if self._needle_texts and holds_any(text, self._needle_texts):
            text = self._without_known(text)
        if not text.isalnum():
            lowered = text.lower()
            if "-----begin" in lowered:
                text = self._without_keys(text)
            if holds_any(lowered, _NAMED_MARKS):
                text = self._without(NAMED, text)
        if len(text) < SHORTEST_SHAPE or max(map(len, text.split()), default=0) < SHORTEST_SHAPE:
            return text
        return self._without_shapes(text)

    def value(self, value: Json) -> Json:
        """The same for JSON: every string, every key, and whatever stands under a name such as `password`."""
        return self._value(value, 0)

    def _value(self, value: Json, depth: int) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if depth >= DEEPEST:
            return "[REDACTED:too-deep:00000000]"
        if isinstance(value, dict):
            return self._object(value, depth + 1)
        if isinstance(value, list):
            return [self._value(item, depth + 1) for item in value]
        written = repr(value)
        return value if self.text(written) == written else self.text(written)

    def _object(self, value: JsonObject, depth: int) -> JsonObject:
        found: JsonObject = {}
        for name, item in value.items():
            clean = self.text(name)
            while clean in found:
                clean += "~"
            found[clean] = self._under_secret_name(item, depth) if is_secret_name(name) else self._value(item, depth)
        return found

    def _under_secret_name(self, value: Json, depth: int) -> Json:
        match value:
            case str():
                clean = self.text(value)
                return clean if not value or _MARKER.fullmatch(clean) else self._marker("named", value)
            case None | bool():
                return value
            case int() | float():
                return self._marker("named", repr(value))
            case list():
                return (
                    [self._under_secret_name(item, depth + 1) for item in value] if depth < DEEPEST else self._value(value, depth)
                )
            case dict():
                return self._value(value, depth)

    def _without_known(self, text: str) -> str:
        for needle in self._needles:
            if needle.text in text:
                text = text.replace(needle.text, needle.marker)
        return text

    def _without_keys(self, text: str) -> str:
        """Private keys from BEGIN to END, or to the end of the text where END is missing."""
        kept: list[str] = []
        at = 0
        for begin in _KEY_BEGIN.finditer(text):
            if begin.start() < at:
                continue
            end = _KEY_END.search(text, begin.end())
            stop = end.end() if end else len(text)
            kept += [text[at : begin.start()], self._marker("private-key", text[begin.start() : stop])]
            at = stop
        return "".join(kept) + text[at:]

    def _without_shapes(self, text: str) -> str:
        if holds_any(text, _EXACT_MARKS) or holds_any(text.lower(), _ANY_CASE_MARKS):
            text = self._without(SHAPES, text)
        if ".ey" in text:
            text = _RUN.sub(self._without_web_token, text)
        if "%" in text:
            text = "".join(self._unless_encoded(part) for part in _PARTS.split(text))
        return _BASE64.sub(self._unless_base64, text)

    def _without(self, shapes: tuple[Shape, ...], text: str) -> str:
        for shape in shapes:
            if occurs(shape, text):
                text = compiled(shape).sub(self._replacing(shape.name), text)
        return text

    def _replacing(self, rule: str) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            group = match.lastindex or 0
            secret, whole = match.group(group), match.group()
            if whole.startswith(MARKED):
                return whole
            start = match.start(group) - match.start()
            return whole[:start] + self._marker(rule, secret) + whole[start + len(secret) :]

        return replace

    def _without_web_token(self, match: re.Match[str]) -> str:
        """A JSON web token: base64 that begins as `{"` does, a dot, and the same again."""
        run = match.group()
        second = run.find(".ey")
        first = run.find("ey")
        if second < 0 or not 0 <= first < second - 10:
            return run
        return run[:first] + self._marker("jwt", run[first:])

    def _unless_encoded(self, part: str) -> str:
        """A piece of URL-encoded text; redacted where its decoded form is not clean."""
        if "%" not in part:
            return part
        decoded = part
        for _ in range(3):
            decoded = unquote(decoded)
        if decoded == part:
            return part
        clean = self._without(SHAPES, self._without_known(decoded))
        return part if clean == decoded else quote(clean, safe="[]:/?&=@")

    def _unless_base64(self, match: re.Match[str]) -> str:
        """A run of base64; replaced where what it encodes holds a secret of a known form."""
        run = match.group()
        if not run.strip(_HEXADECIMAL):
            return run
        for offset in range(4):
            for decoded in _READABLE.findall(_decoded(run[offset:])):
                if (rule := self._rule_for(decoded)) is not None:
                    return self._marker(f"base64-{rule}", run)
        return run

    def _rule_for(self, decoded: str) -> str | None:
        if holds_any(decoded, self._needle_texts):
            return "known"
        if _KEY_BEGIN.search(decoded):
            return "private-key"
        if decoded.find(".ey") > decoded.find("ey") >= 0:
            return "jwt"
        return next((shape.name for shape in _WORTH_DECODING if occurs(shape, decoded) and compiled(shape).search(decoded)), None)

    def fingerprint(self, secret: Secret) -> str:
        """A name for a value: the same for equal values, and nobody without this installation's key can try values out.

        It is none of the markers: whoever writes a text and reads it redacted could try values out by those.
        """
        return self._mac("fingerprint\0" + secret.get_secret_value())

    def _marker(self, rule: str, secret: str) -> str:
        return f"[REDACTED:{rule}:{self._mac(secret)}]"

    def _mac(self, secret: str) -> str:
        return hmac.new(self._key, secret.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:8]

    def _needles_of(self, values: Mapping[str, str]) -> tuple["_Needle", ...]:
        """Every way each value may be written, longest first, so that a part never hides the whole."""
        found: dict[str, _Needle] = {}
        for name, value in values.items():
            marker = self._marker(_NOT_A_NAME.sub("-", name) or "secret", value)
            for written in _writings(value):
                found.setdefault(written, _Needle(written, marker))
        return tuple(sorted(found.values(), key=lambda needle: (-len(needle.text), needle.text)))


def plain(text: str, limit: int) -> str:
    """Text from strangers, harmless to show: no terminal sequences, control, bidirectional, invisible or tag characters.

    Newlines and tabs stay. What is longer than `limit` is cut and ends in `…`.
    """
    if not (text.isascii() and text.isprintable()):
        text = _TERMINAL.sub("", text).replace("\r\n", "\n").replace("\r", "\n").translate(_VISIBLE)
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


class _Needle(NamedTuple):
    text: str
    marker: str


class _Visible(dict[int, int | str | None]):
    """Which characters stay, asked of the Unicode database once for each of the common ones."""

    def __missing__(self, code: int) -> int | str | None:
        kept = None if _is_invisible(code) else code
        if code < 0x3000:
            self[code] = kept
        return kept


_VISIBLE = _Visible({0x2028: "\n", 0x2029: "\n", 0x85: "\n", 0x0A: "\n", 0x09: "\t"})
_FILLERS = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, 0x2800})
_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]{0,4}[0-~]?"
)

_NAMED_MARKS = tuple(dict.fromkeys(mark for shape in NAMED for mark in shape.marks))
_EXACT_MARKS = tuple(dict.fromkeys(mark for shape in SHAPES if not shape.any_case for mark in shape.marks))
_ANY_CASE_MARKS = tuple(dict.fromkeys(mark for shape in SHAPES if shape.any_case for mark in shape.marks))
_WORTH_DECODING = SHAPES + tuple(shape for shape in NAMED if shape.name in ("password", "url-password"))
_MARKER = re.compile(r"\[REDACTED:[^\]\s]{1,80}:[0-9a-f]{8}\]")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_KEY_BEGIN = re.compile(r"-----BEGIN[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?-----", re.IGNORECASE)
_KEY_END = re.compile(r"-----END[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?-----", re.IGNORECASE)
_RUN = re.compile(r"[\w./+=-]{30,}")
_READABLE = re.compile(r"[\x20-\x7e\t\r\n]{16,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_PARTS = re.compile(r"([\s\"'<>&=?,;]+)")
_HEXADECIMAL = "0123456789abcdefABCDEF-"


def _is_invisible(code: int) -> bool:
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE0FFF or 0x180B <= code <= 0x180F
    return selector or code in _FILLERS or unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _decoded(run: str) -> str:
    """What a run of base64 of either alphabet says, as Latin-1; the incomplete end is left out."""
    bare = run.rstrip("=").replace("-", "+").replace("_", "/")
    bare = bare[: len(bare) // 4 * 4]
    try:
        return base64.b64decode(bare).decode("latin-1")
    except (binascii.Error, ValueError):
        return ""


def _writings(value: str) -> Iterator[str]:
    """The value itself, in JSON, in URLs, in hexadecimal, and in base64 wherever it may begin inside a longer run."""
    raw = value.encode(errors="surrogatepass")
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw), "".join(f"%{byte:02X}" for byte in raw)):
        yield encoded
        yield _PERCENT.sub(lambda match: match.group().lower(), encoded)
    yield raw.hex()
    yield raw.hex().upper()
    for offset in range(3):
        inner = _base64_core(raw, offset)
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


_PERCENT = re.compile(r"%[0-9A-F]{2}")


def _base64_core(raw: bytes, offset: int) -> str:
    """The characters that depend on `raw` alone when it begins `offset` bytes into a group of three."""
    encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
    first = -(-offset * 8 // 6)
    last = (offset + len(raw)) * 8 // 6
    return encoded[first:last]
