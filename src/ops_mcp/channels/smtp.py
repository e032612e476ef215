"""A channel that hands mail to an SMTP server, over TLS. The server tells no repeats; readers can, by the Message-ID."""

import contextlib
import logging
import ssl
from email import policy
from email.headerregistry import Address as Header
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import anyio
from pydantic import Field, model_validator

from ops_mcp.channels._mail import MailTerms, mail_of, mailbox
from ops_mcp.channels._parsing import parsed
from ops_mcp.errors import InvalidArguments, NotConfigured, NotPermitted, OpsError, ProviderError
from ops_mcp.observing import Notice, Way
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.values import JsonObject

if TYPE_CHECKING:
    import aiosmtplib

log = logging.getLogger(__name__)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_QUIT_SECONDS = 0.5


class SmtpTerms(MailTerms):
    """`tls` is `starttls`, `implicit`, or on this machine `none`; certificates are verified always, by `ca_file` where it is
    named. `password` names the secret."""

    host: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:\-]+$")
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    ca_file: Path | None = None
    user: str = Field(default="", max_length=320)
    password: str = Field(default="", max_length=63)

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.tls == "none" and self.host.lower() not in _LOOPBACK:
            raise ValueError("tls may be none on this machine only")
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together")
        return self


def connect(name: str, table: JsonObject, *, secret: ReadSecret, clock: Clock) -> Way:  # noqa: ARG001  # every kind's
    """The channel. Nothing is connected, and no secret read, before the first notice."""
    terms = parsed(SmtpTerms, name, table)
    return Way(SmtpChannel(terms, secret), knows_repeats=terms.again_in_doubt)


class SmtpChannel:
    """Satisfies `Channel`. One connection a mail: a notice waits for no other's, and none is left open."""

    kind = "smtp"

    def __init__(self, terms: SmtpTerms, secret: ReadSecret) -> None:
        self._terms = terms
        self._secret = secret

    async def send(self, notice: Notice) -> str:
        """The Message-ID."""
        message = message_of(notice, self._terms)
        client = self._client()
        giving = _Giving()
        try:
            with anyio.fail_after(self._terms.timeout_seconds):
                await self._give(client, message, giving)
        except TimeoutError as error:
            raise self._late(giving) from error
        except _outside_errors() as error:
            raise self._meant(error, giving) from error
        finally:
            await _quit(client)
        return str(message["Message-ID"])

    async def ready(self) -> str:
        """Connects, and where there is a user logs in; sends nothing."""
        client = self._client()
        try:
            with anyio.fail_after(self._terms.timeout_seconds):
                await client.connect()
        except TimeoutError as error:
            raise self._late(_Giving()) from error
        except _outside_errors() as error:
            raise self._meant(error, _Giving()) from error
        finally:
            await _quit(client)
        whom = ", ".join(mailbox(one).spec for one in self._terms.to)
        return f"smtp: {self._terms.host} lets us in; mail goes to {whom}."

    def _client(self) -> "aiosmtplib.SMTP":
        import aiosmtplib  # only a worker that sends mail needs it

        terms = self._terms
        return aiosmtplib.SMTP(
            hostname=terms.host,
            port=terms.port,
            username=terms.user or None,
            password=self._secret(terms.password).get_secret_value() if terms.password else None,
            local_hostname=mailbox(terms.sender).domain,
            use_tls=terms.tls == "implicit",
            start_tls=terms.tls == "starttls",
            tls_context=None if terms.tls == "none" else self._tls(),
            timeout=terms.timeout_seconds,
        )

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._terms.ca_file)
        except OSError as error:
            raise NotConfigured("The ca_file of this channel cannot be read.", hint="Name a PEM file of certificates.") from error

    async def _give(self, client: "aiosmtplib.SMTP", message: EmailMessage, giving: "_Giving") -> None:
        """One mail to all recipients. Those whom the server does not know are left out, unless it is everybody."""
        await client.connect()
        await client.mail(mailbox(self._terms.sender).spec)
        taken = [one for one in self._terms.to if await _takes(client, mailbox(one).spec)]
        if not taken:
            raise InvalidArguments(
                "The mail server takes none of the recipients.", hint="Check to, then: ops-mcp outbox retry ID"
            )
        if len(taken) < len(self._terms.to):
            log.warning("%s takes only %d of %d recipients", self._terms.host, len(taken), len(self._terms.to))
        giving.begun = True
        await client.data(message.as_bytes())

    def _late(self, giving: "_Giving") -> ProviderError:
        if giving.begun:
            return ProviderError(_MAYBE.format("did not answer in time"), temporary=self._terms.again_in_doubt)
        return ProviderError("The mail server did not answer in time.", hint=_REACH, temporary=True)

    def _meant(self, error: Exception, giving: "_Giving") -> OpsError:
        """An error of the connection or of the server in our own; only the server's code is told."""
        import aiosmtplib

        if isinstance(error, OpsError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError) or isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return NotConfigured("The mail server's certificate is not to be trusted.", hint="Check host, or name its ca_file.")
        if isinstance(error, aiosmtplib.SMTPNotSupported) or "STARTTLS" in str(error):
            return NotConfigured(
                "The mail server offers no STARTTLS.", hint="Set tls to implicit where it has that, and its port."
            )
        if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:
            return _answered(error.code, at_login=isinstance(error, aiosmtplib.SMTPAuthenticationError))
        if giving.begun:
            return ProviderError(_MAYBE.format(f"broke off: {type(error).__name__}"), temporary=self._terms.again_in_doubt)
        return ProviderError(f"The mail server cannot be reached: {type(error).__name__}.", hint=_REACH, temporary=True)


class _Giving:
    """Whether the mail itself was begun: before that it certainly has not arrived."""

    begun = False


def message_of(notice: Notice, terms: SmtpTerms) -> EmailMessage:
    """The mail as it goes over the wire: the same bytes in all that matters whenever it is sent again."""
    mail = mail_of(notice, mailbox(terms.sender).domain)
    message = EmailMessage(policy=_SEVEN_BIT)
    message["Subject"] = mail.subject
    message["From"] = _header(terms.sender)
    message["To"] = [_header(one) for one in terms.to]
    message["Date"] = notice.at
    message["Message-ID"] = mail.id
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


async def _takes(client: "aiosmtplib.SMTP", spec: str) -> bool:
    """Whether the server takes mail for this address. What it cannot say now is raised, and all is tried again later."""
    import aiosmtplib

    try:
        await client.rcpt(spec)
    except aiosmtplib.SMTPRecipientRefused as error:
        if error.code < 500:
            raise
        return False
    return True


async def _quit(client: "aiosmtplib.SMTP") -> None:
    """Say goodbye where somebody listens. What was taken stays taken, however this goes."""
    with contextlib.suppress(*_outside_errors()), anyio.move_on_after(_QUIT_SECONDS):
        if client.is_connected:
            await client.quit()
    client.close()


def _answered(code: int, *, at_login: bool) -> OpsError:
    details: JsonObject = {"smtp_code": code}
    if at_login and code >= 500:
        return NotPermitted(
            f"The mail server does not let us in (SMTP {code}).",
            hint="Check user and password, then: ops-mcp outbox retry ID",
            details=details,
        )
    if code < 500:
        return ProviderError(f"The mail server takes nothing now (SMTP {code}).", temporary=True, details=details)
    return InvalidArguments(
        f"The mail server refused the mail (SMTP {code}).",
        hint="Check sender and to, then: ops-mcp outbox retry ID",
        details=details,
    )


def _header(text: str) -> Header:
    found = mailbox(text)
    return Header(found.name, addr_spec=found.spec)


def _outside_errors() -> tuple[type[Exception], ...]:
    import aiosmtplib

    return (aiosmtplib.SMTPException, OSError, EOFError)


_MAYBE = "The mail server {}; the mail may have been taken."
_REACH = "Check host, port, its certificate and the network."


_SEVEN_BIT = policy.SMTP.clone(cte_type="7bit")
"""Not every server between here and there takes eight."""
