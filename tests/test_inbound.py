"""Alerts from elsewhere, through the real door into a real database: who is let in, what is taken, what hostile bodies do."""

import json
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from starlette.types import ASGIApp

from ops_mcp.doors import alerts as inbound
from ops_mcp.secrets import Secrets
from ops_mcp.server import build
from ops_mcp.values import Secret
from ops_mcp.web import application, door, listen, serve
from tests.house import House, house
from tests.wire.fakes import TOOLS, FakeCalls
from tests.wire.http_world import FakeCredentials

pytestmark = pytest.mark.anyio

TOKEN, OTHER = "alertmanager-token-1", "uptime-token-2"
PLAIN: dict[str, Any] = {
    "service": "web",
    "status": "critical",
    "metric": "error_rate",
    "threshold": 0.05,
    "current_value": 0.31,
    "timestamp": "2026-11-20T12:00:00Z",
}
FIELDS = tuple(PLAIN)


@dataclass
class Outside:
    """Somebody who posts alerts: over a socket where it is about the socket, else into the application at once."""

    url: str
    home: House
    credentials: FakeCredentials
    app: ASGIApp | None = None

    def http(self) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app) if self.app is not None else None
        return httpx2.AsyncClient(base_url=self.url, timeout=20, transport=transport)

    async def post(
        self, body: Any, *, source: str = "alertmanager", token: str | None = TOKEN, **headers: str
    ) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = {"authorization": f"Bearer {token}"} if token is not None else {}
        async with self.http() as http:
            return await http.post(f"/alerts/{source}", content=content, headers={**bearer, **headers})

    async def alerts(self) -> list[tuple[str, str, str]]:
        await self.home.database.write(lambda _: None)
        rows = await self.home.database.fetch("SELECT source, json_extract(body, '$.name'), state FROM alerts ORDER BY id")
        return sorted(rows)


@asynccontextmanager
async def opened(tmp_path: Path, *, listening: bool = False, **changes: Any) -> AsyncGenerator[Outside]:
    sources = {
        "alertmanager": {"environment": "production", "token": "am", "burst": 1000, **changes},
        "uptime": {"environment": "staging", "token": "up"},
        "unset": {"environment": "staging", "token": "nothing-stored"},
    }
    async with house(tmp_path, alerts={"sources": sources}) as home:
        secrets = Secrets(home.config.config_dir)
        secrets.put("am", Secret(TOKEN))
        secrets.put("up", Secret(OTHER))
        credentials, http = FakeCredentials(), home.config.settings.http.evolve(port=0)
        beside = inbound.routes(home.opened, credentials)

        async def ready() -> bool:
            return True

        app = application(build(FakeCalls(), TOOLS, door=door), http, credentials, ready=ready, beside=beside)
        if not listening:
            yield Outside("http://127.0.0.1", home, credentials, app)
            return
        bound, stop = listen(http), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(partial(serve, app, bound, http, stop=stop))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            await _answers(url)
            yield Outside(url, home, credentials)
            stop.set()


async def _answers(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as http:
        with anyio.fail_after(10):
            while True:
                try:
                    await http.get("/health")
                except httpx2.ConnectError:
                    await anyio.sleep(0.01)
                else:
                    return


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    async with opened(tmp_path) as one:
        yield one


def webhook(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "ops", "alerts": list(alerts), **changes}


def posted(name: str = "HighErrorRate", status: str = "firing", **labels: str) -> dict[str, Any]:
    ends = "0001-01-01T00:00:00Z" if status == "firing" else "2026-11-20T12:09:00Z"
    return {
        "status": status,
        "labels": {"alertname": name, "service": "web", **labels},
        "annotations": {"summary": "it fails"},
        "startsAt": "2026-11-20T12:00:00Z",
        "endsAt": ends,
    }


async def test_a_webhook_is_taken_fires_resolves_and_is_recorded(outside: Outside) -> None:
    reply = await outside.post(webhook(posted()))
    assert (reply.status_code, reply.json()) == (200, {"accepted": 1, "left_out": 0, "notes": []})
    assert await outside.alerts() == [("alertmanager", "HighErrorRate", "firing")]
    outside.home.advance(minutes=1)
    await outside.post(webhook(posted(status="resolved")))
    assert await outside.alerts() == [("alertmanager", "HighErrorRate", "resolved")]
    first, second = await outside.home.records("alerts.received")
    assert (first["caller"], first["environment"]) == ("source:alertmanager", "production")
    assert (first["data"]["firing"], second["data"]["firing"], second["data"]["ended"]) == (1, 0, 1)
    assert first["data"]["untrusted_names"] == ["HighErrorRate"]


async def test_the_plain_form_is_taken_with_its_six_fields(outside: Outside) -> None:
    assert (await outside.post(PLAIN, source="uptime", token=OTHER)).json()["accepted"] == 1
    assert await outside.alerts() == [("uptime", "error_rate", "firing")]
    assert (await outside.post(PLAIN | {"status": "ok"}, source="uptime", token=OTHER)).status_code == 200
    assert await outside.alerts() == [("uptime", "error_rate", "resolved")]


async def test_a_missing_field_of_the_plain_form_is_refused_by_its_name(outside: Outside) -> None:
    for field in FIELDS:
        reply = await outside.post({name: value for name, value in PLAIN.items() if name != field})
        assert reply.status_code == 400
        problem = reply.json()
        assert (problem["code"], f"{field}" in problem["message"]) == ("invalid_arguments", True), field
    assert await outside.alerts() == []


async def test_a_timestamp_without_a_zone_is_refused_by_its_name(outside: Outside) -> None:
    for timestamp in ("2026-11-20T12:00:00", "2026-11-20", "yesterday", 1_700_000_000, "2026-11-20T12:00:00+25:00", ""):
        reply = await outside.post(PLAIN | {"timestamp": timestamp})
        assert (reply.status_code, "timestamp" in reply.json()["message"]) == (400, True), timestamp
    assert (await outside.post(PLAIN | {"timestamp": "2026-11-20T13:00:00+01:00"})).status_code == 200


async def test_an_unknown_source_and_a_wrong_token_are_answered_alike_and_counted(outside: Outside) -> None:
    answers: list[tuple[int, bytes, dict[str, str]]] = []
    wrong = (
        ("nobody", TOKEN),
        ("nobody", None),
        ("alertmanager", None),
        ("alertmanager", "wrong"),
        ("alertmanager", OTHER),
        ("unset", TOKEN),
        ("unset", "nothing-stored"),
        ("ALERTMANAGER", TOKEN),
    )
    for source, token in wrong:
        reply = await outside.post(webhook(posted()), source=source, token=token)
        answers.append((reply.status_code, reply.content, dict(reply.headers) | {"date": ""}))
    assert answers == [answers[0]] * len(wrong)
    assert answers[0][0] == 401
    assert outside.credentials.turned == ["127.0.0.1"] * len(wrong)
    assert await outside.alerts() == []


async def test_an_agents_token_is_none_of_a_sources_and_a_sources_none_of_an_agents(outside: Outside) -> None:
    assert (await outside.post(webhook(posted()), token="ops_ada")).status_code == 401
    async with outside.http() as http:
        assert (await http.post("/mcp", content=b"{}", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 401


async def test_only_posts_from_names_of_this_host_are_looked_at(outside: Outside) -> None:
    async with outside.http() as http:
        assert (await http.get("/alerts/alertmanager")).status_code == 405
    assert (await outside.post(webhook(posted()), host="evil.example.com")).status_code == 421
    assert (await outside.post(webhook(posted()), origin="https://evil.example.com")).status_code == 403


async def test_a_changed_token_is_in_force_at_the_next_request(outside: Outside) -> None:
    Secrets(outside.home.config.config_dir).put("am", Secret("another token"))
    assert (await outside.post(webhook(posted()))).status_code == 401
    assert (await outside.post(webhook(posted()), token="another token")).status_code == 200


async def test_a_source_has_a_rate_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, burst=2, per_minute=6) as outside:
        assert [(await outside.post(PLAIN)).status_code for _ in range(3)] == [200, 200, 429]
        refused = await outside.post(PLAIN)
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("rate_limited", "10")
        assert (await outside.post(PLAIN, source="uptime", token=OTHER)).status_code == 200
        outside.home.advance(seconds=10)
        assert (await outside.post(PLAIN)).status_code == 200


def deep(levels: int) -> bytes:
    return b'{"version":"4","alerts":' + b"[" * levels + b"]" * levels + b"}"


HOSTILE: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"[]", 400),
    (b"null", 400),
    (b"\xff\xfe", 400),
    (b'{"alerts":1}', 400),
    (b'{"version":"3","alerts":[]}', 400),
    (deep(100_000), 400),
    (b"[" * 500_000, 400),
    (b'{"a":' * 100_000, 400),
    (b'{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"\\ud800"}}]}', 400),
    (json.dumps(PLAIN).replace("0.31", "NaN").encode(), 400),
    (json.dumps(PLAIN).replace("0.31", "1e999").encode(), 400),
    (json.dumps(PLAIN).replace("0.31", "9" * 5000).encode(), 400),
    (json.dumps(PLAIN | {"extra": 1}).encode(), 400),
    (json.dumps(webhook({"status": "firing", "labels": {f"l{n}": "x" for n in range(100_000)}})).encode()[:1_048_577], 413),
    (json.dumps(webhook({"status": "firing", "labels": {f"l{n}": "" for n in range(60_000)}})).encode(), 400),
    (b" " * 1_048_577, 413),
]


async def test_a_hostile_body_is_refused_and_leaves_nothing(outside: Outside) -> None:
    for body, status in HOSTILE:
        reply = await outside.post(body)
        assert reply.status_code == status, body[:80]
        assert len(reply.content) < 2_000
    assert await outside.alerts() == []
    assert (await outside.post(PLAIN)).status_code == 200


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, listening=True) as outside:
        await _refused_before_it_is_read(outside)


async def _refused_before_it_is_read(outside: Outside) -> None:
    """Announced, it is not waited for; unannounced, it is cut off."""
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", int(outside.url.rsplit(":", 1)[1])) as stream:
            head = f"POST /alerts/alertmanager HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n"
            await stream.send(f"{head}content-length: 999999999\r\n\r\n".encode())
            assert b" 413 " in await stream.receive()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    async with outside.http() as http:
        reply = await http.post("/alerts/alertmanager", content=pieces(), headers={"authorization": f"Bearer {TOKEN}"})
    assert reply.status_code == 413


async def test_of_many_alerts_the_bad_ones_are_left_out_with_a_note(outside: Outside) -> None:
    many = {"status": "firing", "labels": {f"l{n}": "x" for n in range(65)}}
    reply = await outside.post(webhook(posted("A"), many, {"status": "on fire", "labels": {}}, posted("B")))
    assert (reply.json()["accepted"], reply.json()["left_out"]) == (2, 2)
    assert "alert 2: it has no labels, or more than 64" in reply.json()["notes"]


async def test_what_strangers_say_is_cleaned_and_secrets_are_not_stored(outside: Outside) -> None:
    token = "ghp_" + "a1B2" * 9
    hostile = posted("Evil\x1b[2J\u202e\x00name", note=f"see {token}", password="swordfish")
    assert (await outside.post(webhook(hostile))).status_code == 200
    dump = ""
    for table in ("alerts", "alert_board", "ledger"):
        dump += str(await outside.home.database.fetch(f"SELECT * FROM {table}"))
    for absent in (token, "swordfish", "\\x1b", "\\u202e", "\\u001b", "\\x00"):
        assert absent not in dump


async def test_another_sources_names_give_no_power_over_its_alerts(outside: Outside) -> None:
    """Neither a label, nor the same fingerprint's labels, end or replace what somebody else reported."""
    await outside.post(webhook(posted("Down")))
    forged = posted("Down", "resolved", source="alertmanager", environment="production")
    await outside.post(webhook(posted("Down", "resolved")), source="uptime", token=OTHER)
    await outside.post(webhook(forged), source="uptime", token=OTHER)
    assert ("alertmanager", "Down", "firing") in await outside.alerts()
    await outside.post(webhook(posted("Mine", environment="production")), source="uptime", token=OTHER)
    rows = await outside.home.database.fetch("SELECT environment FROM alerts WHERE source = 'uptime'")
    assert {row[0] for row in rows} == {"staging"}


async def test_a_replayed_webhook_is_no_second_alert_and_an_old_end_ends_nothing_newer(outside: Outside) -> None:
    for _ in range(3):
        assert (await outside.post(webhook(posted()))).status_code == 200
    assert await outside.alerts() == [("alertmanager", "HighErrorRate", "firing")]
    newer = posted() | {"startsAt": "2026-11-20T12:09:30Z"}
    outside.home.advance(minutes=1)
    await outside.post(webhook(posted(status="resolved")))
    await outside.post(webhook(newer))
    await outside.post(webhook(posted(status="resolved")))
    states = [state for _, _, state in await outside.alerts()]
    assert states == ["firing", "resolved"]


async def test_a_thousand_alerts_in_one_body_are_taken_while_others_are_answered(tmp_path: Path) -> None:
    async with opened(tmp_path, listening=True) as outside:
        await _taken_while_others_are_answered(outside)


async def _taken_while_others_are_answered(outside: Outside) -> None:
    body = webhook(*(posted(f"A{n}", text="x" * 500) for n in range(1000)))
    async with anyio.create_task_group() as group:
        replies: list[httpx2.Response] = []

        async def post() -> None:
            replies.append(await outside.post(body))

        group.start_soon(post)
        async with outside.http() as http:
            while not replies:
                assert (await http.get("/health")).status_code == 200
    assert replies[0].json() == {"accepted": 1000, "left_out": 0, "notes": []}
    assert await outside.home.count("alerts") == 1000


async def test_a_database_that_cannot_be_written_has_the_sender_come_back(outside: Outside) -> None:
    with closing(sqlite3.connect(outside.home.database.path)) as newer:  # a newer version that took over the file
        newer.execute("PRAGMA user_version = 99")
    reply = await outside.post(webhook(posted()))
    assert reply.status_code == 503
    assert reply.json()["retryable"] is True


async def test_without_sources_there_is_no_such_path(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        assert inbound.routes(home.opened, FakeCredentials()) == ()
