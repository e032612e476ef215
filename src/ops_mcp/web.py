"""HTTP beside and around MCP: bearer tokens, Host and Origin, body limits, health. Judges no call; `call()` does that."""

import hashlib
import ipaddress
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Protocol

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp_types import PARSE_ERROR
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ops_mcp.config import Http
from ops_mcp.domain.identity import Client, Token
from ops_mcp.errors import Code, NotConfigured, OpsError, Problem
from ops_mcp.framing import error_line
from ops_mcp.server import Context, client_of
from ops_mcp.values import Secret

PATH = "/mcp"
BODY_SECONDS = 20.0
SHUTDOWN_SECONDS = 5

_CREDENTIAL = "ops_mcp.credential"
_LONGEST_TOKEN = 512
_BACKLOG = 2048


class Credentials(Protocol):
    """What the door needs to know of tokens. Which caller a token is, and what it may do, is decided at the call."""

    async def known(self, token: Token) -> bool:
        """Whether the token belongs to an agent or operator that is not revoked."""
        ...

    async def turned_away(self, address: str) -> None:
        """Count one unauthenticated request of `address`."""
        ...


def application(
    server: Server[Any],
    http: Http,
    credentials: Credentials,
    *,
    ready: Callable[[], Awaitable[bool]],
    unwell: Callable[[], Awaitable[Sequence[str]]] | None = None,
    beside: Sequence[Route] = (),
) -> Starlette:
    """The ASGI application: `/mcp` behind a bearer token, `/health` and `/ready` open and minimal, and the routes `beside`
    it, which look at their own credentials; nothing else. `unwell` names what is not in order."""
    sessions = StreamableHTTPSessionManager(
        server, security_settings=_allowed(http), max_request_body_size=http.max_body_bytes, max_sessions=1000
    )

    async def answer_health(_request: Request) -> Response:
        bad = await unwell() if unwell is not None else ()
        return JSONResponse({"status": "bad", "bad": list(bad)}, status_code=503) if bad else JSONResponse({"status": "ok"})

    async def answer_ready(_request: Request) -> Response:
        is_ready = await ready()
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, status_code=200 if is_ready else 503)

    def lifespan(_app: Starlette) -> AbstractAsyncContextManager[None]:
        return sessions.run()

    security = TransportSecurityMiddleware(_allowed(http))
    mcp = _Sane(sessions.handle_request, http.max_body_bytes)
    return Starlette(
        routes=[
            Route(PATH, endpoint=_Named(security, _Door(mcp, credentials))),
            Route("/health", endpoint=answer_health, methods=["GET"]),
            Route("/ready", endpoint=answer_ready, methods=["GET"]),
            *(Route(route.path, endpoint=_Named(security, route.app), methods=route.methods) for route in beside),
        ],
        lifespan=lifespan,
    )


def door(ctx: Context) -> tuple[Token, Client]:
    """The credential of an HTTP request is the token that this very request carried; a session adds nothing to it."""
    request: Request = ctx.request  # type: ignore[assignment]
    session = request.headers.get("mcp-session-id", "")
    address = request.client.host if request.client else ""
    return request.scope[_CREDENTIAL], client_of(ctx, transport="http", session=session[:64], address=address)


def listen(http: Http) -> socket.socket:
    """Bind the configured address. Raises `NotConfigured` for one that others can reach unless TLS in front of it is stated."""
    refuse_exposure(http)
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((http.host, http.port))
        bound.listen(_BACKLOG)  # who comes before the server has started waits for it
    except OSError as error:
        bound.close()
        raise NotConfigured(
            f"Cannot listen on {http.host} port {http.port}: {error.strerror}.", hint="Set [http] host and port in config.toml."
        ) from error
    return bound


def refuse_exposure(http: Http) -> None:
    """Tokens travel in clear text without TLS, so only loopback is served then."""
    if _is_loopback(http.host):
        return
    if not http.tls:
        raise NotConfigured(
            f"{http.host} can be reached from other machines, and tokens would travel unencrypted.",
            hint="Put a TLS proxy in front and set [http] tls = true, or listen on 127.0.0.1.",
        )
    if not http.allowed_hosts:
        raise NotConfigured(
            "No host names are allowed, so every request would be refused.",
            hint='Set [http] allowed_hosts to the names that clients use, for example ["ops.example.com"].',
        )


async def serve(app: ASGIApp, bound: socket.socket, http: Http, *, stop: anyio.Event) -> None:
    """Serve until `stop`, SIGTERM or SIGINT; running calls get a few seconds to end. Logs no request and no token."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=http.tls,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    running = _Uvicorn(config)

    async def stop_on_signal() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                stop.set()

    async def end_at_stop() -> None:
        await stop.wait()
        running.should_exit = True

    async with anyio.create_task_group() as group:
        group.start_soon(stop_on_signal)
        group.start_soon(end_at_stop)
        await running.serve(sockets=[bound])
        group.cancel_scope.cancel()


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handling, which kills the process with the signal before the ledger is closed."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _Named:
    """Refuses a foreign Host (421) or Origin (403) before a token is looked at."""

    def __init__(self, security: TransportSecurityMiddleware, inner: ASGIApp) -> None:
        self._security = security
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._security.validate_request(Request(scope))
        await (refusal or self._inner)(scope, receive, send)


class _Door:
    """Lets a known bearer token in and binds the SDK's session to it; everybody else gets 401 and is counted by address."""

    def __init__(self, inner: ASGIApp, credentials: Credentials) -> None:
        self._inner = inner
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = bearer(scope)
        try:
            is_known = token is not None and await self._credentials.known(token)
        except OpsError as error:
            await JSONResponse(error.problem.json_value(), status_code=503)(scope, receive, send)
            return
        if token is None or not is_known:
            client = scope.get("client")
            await self._credentials.turned_away(client[0] if client else "")
            await _unauthenticated(presented=token is not None)(scope, receive, send)
            return
        owner = hashlib.sha256(token.secret.get_secret_value().encode()).hexdigest()
        scope[_CREDENTIAL] = token
        # The SDK compares this with the creator of a 2025 session and answers 404 to anybody else. No token is kept in it.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=owner, scopes=[]))
        await self._inner(scope, receive, send)


class _Sane:
    """Reads a POST body within limits of size and time, and refuses what the stdio transport would: JSON without a UTF-8 form."""

    def __init__(self, inner: ASGIApp, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._inner(scope, receive, send)
            return
        body = await read_body(receive, self._max_bytes)
        if isinstance(body, Response):
            await body(scope, receive, send)
        elif not _is_json(body):
            await _parse_error()(scope, receive, send)
        else:
            await self._inner(scope, _replayed(body, receive), send)


async def read_body(receive: Receive, max_bytes: int) -> bytes | Response:
    """The whole body, or what to answer where it is too large or comes too slowly."""
    body: bytes | None = None
    with anyio.move_on_after(BODY_SECONDS) as deadline:
        body = await _body(receive, max_bytes)
    if deadline.cancelled_caught:
        return Response("Request body took too long", status_code=408)
    return Response("Request body too large", status_code=413) if body is None else body


async def _body(receive: Receive, max_bytes: int) -> bytes | None:
    """The whole body, or None once it is too large. A client that leaves meanwhile has sent what it has sent."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > max_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    pending: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(pending, None) or await receive()

    return replay


def _is_json(body: bytes) -> bool:
    """The SDK's own parser here takes lone surrogates and then fails while it answers."""
    try:
        from_json(body)
    except ValueError:
        return False
    return True


def _parse_error() -> Response:
    line = error_line(None, PARSE_ERROR, "Parse error: not UTF-8 JSON")
    return Response(line, status_code=400, media_type="application/json")


def bearer(scope: Scope) -> Token | None:
    """The one bearer token that the request carries, if it is one and no more."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, secret = values[0].decode("latin-1").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > _LONGEST_TOKEN:
        return None
    return Token(secret=Secret(secret))


def _unauthenticated(*, presented: bool) -> Response:
    problem = Problem(
        code=Code.unauthenticated,
        message="The bearer token is not known or was revoked." if presented else "A bearer token is required.",
        hint="Send 'Authorization: Bearer TOKEN'. An operator makes one with `ops-mcp agent add`.",
    )
    challenge = 'Bearer realm="ops-mcp"' + (', error="invalid_token"' if presented else "")
    return Response(
        json.dumps(problem.json_value()), status_code=401, media_type="application/json", headers={"WWW-Authenticate": challenge}
    )


def _allowed(http: Http) -> TransportSecuritySettings:
    """The names of this host. A browser page may only call from an origin that the operator listed, or from this machine."""
    local = ["127.0.0.1", "localhost", "[::1]"] if _is_loopback(http.host) else []
    hosts = [*local, *http.allowed_hosts]
    origins = [f"{scheme}://{name}" for name in local for scheme in ("http", "https")]
    # The approval page's own forms come from there.
    origins += [f"https://{host}" for host in http.allowed_hosts if http.tls]
    return TransportSecuritySettings(
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[*http.allowed_origins, *origins, *(f"{origin}:*" for origin in origins)],
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
