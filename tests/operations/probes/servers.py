"""Servers to be probed: real ones as processes, certificates, and small ones that misbehave in one way each."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops_mcp.domain.inventory import Asked, Found
from ops_mcp.errors import NotFound
from ops_mcp.operations.probes.kinds import asked
from ops_mcp.operations.probes.reaching import Means
from ops_mcp.values import Secret

HOST = "127.0.0.1"
Talk = Callable[[ByteStream], Awaitable[None]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def found(probe: Asked, now: datetime | None = None, **secrets: str) -> Found:
    """Ask once."""

    def secret(name: str) -> Secret:
        if name not in secrets:
            raise NotFound(f"There is no secret {name!r}.")
        return Secret(secrets[name])

    with anyio.fail_after(30):
        return await asked(probe, Means(secret, lambda: now or datetime.now(UTC)))


@asynccontextmanager
async def listening(talk: Talk, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """A server that talks like this to whoever comes; its port."""

    async def talked(stream: ByteStream) -> None:
        try:
            async with stream:
                await talk(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError):
            pass

    async with await anyio.create_tcp_listener(local_host=HOST) as listener, anyio.create_task_group() as group:
        port: int = listener.extra(SocketAttribute.local_port)
        group.start_soon((TLSListener(listener, tls, standard_compatible=False) if tls else listener).serve, talked)
        yield port
        group.cancel_scope.cancel()


def saying(*parts: bytes, pause: float = 0.0, first: bool = False) -> Talk:
    """Wait for the other side to speak, unless we are `first`; then say this part by part."""

    async def talk(stream: ByteStream) -> None:
        if not first:
            await stream.receive()
        for part in parts:
            await stream.send(part)
            await anyio.sleep(pause)

    return talk


async def silent(_stream: ByteStream) -> None:
    await anyio.sleep_forever()


async def slamming(stream: ByteStream) -> None:
    """Close at once."""
    await stream.aclose()


@asynccontextmanager
async def delayed(port: int, seconds: float) -> AsyncGenerator[int]:
    """A way to that port on which every answer takes so much longer."""

    async def talk(stream: ByteStream) -> None:
        async with await anyio.connect_tcp(HOST, port) as inner, anyio.create_task_group() as group:
            group.start_soon(_pump, inner, stream, seconds)
            await _pump(stream, inner, 0)
            group.cancel_scope.cancel()

    async with listening(talk) as before:
        yield before


async def _pump(source: ByteStream | SocketStream, sink: ByteStream | SocketStream, seconds: float) -> None:
    async for data in source:
        await anyio.sleep(seconds)
        await sink.send(data)


@contextmanager
def redis_server(*options: str) -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """A real Redis of our own, ready."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server here")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", HOST, "--save", "", "--dir", folder, *options]
        with _process(command, port, cwd=folder) as process:
            yield port, process


@contextmanager
def _process(command: list[str], port: int, **terms: object) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **terms)  # type: ignore[call-overload]
    try:
        _wait_for(port)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)


def _wait_for(port: int) -> None:
    async def reached() -> None:
        with anyio.fail_after(20):
            while True:
                try:
                    await (await anyio.connect_tcp(HOST, port)).aclose()
                except OSError:
                    await anyio.sleep(0.02)
                else:
                    return

    import threading

    waiter = threading.Thread(target=anyio.run, args=(reached,))  # whoever waits may be inside an event loop
    waiter.start()
    waiter.join()


@contextmanager
def paused(process: int) -> Generator[None]:
    """A process that is stopped: the kernel takes its connections, and nobody answers."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


class Cluster:
    """A real PostgreSQL of our own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._programs = programs

    def run(self, program: str, *arguments: str) -> None:
        user = "postgres" if os.geteuid() == 0 else None
        done = subprocess.run(
            [str(self._programs / program), "-D", str(self.folder), *arguments],
            user=user, group=user, extra_groups=[] if user else None, cwd="/", capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-500:]

    def start(self, **settings: str) -> None:
        said = " ".join(f"-c {name}={value}" for name, value in {**_POSTGRES, "port": str(self.port), **settings}.items())
        self.run("pg_ctl", "-W", "-o", said, "-l", str(self.folder / "log"), "start")
        _wait_for(self.port)

    def stop(self) -> None:
        self.run("pg_ctl", "-m", "immediate", "-w", "stop")

    @property
    def pid(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split()[0])


_POSTGRES = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "1MB",
    "max_connections": "10",
    "max_wal_senders": "0",
    "autovacuum": "off",
}


@contextmanager
def postgres_cluster() -> Generator[Cluster]:
    """One that is made, and not started."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found_at = shutil.which("initdb")
    programs = installed[-1] if installed else Path(found_at).parent if found_at else None
    if programs is None:
        pytest.skip("there is no initdb here")
    folder = Path(tempfile.mkdtemp())
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        cluster = Cluster(folder, programs)
        cluster.run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "--no-locale", "-E", "UTF8")
        yield cluster
    finally:
        if (folder / "postmaster.pid").exists():
            os.kill(cluster.pid, signal.SIGCONT)
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Authority:
    """A certificate authority of our own, and what it issues, as files."""

    def __init__(self, folder: Path, *, now: datetime) -> None:
        self.folder = folder
        self.now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A test's authority")])
        self._certificate = self._issued(self._name, self._key.public_key(), days=3650, authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, *, days: float, host: str = HOST, begins: float = -30) -> ssl.SSLContext:
        """A server's context with a certificate that ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A test's server")])
        issued = self._issued(name, key.public_key(), days=days, host=host, begins=begins)
        file = self.folder / f"server-{days}-{host}.pem"
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + issued.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _issued(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        days: float,
        host: str = HOST,
        begins: float = -30,
        authority: bool = False,
    ) -> x509.Certificate:
        try:
            alternative: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + timedelta(days=min(begins, days - 1)))
            .not_valid_after(self.now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
