"""HTML as values: text is escaped unless it was made here. Strangers' text is cleaned of what would steer a reader's eye."""

import html

from ops_mcp.governance.redaction import plain

LONGEST = 4_000


class Html(str):
    """Markup that was made here."""

    __slots__ = ()


Child = Html | str | None
"""A `str` is text and is escaped; None is nothing."""

Attribute = str | bool | None

_VOID = frozenset({"input", "meta", "br"})


def element(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """One element. `class_` and `for_` stand for `class` and `for`, `_` for `-`; True is an attribute without a value, and what
    is None or False is left out."""
    said = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{said}>")
    return Html(f"<{tag}{said}>{joined(*children)}</{tag}>")


def joined(*children: Child) -> Html:
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children if child is not None))


def text(said: str) -> Html:
    """Text, whoever wrote it."""
    return Html(html.escape(plain(said, LONGEST)))


def quoted(said: str, *, by: str) -> Html:
    """A stranger's words, to be seen as theirs."""
    return element("figure", element("figcaption", by), element("blockquote", said), class_="quoted")


def _attribute(name: str, value: "Attribute") -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(value)}"'
