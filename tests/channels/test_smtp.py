"""Mail handed to a real SMTP server, with STARTTLS and a certificate of its own: what arrives, and what may have."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from ops_mcp import channels
from ops_mcp.channels.smtp import SmtpChannel, SmtpTerms
from ops_mcp.errors import Code, NotConfigured, OpsError
from ops_mcp.values import Secret
from tests.channels.mailing import PASSWORD, USER, Postbox, postbox
from tests.channels.receiving import START, notice

pytestmark = pytest.mark.anyio

TABLE: dict[str, Any] = {"sender": "Ops <ops@example.com>", "to": ["ada@example.org", "bob@example.org"], "host": "127.0.0.1"}


@pytest.fixture
def box(tmp_path: Path) -> Generator[Postbox]:
    with postbox(tmp_path) as one:
        yield one


def channel(box: Postbox, *, password: str = PASSWORD, **more: Any) -> SmtpChannel:
    table = {**TABLE, "port": box.port, "ca_file": box.certificate, "user": USER, "password": "smtp-password", **more}
    return SmtpChannel(SmtpTerms.model_validate(table), lambda _: Secret(password))


async def test_a_mail_arrives_over_starttls_with_login_whole_and_under_its_id(box: Postbox) -> None:
    outside = await channel(box).send(notice(untrusted="naïve ☃\n.\n.dots"))
    assert outside == "<ntc_1.pager@example.com>"
    (mail,), (envelope,) = box.mails, box.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("ops@example.com", ["ada@example.org", "bob@example.org"])
    assert mail["Message-ID"] == outside
    text = mail.get_body(("plain",))
    assert text is not None
    assert "> naïve ☃\n> .\n> .dots\n" in text.get_content().replace("\r\n", "\n")


async def test_implicit_tls_works_too(tmp_path: Path) -> None:
    with postbox(tmp_path, tls="implicit", login=False) as box:
        table = {**TABLE, "port": box.port, "ca_file": box.certificate, "tls": "implicit"}
        await SmtpChannel(SmtpTerms.model_validate(table), lambda _: Secret("")).send(notice())
        assert len(box.mails) == 1


async def test_a_certificate_that_nobody_vouches_for_gets_no_password_and_no_mail(box: Postbox) -> None:
    with pytest.raises(NotConfigured, match="certificate"):
        await channel(box, ca_file=None).send(notice())
    assert box.mails == []


async def test_a_certificate_of_another_host_is_not_believed(box: Postbox) -> None:
    with pytest.raises(NotConfigured, match="certificate"):
        await channel(box, host="localhost").send(notice())
    assert box.mails == []


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    with postbox(tmp_path, tls="none", login=False) as box:
        with pytest.raises(NotConfigured, match="STARTTLS"):
            await channel(box).send(notice())
        assert box.mails == []


@pytest.mark.parametrize(
    ("plan", "code", "again"),
    [
        (lambda box: box.at_data.append("451 later"), Code.provider_error, True),
        (lambda box: box.at_data.append("554 no"), Code.invalid_arguments, False),
        (lambda box: box.at_rcpt.append("450 greylisted"), Code.provider_error, True),
        (lambda box: box.at_rcpt.append("drop"), Code.provider_error, True),
        (lambda box: box.at_rcpt.extend(["550 no", "550 no"]), Code.invalid_arguments, False),
        # Taken, and broken off before it was said.
        (lambda box: box.at_data.append("lost"), Code.provider_error, False),
    ],
    ids=["451 at the end", "554 at the end", "greylisted", "drop", "nobody", "lost"],
)
async def test_what_an_answer_means(box: Postbox, plan: Callable[[Postbox], None], code: Code, again: bool) -> None:
    plan(box)
    with pytest.raises(OpsError) as caught:
        await channel(box).send(notice())
    assert (caught.value.code, caught.value.may_be_retried) == (code, again)


async def test_an_operator_may_have_what_is_in_doubt_sent_again_and_readers_can_tell(box: Postbox) -> None:
    box.at_data.append("lost")
    mail = channel(box, again_in_doubt=True)
    with pytest.raises(OpsError) as caught:
        await mail.send(notice())
    assert caught.value.may_be_retried
    await mail.send(notice())
    assert len(box.ids) == 2
    assert len(set(box.ids)) == 1


async def test_one_unknown_recipient_keeps_the_mail_from_no_other(box: Postbox) -> None:
    box.unknown = ("ada@example.org",)
    await channel(box).send(notice())
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["bob@example.org"]]


async def test_a_wrong_password_is_refused_and_not_told(box: Postbox) -> None:
    with pytest.raises(OpsError) as caught:
        await channel(box, password="wrong-password").send(notice())
    assert (caught.value.code, caught.value.may_be_retried) == (Code.not_permitted, False)
    assert "wrong-password" not in f"{caught.value.message} {caught.value.hint}"


async def test_nobody_listening_is_tried_again(box: Postbox) -> None:
    with pytest.raises(OpsError) as caught:
        await channel(box, port=9).send(notice())
    assert (caught.value.code, caught.value.may_be_retried) == (Code.provider_error, True)


async def test_doctor_logs_in_and_sends_nothing(box: Postbox) -> None:
    assert await channel(box).ready() == "smtp: 127.0.0.1 lets us in; mail goes to ada@example.org, bob@example.org."
    with pytest.raises(OpsError):
        await channel(box, password="wrong-password").ready()
    assert box.mails == []


@pytest.mark.parametrize(
    "change",
    [
        {"host": "mail.example.com", "tls": "none"}, {"user": "api"}, {"password": "p"}, {"host": "mail.example.com\r\nQUIT"},
        {"to": []}, {"to": ["ada@example.org\r\nBcc: eve@example.com"]}, {"sender": "ops"}, {"tls": "maybe"},
    ],
)  # fmt: skip
async def test_a_table_that_would_not_be_safe_is_refused(change: dict[str, Any]) -> None:
    way = channels.load({"mail": {"kind": "smtp", **TABLE, **change}}, secret=Secret, clock=lambda: START)["mail"]
    with pytest.raises(NotConfigured, match=r"\[channels.mail\]"):
        await way.channel.send(notice())
