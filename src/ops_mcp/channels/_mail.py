"""A notice as a mail: addresses of the operator's, one subject line, text and HTML, and headers that keep a thread together."""

import html
import re
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import AfterValidator, Field

from ops_mcp.channels._look import headline
from ops_mcp.observing import Notice
from ops_mcp.values import Value, text_digest

LONGEST_SUBJECT = 200
_ADDRESS = re.compile(r"^(?:(?P<name>[^<>\"@,;\\]*)<)?(?P<spec>[!#-'*+\-./0-9=?A-Z^_`a-z{|}~]+@[A-Za-z0-9.\-]+)(?(name)>)$")
_WORD = re.compile(r"^[A-Za-z0-9._-]{1,100}$")
_OTHERS = "Written by others, and quoted as it came:"


class Mailbox(NamedTuple):
    """An address, and the name before it."""

    name: str
    spec: str

    @property
    def domain(self) -> str:
        return self.spec.rpartition("@")[2]


def mailbox(text: str) -> Mailbox:
    """`ops@example.com` or `Ops <ops@example.com>` in ASCII. Raises `ValueError` for anything else, line breaks above all."""
    found = _ADDRESS.match(text) if text.isascii() and text.isprintable() else None
    if found is None:
        raise ValueError("must be an address such as ops@example.com, or Ops <ops@example.com>")
    return Mailbox((found["name"] or "").strip(), found["spec"])


def _is_mailbox(text: str) -> str:
    mailbox(text)
    return text


Address: TypeAlias = Annotated[str, Field(max_length=320), AfterValidator(_is_mailbox)]


class MailTerms(Value):
    """What every mail has: who it is from, and to whom it goes. With `again_in_doubt` one that may have arrived is sent again,
    else it is given up as unknown."""

    sender: Address
    to: tuple[Address, ...] = Field(min_length=1, max_length=50)
    again_in_doubt: bool = False
    timeout_seconds: float = Field(default=8.0, ge=0.1, le=9.0)


class Mail(NamedTuple):
    """The parts of one mail. `id` is the same whenever it is sent again, so that its receivers can tell."""

    id: str
    subject: str
    text: str
    html: str
    headers: dict[str, str]


def mail_of(notice: Notice, domain: str) -> Mail:
    """The notice as a mail from this domain."""
    own = f"{notice.id}.{notice.channel}"
    return Mail(
        id=f"<{own if _WORD.match(own) else _digest(own)}@{domain}>",
        subject=_line(headline(notice)),
        text=_text(notice),
        html=_html(notice),
        headers=_headers(notice, domain),
    )


def _headers(notice: Notice, domain: str) -> dict[str, str]:
    """Mails of one thread refer to one id that nobody has, so that readers show them together whatever got lost."""
    headers = {"Auto-Submitted": "auto-generated"}
    if notice.thread == notice.id:
        return headers
    root = f"<thread-{_digest(notice.thread)}@{domain}>"
    parent = notice.parent if re.fullmatch(r"<[!-;=?-~]+@[!-;=?-~]+>", notice.parent) else ""
    return {**headers, "References": f"{root} {parent}".strip(), "In-Reply-To": parent or root}


def _text(notice: Notice) -> str:
    quoted = "\n".join(f"> {line}".rstrip() for line in _clean(notice.untrusted).splitlines())
    parts = (_clean(notice.text), f"{_OTHERS}\n{quoted}" if quoted else "", f"-- \nops-mcp, notice {_line(notice.id)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(notice: Notice) -> str:
    """Every character of ours and of others is escaped: nothing in it can be a link, an image or a script."""
    quoted = html.escape(_clean(notice.untrusted))
    body = [f"<h3>{html.escape(_line(headline(notice)))}</h3>", f"<p {_WRAP}>{html.escape(_clean(notice.text))}</p>"]
    if quoted:
        body.append(f"<p>{_OTHERS}</p><blockquote {_WRAP}>{quoted}</blockquote>")
    body.append(f"<p><small>ops-mcp, notice {html.escape(_line(notice.id))}</small></p>")
    return f'<!doctype html><html><head><meta charset="utf-8"></head><body>{"".join(body)}</body></html>\n'


_WRAP = 'style="white-space: pre-wrap"'


def _clean(text: str) -> str:
    """Without what a terminal or a reader obeys; line breaks and tabs stay."""
    return "".join(c for c in text.replace("\r\n", "\n").replace("\r", "\n") if c.isprintable() or c in "\n\t").strip()


def _line(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= LONGEST_SUBJECT else text[: LONGEST_SUBJECT - 1] + "…"


def _digest(text: str) -> str:
    return text_digest(text).removeprefix("sha256:")[:32]
