"""Text from strangers on one line: without control, invisible or direction characters, and no longer than asked."""

import re
import unicodedata

LONGEST_VALUE = 300


def plain(text: str, longest: int = LONGEST_VALUE) -> str:
    """Harmless to show. Line breaks become blanks, so that one value cannot pose as several lines; a cut ends in `…`."""
    text = text[: 4 * longest]
    if not (text.isascii() and text.isprintable()):
        text = "".join(_shown(char) for char in _TERMINAL.sub("", text))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _shown(char: str) -> str:
    if char in "\n\r\t\x0b\x0c\x85\u2028\u2029":
        return " "
    return "" if unicodedata.category(char) in _HIDDEN or char in _FILLERS or _is_selector(ord(char)) else char


def _is_selector(code: int) -> bool:
    return 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE0FFF or 0x180B <= code <= 0x180F


_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
_TERMINAL = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]?|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?")
