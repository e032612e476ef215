"""A notice as a mail: what people read, what a stranger's words cannot do, and how a thread is kept together."""

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from pydantic import ValidationError

from ops_mcp.channels._mail import Mailbox, MailTerms, mail_of, mailbox
from ops_mcp.channels.smtp import SmtpTerms, message_of
from tests.channels.receiving import notice

TERMS = SmtpTerms.model_validate(
    {"sender": "Ops <ops@example.com>", "to": ("ada@example.org", "Bob B <bob@example.org>"), "host": "127.0.0.1", "tls": "none"}
)


def test_a_mail_reads_like_this() -> None:
    mail = mail_of(notice(untrusted="/pay fails\nsince <12:00>"), "example.com")
    assert mail.subject == snapshot("🟠 [high] 1 firing in production: HighErrorRate")
    assert mail.text == snapshot(
        """\
Firing: high on shop.

Written by others, and quoted as it came:
> /pay fails
> since <12:00>

-- \n\
ops-mcp, notice ntc_1
"""
    )
    assert mail.html == snapshot(
        '<!doctype html><html><head><meta charset="utf-8"></head><body>'
        "<h3>🟠 [high] 1 firing in production: HighErrorRate</h3>"
        '<p style="white-space: pre-wrap">Firing: high on shop.</p>'
        "<p>Written by others, and quoted as it came:</p>"
        '<blockquote style="white-space: pre-wrap">/pay fails\nsince &lt;12:00&gt;</blockquote>'
        "<p><small>ops-mcp, notice ntc_1</small></p></body></html>\n"
    )


def test_the_wire_has_both_parts_the_addresses_and_one_id_for_every_repeat() -> None:
    first, again = (message_of(notice(), TERMS) for _ in range(2))
    read = message_from_bytes(first.as_bytes(), policy=policy.default)
    assert str(read["From"]) == "Ops <ops@example.com>"
    assert str(read["To"]) == "ada@example.org, Bob B <bob@example.org>"
    assert str(read["Subject"]) == "🟠 [high] 1 firing in production: HighErrorRate"
    assert read["Message-ID"] == again["Message-ID"] == "<ntc_1.pager@example.com>"
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert (str(read["Date"]), read["Auto-Submitted"]) == ("Fri, 20 Nov 2026 12:00:00 +0000", "auto-generated")
    assert first.as_bytes().isascii()


def test_mails_of_a_thread_refer_to_it_and_to_its_first_and_single_ones_to_nothing() -> None:
    first, later = mail_of(notice(), "example.com"), mail_of(notice("ntc_2", parent="<ntc_1.pager@example.com>"), "example.com")
    root = first.headers["References"]
    assert first.headers["In-Reply-To"] == root
    assert later.headers["References"] == f"{root} <ntc_1.pager@example.com>"
    assert later.headers["In-Reply-To"] == "<ntc_1.pager@example.com>"
    assert mail_of(notice(thread="docs"), "example.com").headers["References"] != root
    assert "References" not in mail_of(notice("ntc_3", thread="ntc_3"), "example.com").headers
    # Mailtrap's own name of a mail is no Message-ID.
    assert mail_of(notice(parent="0c7fd939-02cf-11ed"), "example.com").headers["In-Reply-To"] == root


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=50))
def test_no_words_of_anybody_become_a_header_or_markup(title: str, untrusted: str, thread: str) -> None:
    made = notice(title=title, untrusted=untrusted, thread=thread, parent=f"{thread}\r\nBcc: eve@example.com")
    wire = message_of(made, TERMS).as_bytes()
    read = message_from_bytes(wire, policy=policy.default)
    allowed = {
        "subject", "from", "to", "date", "message-id", "mime-version", "content-type", "auto-submitted", "references",
        "in-reply-to",
    }  # fmt: skip
    assert {name.lower() for name in read} <= allowed
    page = mail_of(made, "example.com").html
    tags = page.count("<") - page.count("</")
    assert tags <= 12
    assert "<script" not in page.lower()


@pytest.mark.parametrize(
    "text",
    [
        "ops@example.com\r\nBcc: eve@example.com", "ops@example.com\n", "Ops <ops@example.com", "ops", "a@b@c", "ops@x y.com",
        "Ops\n<ops@example.com>", "öps@example.com", "a@x.org, b@x.org", '"x" <a@x.org>', "", "@example.com",
    ],
)  # fmt: skip
def test_what_is_no_single_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        mailbox(text)
    with pytest.raises(ValidationError):
        MailTerms(sender="ops@example.com", to=(text,))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ops@example.com", Mailbox("", "ops@example.com")),
        ("Ops Team <ops+alerts@mail.example.com>", Mailbox("Ops Team", "ops+alerts@mail.example.com")),
        ("<ops@example.com>", Mailbox("", "ops@example.com")),
    ],
)
def test_an_address_may_have_a_name(text: str, found: Mailbox) -> None:
    assert mailbox(text) == found
