"""HTTP, TLS and logins against servers that answer, misbehave or lie; nothing that they say is ever quoted."""

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from ops_mcp.domain.inventory import CertificateAsked, Found, HealthState, HttpAsked, JsonClaim, LoginAsked, TcpAsked
from ops_mcp.operations.probes.http import at_pointer, held_by
from ops_mcp.operations.probes.reaching import judged_by_certificate
from tests.operations.probes.servers import HOST, Authority, Talk, found, free_port, listening, saying, silent, slamming

pytestmark = pytest.mark.anyio
H, D, U, Q = HealthState.healthy, HealthState.degraded, HealthState.unhealthy, HealthState.unknown
NOW = datetime.now(UTC).replace(microsecond=0)


def answer(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def got(talk: Talk | bytes, *, path: str = "/health", **terms: Any) -> Found:
    """What a probe of this server finds."""
    async with listening(saying(talk) if isinstance(talk, bytes) else talk) as port:
        url = f"http://{HOST}:{port}{path}"
        return await found(HttpAsked.model_validate({"url": url, **terms}))


async def test_a_status_that_is_wanted_is_healthy_with_its_latency() -> None:
    seen = await got(answer(200))
    assert (seen.state, seen.evidence, seen.http_status) == (H, "HTTP 200", 200)
    assert seen.latency_ms is not None
    assert (await got(answer(204), status=[200, 204])).state is H


@pytest.mark.parametrize(
    ("status", "headers", "evidence"),
    [
        (503, (), "HTTP 503"),
        (404, (), "HTTP 404"),
        (302, ("Location: /login?next=/health",), "HTTP 302: it redirects to a login page"),
        (307, ("Location: http://169.254.169.254/latest/meta-data/",), "HTTP 307: it redirects to another host"),
        (301, ("Location: /health/",), "HTTP 301: it redirects within its host"),
        (301, (f"Location: https://{HOST}/health",), "HTTP 301: it redirects to https"),
        (302, ("Location: http://[::",), "HTTP 302: a redirect that leads nowhere"),
        (302, (), "HTTP 302: a redirect that leads nowhere"),
    ],
)
async def test_another_status_is_unhealthy_and_says_where_a_redirect_leads(
    status: int, headers: Sequence[str], evidence: str
) -> None:
    seen = await got(answer(status, b"", *headers))
    assert (seen.state, seen.evidence, seen.http_status) == (U, evidence, status)


async def test_a_redirect_is_never_followed() -> None:
    asked: list[bytes] = []

    async def talk(stream: ByteStream) -> None:
        asked.append(await stream.receive())
        await stream.send(answer(200))

    async with listening(talk) as port:
        seen = await got(answer(302, b"", f"Location: http://{HOST}:{port}/"))
    assert seen.state is U
    assert not asked


async def test_an_answer_that_takes_too_long_is_degraded() -> None:
    async def talk(stream: ByteStream) -> None:
        await stream.receive()
        await anyio.sleep(0.06)
        await stream.send(answer(200))

    seen = await got(talk, latency_ms=50)
    assert seen.state is D
    assert seen.evidence.startswith("HTTP 200, slow: ")


async def test_the_text_that_is_wanted_must_be_in_the_answer() -> None:
    assert (await got(answer(200, b"<title>Shop</title>"), contains="<title>Shop")).state is H
    missing = await got(answer(200, b"<title>Parked domain</title>"), contains="<title>Shop")
    assert missing[:2] == (U, "HTTP 200, but its answer lacks the text that is wanted")
    packed = answer(200, gzip.compress(b"<title>Shop</title>"), "Content-Encoding: gzip")
    assert (await got(packed, contains="<title>Shop")).state is U


async def test_an_alternative_is_asked_where_the_first_is_gone() -> None:
    async def talk(stream: ByteStream) -> None:
        asked = await stream.receive()
        await stream.send(answer(410) if b"/api/v1/" in asked else answer(200, b'{"nanosecond heartbeat": 1}'))

    async with listening(talk) as port:
        base = f"http://{HOST}:{port}/api"
        claims = [{"pointer": "/nanosecond heartbeat"}]
        terms = {"url": f"{base}/v1/heartbeat", "alternative": f"{base}/v2/heartbeat", "claims": claims}
        assert (await found(HttpAsked.model_validate(terms))).state is H


# RFC 6901, section 5, and what the inventory of services asks of its answers.
DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, "postgresql": "connected", "models": [], "ready": True, "jobs": 9}


@pytest.mark.parametrize(
    ("pointer", "value"), [("", DOCUMENT), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/m~0n", 8), ("/foo/1", "baz")]
)
def test_a_pointer_finds_what_its_specification_says(pointer: str, value: Any) -> None:
    assert at_pointer(DOCUMENT, pointer) == value


@pytest.mark.parametrize("pointer", ["/nothing", "/foo/2", "/foo/-", "/foo/01", "/jobs/0", "/foo/0/0"])
def test_a_pointer_to_nothing_finds_nothing(pointer: str) -> None:
    with pytest.raises(LookupError):
        at_pointer(DOCUMENT, pointer)


@pytest.mark.parametrize(
    ("claim", "untrue"),
    [
        ({"pointer": "/postgresql", "equals": "connected"}, ""),
        ({"pointer": "/postgresql", "equals": "down"}, "/postgresql is not what is wanted"),
        ({"pointer": "/ready", "equals": True}, ""),
        ({"pointer": "/ready", "equals": 1}, "/ready is not what is wanted"),
        ({"pointer": "/jobs", "equals": 9}, ""),
        ({"pointer": "/jobs"}, ""),
        ({"pointer": "/gone"}, "/gone is missing"),
        ({"pointer": "/foo", "length": 2}, ""),
        ({"pointer": "/foo", "length": 9}, "/foo has 2 entries, not 9"),
        ({"pointer": "/models", "at_least": 1}, "/models has 0 entries, fewer than 1"),
        ({"pointer": "/jobs", "at_least": 1}, "/jobs has no entries to count"),
    ],
)
async def test_a_claim_that_is_not_true_is_degraded_and_said(claim: dict[str, Any], untrue: str) -> None:
    assert held_by([JsonClaim.model_validate(claim)], json.dumps(DOCUMENT).encode()) == untrue
    seen = await got(answer(200, json.dumps(DOCUMENT).encode()), claims=[claim])
    assert seen[:2] == ((D, f"HTTP 200, but {untrue}") if untrue else (H, "HTTP 200"))


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 100_000, b"1e999999x", b"NaN,"])
async def test_an_answer_that_is_no_json_is_said_and_nothing_of_it_is_quoted(body: bytes) -> None:
    seen = await got(answer(200, body), claims=[{"pointer": "/a"}])
    assert seen[:2] == (D, "HTTP 200, but its answer is no JSON")


async def test_a_server_that_refuses_is_silent_drips_or_talks_nonsense_is_told_apart() -> None:
    refused = await found(HttpAsked(url=f"http://{HOST}:{free_port()}/"))
    still = await got(silent, timeout_seconds=0.3)
    closed = await got(slamming)
    nonsense = await got(b"\x1b[2J\x00 no protocol \xff\r\n\r\n")
    cut_off = await got(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", contains="never")
    dripping = await got(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", *[b"x"] * 90, pause=0.05),
                         contains="never", timeout_seconds=0.3)  # fmt: skip
    slow_head = await got(saying(*[b"H"] * 90, pause=0.05), timeout_seconds=0.3)
    said = [one.evidence for one in (refused, still, closed, nonsense, cut_off, dripping, slow_head)]
    assert said == [
        "it refuses connections",
        "it accepts connections and is silent: no answer within 0.3 s",
        "it closed the connection without an answer",
        "it does not speak the protocol",
        "it broke off the connection",
        "its answer had no end within 0.3 s",
        "it accepts connections and is silent: no answer within 0.3 s",
    ]
    assert {one.state for one in (refused, still, closed, nonsense, cut_off, dripping, slow_head)} == {U}


async def test_an_answer_of_a_gigabyte_is_read_to_its_bound_only() -> None:
    sent: list[int] = []

    async def talk(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(2**30 // 2**16):
            await stream.send(b"x" * 2**16)
            sent.append(2**16)

    wanted = await got(talk, contains="needle")
    assert wanted[:2] == (U, "HTTP 200, but the first 1 MiB of its answer lacks the text that is wanted")
    assert (await got(talk, claims=[{"pointer": "/a"}])).evidence == "HTTP 200, but its answer is too long to be read as JSON"
    assert (await got(talk)).state is H  # where the body does not matter it is not read at all
    assert sum(sent) < 2**26


async def test_endless_headers_are_no_answer() -> None:
    async def talk(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send(b"X-More: " + b"y" * 1000 + b"\r\n")

    assert (await got(talk)).evidence == "it does not speak the protocol"


async def test_a_port_that_accepts_is_told_from_one_that_does_not() -> None:
    async with listening(silent) as port:
        up = await found(TcpAsked(host=HOST, port=port))
        slow = await found(TcpAsked(host=HOST, port=port, latency_ms=0.000001))
    down = await found(TcpAsked(host=HOST, port=free_port()))
    assert [one.state for one in (up, slow, down)] == [H, D, U]
    assert up.evidence == "it accepts connections"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, now=NOW)


# The thresholds: 14 days, 7 days, 1 day.
@pytest.mark.parametrize(
    ("days", "state", "evidence"),
    [
        (200, H, "its certificate is good for 199 days"),
        (14.5, H, "its certificate is good for 14 days"),
        (13.9, D, "its certificate ends in 13.9 days (14 days or less)"),
        (6.9, D, "its certificate ends in 6.9 days (7 days or less)"),
        (0.9, U, "its certificate ends in 0.9 days (1 day or less)"),
        (-2, U, "TLS: its certificate has expired"),
    ],
)
async def test_a_certificate_is_judged_by_the_days_that_are_left(
    authority: Authority, days: float, state: HealthState, evidence: str
) -> None:
    async with listening(silent, tls=authority.context(days=days)) as port:
        probe = CertificateAsked(host=HOST, port=port, ca_file=str(authority.file))
        seen = await found(probe, NOW + timedelta(minutes=1))
    assert (seen.state, seen.evidence) == (state, evidence)
    assert seen.certificate_expires == NOW + timedelta(days=days)


def test_a_certificate_that_ends_by_our_clock_has_expired_whatever_the_handshake_said() -> None:
    good = Found(H, "HTTP 200")
    assert judged_by_certificate(good, NOW, NOW, 14)[:2] == (U, "TLS: its certificate has expired")
    assert judged_by_certificate(good, None, NOW, 14) == good
    slow = judged_by_certificate(Found(D, "HTTP 200, slow"), NOW + timedelta(days=9), NOW, 14)
    assert slow[:2] == (D, "its certificate ends in 9.0 days (14 days or less); HTTP 200, slow")


async def test_a_certificate_that_nobody_vouches_for_or_for_another_name_is_unhealthy_with_its_end(authority: Authority) -> None:
    async with listening(silent, tls=authority.context(days=90)) as port:
        stranger = await found(CertificateAsked(host=HOST, port=port))
        misnamed = await found(CertificateAsked(host=HOST, port=port, server_name="shop.test", ca_file=str(authority.file)))
    async with listening(silent, tls=authority.context(days=90, host="shop.test")) as port:
        named = await found(CertificateAsked(host=HOST, port=port, server_name="shop.test", ca_file=str(authority.file)))
    assert (stranger.state, stranger.evidence) == (U, "TLS: its certificate is issued by nobody who is trusted")
    assert (misnamed.state, misnamed.evidence) == (U, "TLS: its certificate is for another name")
    assert named.state is H
    assert stranger.certificate_expires == misnamed.certificate_expires == NOW + timedelta(days=90)


async def test_a_port_without_tls_shows_no_certificate(tmp_path: Path) -> None:
    async with listening(saying(b"+PONG\r\n")) as port:
        plain = await found(CertificateAsked(host=HOST, port=port))
    async with listening(silent) as port:
        still = await found(CertificateAsked(host=HOST, port=port, timeout_seconds=0.3))
    down = await found(CertificateAsked(host=HOST, port=free_port()))
    unreadable = await found(CertificateAsked(host=HOST, port=free_port(), ca_file=str(tmp_path / "nothing.pem")))
    assert [one.state for one in (plain, still, down, unreadable)] == [U, U, U, Q]
    assert plain.evidence == "TLS: the handshake fails"
    assert still.evidence == "it accepts connections and is silent: no answer within 0.3 s"
    assert down.evidence == "it refuses connections"


async def test_an_https_probe_records_the_certificate_and_tells_tls_troubles_apart(authority: Authority) -> None:
    trusted = {"ca_file": str(authority.file)}

    async def over_tls(days: float, **terms: Any) -> Found:
        async with listening(saying(answer(200)), tls=authority.context(days=days)) as port:
            return await found(HttpAsked.model_validate({"url": f"https://{HOST}:{port}/", **terms}), NOW)

    good, ending, expired = [await over_tls(days, **trusted) for days in (90, 6, -2)]
    stranger = await over_tls(90)
    async with listening(saying(answer(200), first=True)) as port:
        plain = await found(HttpAsked.model_validate({"url": f"https://{HOST}:{port}/", **trusted}), NOW)
    assert [one.state for one in (good, ending, expired, stranger, plain)] == [H, D, U, U, U]
    assert good.certificate_expires == NOW + timedelta(days=90)
    assert ending.evidence == "its certificate ends in 6.0 days (7 days or less)"
    assert expired.evidence == "TLS: its certificate has expired"
    assert stranger.evidence == "TLS: its certificate is issued by nobody who is trusted"
    assert plain.evidence == "TLS: the handshake fails"


class Door:
    """A login that knows one account. `made` counts the sessions, `open` those that were not ended."""

    def __init__(self, *, leaves: bool = True) -> None:
        self.requests: list[bytes] = []
        self.open: set[str] = set()
        self._leaves = leaves

    async def __call__(self, stream: ByteStream) -> None:
        said = b""
        while b"\r\n\r\n" not in said or (b"password" in said) < said.startswith(b"POST /login"):
            said += await stream.receive()
        self.requests.append(said)
        if said.startswith(b"POST /logout"):
            self.open -= {"tok-1"} if b"Bearer tok-1" in said and self._leaves else set()
            await stream.send(answer(204 if self._leaves else 500))
        elif b'"right horse"' in said or b"password=right+horse" in said:
            self.open.add("tok-1")
            await stream.send(answer(200, b'{"session": {"token": "tok-1"}}'))
        else:
            await stream.send(answer(401, b"wrong password: right horse was wanted"))


def login_at(port: int, **terms: Any) -> LoginAsked:
    base = f"http://{HOST}:{port}"
    given = {"url": f"{base}/login", "logout_url": f"{base}/logout", "fields": {"email": "canary@shop.test"}, "secret": "canary"}
    return LoginAsked.model_validate({**given, "token": "/session/token", **terms})


async def test_a_login_goes_in_and_out_again_and_leaves_nothing_behind() -> None:
    door = Door()
    async with listening(door) as port:
        seen = await found(login_at(port), canary="right horse")
        form = await found(login_at(port, form=True), canary="right horse")
    assert seen[:2] == form[:2] == (H, "it logs in and out")
    assert [request.split(b" ")[:2] for request in door.requests] == [[b"POST", b"/login"], [b"POST", b"/logout"]] * 2
    assert not door.open


async def test_a_wrong_password_is_told_from_an_endpoint_that_is_down() -> None:
    async with listening(Door()) as port:
        wrong = await found(login_at(port), canary="wrong horse")
        unknown = await found(login_at(port))
    down = await found(login_at(free_port()), canary="right horse")
    async with listening(saying(answer(404))) as port:
        gone = await found(login_at(port), canary="right horse")
    async with listening(saying(answer(502))) as port:
        failing = await found(login_at(port), canary="right horse")
    async with listening(saying(answer(429))) as port:
        limited = await found(login_at(port), canary="right horse")
    async with listening(silent) as port:
        still = await found(login_at(port, timeout_seconds=0.3), canary="right horse")
    said = {
        wrong.evidence: "HTTP 401: the account or its password is refused",
        unknown.evidence: "There is no secret 'canary'.",
        down.evidence: "it refuses connections",
        gone.evidence: "HTTP 404: nothing takes logins there",
        failing.evidence: "HTTP 502: logging in fails at its end",
        limited.evidence: "HTTP 429: logins are limited; ask less often",
        still.evidence: "it accepts connections and is silent: no answer within 0.3 s",
    }
    assert list(said) == list(said.values())
    assert [one.state for one in (wrong, unknown, down, gone, failing, limited, still)] == [U, Q, U, U, U, U, U]


@pytest.mark.parametrize("token", ["", "a b", "x\r\nX-Evil: 1", "\x00", "é", "y" * 9000, 7, None, ["t"]])
async def test_what_cannot_be_a_token_is_never_sent_on(token: Any) -> None:
    async with listening(saying(answer(200, json.dumps({"session": {"token": token}}).encode()))) as port:
        seen = await found(login_at(port), canary="right horse")
    assert seen[:2] == (U, "it answers as if logged in, but without a token")


async def test_a_session_that_cannot_be_ended_is_degraded() -> None:
    async with listening(Door(leaves=False)) as port:
        assert (await found(login_at(port), canary="right horse"))[:2] == (D, "it logs in, but not out")


async def test_a_login_without_a_way_out_says_that_it_logs_in() -> None:
    async with listening(Door()) as port:
        assert (await found(login_at(port, logout_url=None), canary="right horse"))[:2] == (H, "it logs in")
