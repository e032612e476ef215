"""A client of the 1.x SDK, as most hosts still embed, over stdio."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Installation, run

pytestmark = pytest.mark.clients

APP = """
import http.server, os, threading

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%s")

threading.Timer(180, os._exit, (0,)).start()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""

SCRIPT_FILE = Path(__file__).parent / "old_sdk.py"


def play(python: Path, env: dict[str, str], script: list[tuple[str, dict[str, Any]]]) -> Any:
    given = env | {"SCRIPT": json.dumps(script)}
    return json.loads(run(str(python), str(SCRIPT_FILE), sys.executable, "-m", "ops_mcp", env=given, seconds=300))


def test_a_1x_client_shakes_hands_lists_and_calls(old_python: Path, installation: Installation):
    told = play(old_python, installation.env, [("whoami", {}), ("services", {}), ("deploy", {"service": "x"})])
    who, services, refused = told["answers"]
    assert told["version"] == "2025-11-25"
    assert {"deploy", "rollback"} <= set(told["tools"])
    assert who["content"]["caller"] == "ci"
    assert "sandbox" in services["content"]["environments"]
    assert refused["isError"]
    assert refused["content"] is None
    assert refused["text"].startswith("invalid_arguments:")


@pytest.fixture
def service(installation: Installation, tmp_path: Path) -> str:
    """A git repository with the tags v1 and v2, bound to the sandbox; what runs of it ends by itself after three minutes."""
    source = tmp_path / "web"
    source.mkdir()
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(source))
    run("git", "init", "-q", "-b", "main", str(source))
    for version in ("v1", "v2"):
        (source / "app.py").write_text(APP % version, encoding="utf-8")
        run(*git, "add", "app.py")
        run(*git, "commit", "-q", "-m", version)
        run(*git, "tag", version)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    run(
        sys.executable, "-m", "ops_mcp", "service", "add", str(source), "-e", "sandbox", "--name", "web",
        "--run", "{python} app.py", "--port", port, "--health", "/health", env=installation.places,
    )  # fmt: skip
    return "web"


def test_a_1x_client_completes_deploy_and_rollback(old_python: Path, installation: Installation, service: str):
    at = {"service": service, "environment": "sandbox"}
    script: list[tuple[str, dict[str, Any]]] = [
        ("deploy", at | {"ref": "v1", "dry_run": True}),
        ("deploy", at | {"ref": "v1"}),
        ("deploy", at | {"ref": "v2"}),
        ("rollback", at),
        ("services", {}),
    ]
    try:
        plan, first, second, back, services = play(old_python, installation.env, script)["answers"]
    finally:
        run(sys.executable, "-m", "ops_mcp", "worker", "stop", env=installation.places)
    assert not plan["isError"], plan["text"]
    for answer in (first, second, back):
        assert not answer["isError"], answer["text"]
        assert answer["content"]["deployment"]["health"] == "healthy"
    assert back["content"]["deployment"]["content"] == first["content"]["deployment"]["content"]
    (place,) = services["content"]["services"]
    assert place["content"] == first["content"]["deployment"]["content"]
