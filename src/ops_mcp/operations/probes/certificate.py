"""How long the certificate that a server shows is good for, and whether it is trusted."""

import ssl
from dataclasses import dataclass
from datetime import datetime

from anyio.streams.tls import TLSAttribute, TLSStream

from ops_mcp.domain.inventory import CertificateAsked, Found, HealthState
from ops_mcp.operations.probes.reaching import (
    Means,
    Seen,
    Trouble,
    judged_by_certificate,
    reach,
    tls_context,
    trouble_of,
    unanswered,
)


@dataclass(slots=True)
class CertificateSeen(Seen):
    """`fault` is what is wrong with the certificate, `expires` when it ends, `now` when it was looked at."""

    fault: Trouble | None = None
    expires: datetime | None = None
    now: datetime | None = None


async def ask(probe: CertificateAsked, means: Means, seen: CertificateSeen) -> None:
    seen.now = means.clock()
    try:
        await _shown(probe, tls_context(probe.ca_file), seen)
    except ssl.SSLCertVerificationError as error:
        seen.fault = trouble_of(error)
        await _shown(probe, _trusting(), seen)


def verdict(probe: CertificateAsked, seen: CertificateSeen) -> Found:
    if seen.expires is None or seen.now is None:
        return unanswered(seen, probe.timeout_seconds) or Found(HealthState.unhealthy, Trouble.no_tls.value)
    good = Found(HealthState.healthy, f"its certificate is good for {(seen.expires - seen.now).days} days", seen.milliseconds)
    if seen.fault is not None:
        good = good._replace(state=HealthState.unhealthy, evidence=seen.fault.value)
    return judged_by_certificate(good, seen.expires, seen.now, probe.certificate_days)


async def _shown(probe: CertificateAsked, context: ssl.SSLContext, seen: CertificateSeen) -> None:
    from cryptography import x509  # 30 ms, and only the process that probes needs it

    stream = await reach(probe.host, probe.port, seen)
    try:
        secured = await TLSStream.wrap(
            stream, hostname=probe.server_name or probe.host, ssl_context=context, standard_compatible=False
        )
        shown = secured.extra(TLSAttribute.peer_certificate_binary)  # noqa: S610  no Django here
        if shown is not None:
            seen.expires = x509.load_der_x509_certificate(shown).not_valid_after_utc
    finally:
        await stream.aclose()


def _trusting() -> ssl.SSLContext:
    """One that only looks: what is shown is judged, and nothing is ever said over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
