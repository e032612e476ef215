"""An engine over TCP: with certificates of both sides, and in the clear on loopback alone."""

import datetime as dt
import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.settings import Endpoint
from ops_mcp.providers.docker.troubles import EngineAway
from tests.providers.docker.fake_engine import FakeEngine

pytestmark = pytest.mark.anyio

DAY = dt.timedelta(days=1)


class Authority:
    """Makes certificates in `directory`; each is a pair of files NAME.pem and NAME.key."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.key = directory, ec.generate_private_key(ec.SECP256R1())
        self.subject = _name(name)
        self.ca = self._write(name, self._signed(self.subject, self.key, ca=True), self.key)

    def issue(self, name: str) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, self._signed(_name(name), key, ca=False), key)

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = x509.CertificateBuilder(subject_name=subject, issuer_name=self.subject, public_key=key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
        made = made.add_extension(hosts, critical=False).add_extension(
            x509.BasicConstraints(ca=ca, path_length=None), critical=True
        )
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        if ca:
            usage = dict.fromkeys(
                (
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            made = made.add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
            )
        return made.sign(self.key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
        form, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        (self.directory / f"{name}.pem").write_bytes(certificate.public_bytes(form))
        (self.directory / f"{name}.key").write_bytes(key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain))
        return str(self.directory / name)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@contextmanager
def served(**tls: object) -> Iterator[int]:
    """The engine made of answers on a port of loopback."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(FakeEngine(version="1.44"), log_level="critical", lifespan="off", **tls)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


async def version(endpoint: Endpoint) -> tuple[int, int]:
    engine = EngineApi(endpoint)
    try:
        with anyio.fail_after(10):
            while True:
                try:
                    return await engine.version()
                except EngineAway as error:
                    if "ConnectError" not in error.message or "CERTIFICATE" in str(error.__cause__).upper():
                        raise
                    await anyio.sleep(0.05)
    finally:
        await engine.aclose()


async def test_both_sides_show_their_certificates(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    theirs, mine = ours.issue("engine"), ours.issue("client")
    tls = {"ssl_certfile": f"{theirs}.pem", "ssl_keyfile": f"{theirs}.key", "ssl_ca_certs": f"{ours.ca}.pem", "ssl_cert_reqs": 2}
    with served(**tls) as port:
        host = f"tcp://localhost:{port}"
        assert await version(Endpoint(host=host, ca=f"{ours.ca}.pem", cert=f"{mine}.pem", key=f"{mine}.key")) == (1, 44)
        with pytest.raises(EngineAway):
            await version(Endpoint(host=host, ca=f"{ours.ca}.pem"))
        other = Authority(tmp_path, "other")
        with pytest.raises(EngineAway):
            await version(Endpoint(host=host, ca=f"{other.ca}.pem", cert=f"{mine}.pem", key=f"{mine}.key"))


async def test_loopback_may_be_asked_in_the_clear() -> None:
    with served() as port:
        assert await version(Endpoint(host=f"tcp://127.0.0.1:{port}")) == (1, 44)
