"""Bytes from strangers as text that is harmless to show and bounded."""

import re
import unicodedata


def cleaned(raw: str | bytes, limit: int) -> str:
    """Text without terminal sequences, control, bidirectional, invisible or tag characters; newlines and tabs stay.

    Bytes that are no UTF-8 become U+FFFD. What is longer than `limit` is cut and ends in `…`.
    """
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    if text.isascii() and text.isprintable():
        return text if len(text) <= limit else _cut(text, limit)
    looked_at = text[: limit * _TIMES_THE_LIMIT]
    plain = _TERMINAL.sub("", looked_at).replace("\r\n", "\n").replace("\r", "\n").translate(_VISIBLE)
    return plain if len(plain) <= limit and len(looked_at) == len(text) else _cut(plain, limit)


def _cut(text: str, limit: int) -> str:
    return text[: max(0, limit - 1)] + "…"


class _Visible(dict[int, int | str | None]):
    """What each character becomes, asked of the Unicode database once for each of the common ones."""

    def __missing__(self, code: int) -> int | None:
        kept = None if _is_invisible(code) else code
        if code < _COMMON:
            self[code] = kept
        return kept


_TIMES_THE_LIMIT = 4
"""How much is looked at: enough that sequences taken out seldom shorten the answer, and no 10 MB of them take seconds."""

_COMMON = 0x3000
_VISIBLE = _Visible({0x09: "\t", 0x0A: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n"})
_BLANK = frozenset((0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0))
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0000, 0xE1000))
_UNSEEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]?"  # CSI: colours, the cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\|\x9c)?"  # OSC and other strings
    r"|\x1b[ -/]{0,4}[0-~]?"
)


def _is_invisible(code: int) -> bool:
    return code in _BLANK or any(code in each for each in _SELECTORS) or unicodedata.category(chr(code)) in _UNSEEN
