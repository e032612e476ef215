"""Mailtrap's simulator as a process, and a real SMTP server with STARTTLS and a certificate of its own."""

import datetime as dt
import os
import ssl
import subprocess
import sys
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.channels.receiving import ROOT, Receiver

TOKEN = "mailtrap-token-of-the-tests"
USER, PASSWORD = "api", "an SMTP password of the tests"


@contextmanager
def mailtrap(token: str = TOKEN) -> Generator[Receiver]:
    """The simulator on a free port, killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox.mailtrap"],
        cwd=ROOT,
        env={**os.environ, "MAILTRAP_TOKEN": token},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield Receiver(process.stdout.readline().split()[-1])
        finally:
            process.kill()


@dataclass
class Postbox:
    """What the SMTP server took, and how it meets the next mails: a reply such as `451 later`, at `RCPT` or at the end of `DATA`;
    `lost` takes the mail and breaks off before it says so; `drop` breaks off before the mail."""

    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    envelopes: list[Envelope] = field(default_factory=list[Envelope])
    at_rcpt: deque[str] = field(default_factory=deque[str])
    at_data: deque[str] = field(default_factory=deque[str])
    unknown: tuple[str, ...] = ()
    port: int = 0
    certificate: Path = Path()

    @property
    def ids(self) -> list[str]:
        return [str(mail["Message-ID"]) for mail in self.mails]

    async def handle_RCPT(self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]) -> str:  # noqa: N802  # aiosmtpd's
        if address in self.unknown:
            return "550 no such user"
        reply = self.at_rcpt.popleft() if self.at_rcpt else ""
        if reply == "drop":
            _break_off(server)
            return "421 gone"
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        reply = self.at_data.popleft() if self.at_data else ""
        if reply and reply != "lost":
            return reply
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(cast(EmailMessage, message_from_bytes(content, policy=policy.default)))
        self.envelopes.append(envelope)
        if reply == "lost":
            _break_off(server)
        return "250 OK"


def _break_off(server: SMTP) -> None:
    assert server.transport is not None
    server.transport.abort()


class _OnAFreePort(Controller):
    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def postbox(directory: Path, *, tls: str = "starttls", login: bool = True) -> Generator[Postbox]:
    """An aiosmtpd in a thread. Its certificate is for 127.0.0.1, and its own authority."""
    box = Postbox(certificate=directory / "mail.pem")
    context = certificate(box.certificate)

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=known, handled=False)

    controller = _OnAFreePort(
        box,
        hostname="127.0.0.1",
        port=0,
        ssl_context=context if tls == "implicit" else None,
        tls_context=context if tls == "starttls" else None,
        require_starttls=tls == "starttls",
        authenticator=authenticate if login else None,
        auth_required=login,
        auth_require_tls=tls == "starttls",
    )
    controller.start()
    try:
        box.port = controller.port
        yield box
    finally:
        controller.stop()


def certificate(file: Path) -> ssl.SSLContext:
    """Make one for 127.0.0.1 and write it with its key; the context of a server that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context
