"""What is served beside MCP, over a house: asked through the whole ASGI application, checks of Host and Origin included."""

from dataclasses import dataclass, field

import httpx2
from starlette.types import ASGIApp

from ops_mcp import doors
from ops_mcp.domain.identity import Credential, OperatorName, Token
from ops_mcp.operator.verbs import GiveOperatorToken
from ops_mcp.server import build
from ops_mcp.store.people import token_hash
from ops_mcp.visitors import StoredVisitors
from ops_mcp.web import application, door
from tests.house import House
from tests.wire.fakes import TOOLS, FakeCalls

OPERATOR_TOKEN = "opsmcp_olga_reads_" + "y" * 20


@dataclass
class Entrance:
    """The doors of one house."""

    home: House
    visitors: StoredVisitors = field(init=False)
    app: ASGIApp = field(init=False)

    def __post_init__(self) -> None:
        self.visitors = StoredVisitors(self.home.database, self.home.app.clock)
        server = build(FakeCalls(), TOOLS, door=door)
        beside = doors.routes(self.home.opened, self.visitors)
        vital = doors.Vital(self.home.opened)
        http = self.home.config.settings.http
        self.app = application(server, http, self.visitors, ready=self.visitors.ready, unwell=vital, beside=beside)

    def http(self, token: str | None = None) -> httpx2.AsyncClient:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", headers=headers, timeout=20)

    async def get(self, path: str, token: str | None = OPERATOR_TOKEN) -> httpx2.Response:
        async with self.http(token) as http:
            return await http.get(path)


async def with_operator_token(home: House) -> Entrance:
    """An entrance, and olga's token for reading."""
    await home.order(GiveOperatorToken(name=OperatorName("olga"), token_hash=token_hash(OPERATOR_TOKEN)))
    return Entrance(home)


def secret(credential: Credential) -> str:
    assert isinstance(credential, Token)
    return credential.secret.get_secret_value()
