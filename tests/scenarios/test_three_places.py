"""One agent takes one service through three places: a process here, a container, and a hosted production that goes bad."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import tomli_w

from sandbox.world import AgentSession, Reply, World, curl, free_port
from tests.providers.docker.worlds import IMAGE, by_hand, engine_host, reason_to_skip
from tests.providers.local.fakes import commit, git

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.docker]

ROOT = Path(__file__).parents[2]
TOKEN = "vercel-token-of-production-0123456789"
APP = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{version}")
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
QUICK = {"verify_seconds": 20.0, "watch_seconds": 2.0, "interval_seconds": 0.3}


@contextmanager
def vercel(port: int) -> Iterator[str]:
    """The simulator as a process of its own."""
    argv = [sys.executable, "-m", "sandbox.vercel", "--port", str(port), "--token", TOKEN, "--domain", f"localhost:{port}"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def house() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        remove_containers()
        world.close()


def remove_containers() -> None:
    filters = json.dumps({"label": ["dev.ops-mcp.service=story", "dev.ops-mcp.environment=staging"]})
    with by_hand(engine_host()) as client:
        for container in client.get("/containers/json", params={"all": "1", "filters": filters}).json():
            client.delete(f"/containers/{container['Id']}", params={"force": "1", "v": "1"})


def configure(world: World, repository: Path, api: str, ports: dict[str, int]) -> None:
    (world.config / "services").mkdir(parents=True)
    settings: dict[str, Any] = {
        "toolsets": ["core", "observe", "places"],
        "providers": {
            "docker": {"host": engine_host()},
            "vercel": {"api": api, "team": "acme", "tokens": {"production": "vercel-production"}},
        },
        "meters": {"vercel": {"request": 10, "build_minute": 4000, "most_build_minutes": 5, "most_requests": 1000}},
        "reputation": False,
        "guard": {"enabled": False},  # other tests load this host meanwhile
    }
    (world.config / "config.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    source = str(repository)
    local = {"source": source, "run": ["{python}", "app.py"], "port": ports["sandbox"]}
    hosted = {"project": "web", "target": "production", "domain": f"localhost:{ports['vercel']}", "repository": source}
    bindings = {
        "sandbox": {"provider": "local", "options": local, "health": QUICK},
        "staging": {
            "provider": "docker",
            "options": {"source": source, "port": 8000, "stop_seconds": 1},
            "health": {**QUICK, "probe": {"kind": "http", "path": "/cgi-bin/health"}},
        },
        "production": {"provider": "vercel", "options": hosted, "health": {**QUICK, "watch_seconds": 20.0}},
    }
    (world.config / "services" / "story.toml").write_text(tomli_w.dumps(bindings), encoding="utf-8")


def publish(repository: Path, version: str) -> str:
    dockerfile = f'FROM {IMAGE}:v1\nENV VERSION={version} ANSWER="200 OK"\n'
    return commit(repository, {"app.py": APP.replace("{version}", version), "Dockerfile": dockerfile}, version)


async def test_one_service_goes_through_three_places_and_comes_back_from_a_bad_production(tmp_path: Path) -> None:
    if reason := reason_to_skip(engine_host()):
        pytest.skip(reason)
    repository = tmp_path / "web"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    ports = {"sandbox": free_port(), "vercel": free_port()}
    with vercel(ports["vercel"]) as api, house() as world:
        configure(world, repository, api, ports)
        world.must("init", "--operator", "olivia", "--no-passphrase")
        world.must("secret", "set", "vercel-production", stdin=TOKEN)
        agent = world.must("agent", "add", "ada", "--tier", "prod", "--json").data["token"]
        good, bad = publish(repository, "one"), ""
        async with world.agent(agent) as ada:
            await through_all(world, ada, good)
            assert curl(ports["sandbox"], "/")[1] == "one"
            assert production(api) == good
            bad = publish(repository, "two")
            steer(api, bad)
            last = await through_all(world, ada, bad, ends_verified=True)
        # Nobody is connected any more: the worker watches, and goes back by itself.
        ended = await ended_by_itself(world, last)
        assert ended["state"] == "rolled_back", ended
        assert production(api) == good
        assert curl(ports["vercel"], "/health")[0] != 0
        told = [record["record"] for record in ledger(world)]
        assert_story(told, bad, last)
        assert_nowhere(world, TOKEN)
        world.must("audit", "anchor", str(tmp_path / "anchor.jsonl"))
        key, exported = public_key(world), str(world.home / "ledger.jsonl")
        world.must("audit", "verify", exported, "--public-key", key, "--anchor", str(tmp_path / "anchor.jsonl"))


async def through_all(world: World, ada: AgentSession, ref: str, *, ends_verified: bool = False) -> str:
    """Deploy to the sandbox, promote to staging, then, with a person's approval, to production; the last deployment's id."""
    await settled(ada, await ada.call("deploy", service="story", environment="sandbox", ref=ref))
    promoted = {"service": "story", "from_environment": "sandbox", "environment": "staging"}
    await settled(ada, await ada.call("promote", **promoted))
    asked = {"service": "story", "from_environment": "staging", "environment": "production", "reason": "it is healthy in staging"}
    refused = await ada.call("promote", **asked)
    assert refused.code == "needs_approval", refused.text
    world.must("approve", str(refused.data["details"]["approval"]), "--yes")
    done = await ada.call("promote", **asked)
    assert done.done, done.text
    if ends_verified:
        return str(done.data["deployment"]["id"])
    return await settled(ada, done)


async def settled(ada: AgentSession, reply: Reply) -> str:
    assert reply.done, reply.text
    id = str(reply.data["deployment"]["id"])
    for _ in range(6):
        found = await ada.call("deployment", id=id, wait_seconds=30)
        if found.data["deployment"]["final"]:
            break
    assert found.data["deployment"]["state"] == "healthy", found.text
    assert found.data["deployment"]["serving"]
    return id


def steer(api: str, commit: str) -> None:
    """This commit's site answers well for a moment, and then no more."""
    with httpx2.Client(base_url=api, trust_env=False) as client:
        client.post(
            "/_sandbox/commits", json={"sha": commit, "outcome": {"site": "breaks", "breaks_after": 6.0}}
        ).raise_for_status()


def production(api: str) -> str:
    """What production serves, by the simulator's own word."""
    with httpx2.Client(base_url=api, trust_env=False) as client:
        world = client.get("/_sandbox/world").json()
    serving = world["projects"]["web"]["production"]
    return next(str(d["sha"]) for d in world["deployments"] if d["id"] == serving)


async def ended_by_itself(world: World, deployment: str) -> dict[str, Any]:
    with anyio.fail_after(90):
        while True:
            found = [r["record"] for r in ledger(world) if r["record"].get("deployment") == deployment]
            ends = [r for r in found if r["kind"] == "operation.settled"]
            if ends:
                return {"state": ends[-1]["verdict"], **ends[-1]}
            await anyio.sleep(0.5)


def ledger(world: World) -> list[dict[str, Any]]:
    """Every record, oldest first."""
    with sqlite3.connect(f"file:{world.state}/ops.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT id, body FROM ledger ORDER BY id").fetchall()
    return [{"number": number, "record": json.loads(body)} for number, body in rows]


def assert_story(told: list[dict[str, Any]], content: str, last: str) -> None:
    """The whole way of the bad release, in order: tried, promoted, asked, approved, committed, verified, failed, put back."""
    kinds = [
        (r["kind"], r.get("environment"), (r.get("data") or {}).get("step"), (r.get("data") or {}).get("event")) for r in told
    ]
    begin = next(i for i, r in enumerate(told) if r["kind"] == "call.committed" and content in json.dumps(r))
    rest = iter(kinds[begin:])
    wanted = [
        ("call.committed", "sandbox", None, None),
        ("operation.settled", "sandbox", None, None),
        ("call.committed", "staging", None, None),
        ("operation.settled", "staging", None, None),
        ("approval.granted", "production", None, None),
        ("call.committed", "production", None, None),
        ("operation.step", "production", "release", "done"),
        ("operation.step", "production", "verify", "done"),
        ("operation.step", "production", "watch", "failed"),
        ("operation.step", "production", "watch", "undo_begun"),
        ("operation.step", "production", "undo", "undone"),
        ("operation.settled", "production", None, None),
    ]
    missing = [step for step in wanted if not any(found == step for found in rest)]
    assert not missing, (missing, kinds[begin:])
    settled = next(r for r in told if r["kind"] == "operation.settled" and r.get("deployment") == last)
    assert settled["data"]["metered"]["requests"] > 0


def assert_nowhere(world: World, secret: str) -> None:
    """Not in the database, the logs, or any other file but the one that keeps it."""
    holders = [path for path in world.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert [path.relative_to(world.home).as_posix() for path in holders] == ["config/secrets/vercel-production"]


def public_key(world: World) -> str:
    return str(world.must("audit", "export", str(world.home / "ledger.jsonl"), "--json").data["public_key"])
