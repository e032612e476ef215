"""A client of the 1.x SDK, as most hosts still embed, over stdio."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Installation, run

pytestmark = pytest.mark.clients

SCRIPT_FILE = Path(__file__).parent / "old_sdk.py"


def play(python: Path, env: dict[str, str], script: list[tuple[str, dict[str, Any]]]) -> Any:
    given = env | {"SCRIPT": json.dumps(script)}
    return json.loads(run(str(python), str(SCRIPT_FILE), sys.executable, "-m", "ops_mcp", env=given))


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
