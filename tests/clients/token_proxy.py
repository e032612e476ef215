"""A reverse proxy that adds a bearer token, for the conformance suite, which cannot send one: `… URL`, token in TOKEN."""

import os
import socket
import sys

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

URL, TOKEN = sys.argv[1], os.environ["TOKEN"]
HTTP = httpx2.AsyncClient(timeout=30)
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "authorization"}


async def forward(request: Request) -> StreamingResponse:
    """Everything but the token stays as it was sent, the Host and Origin above all."""
    headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
    headers.append(("authorization", f"Bearer {TOKEN}"))
    sent = HTTP.build_request(request.method, URL, content=await request.body(), headers=headers)
    reply = await HTTP.send(sent, stream=True)
    back = {name: value for name, value in reply.headers.items() if name not in HOP_BY_HOP}

    async def body():
        try:
            async for chunk in reply.aiter_raw():
                yield chunk
        finally:
            await reply.aclose()

    return StreamingResponse(body(), status_code=reply.status_code, headers=back)


if __name__ == "__main__":
    bound = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{bound.getsockname()[1]}/mcp", flush=True)  # noqa: T201  read by the test
    app = Starlette(routes=[Route("/mcp", forward, methods=["GET", "POST", "DELETE"])])
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[bound])
