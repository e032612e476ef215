"""The Inspector's command line lists and calls over stdio, HTTP and the bridge, in both eras."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ROOT, Installation, clean, run

pytestmark = pytest.mark.clients

ERAS = ["legacy", "modern"]


class Inspector:
    def __init__(self, commands: Path, installation: Installation) -> None:
        self._commands = commands
        self._installation = installation

    def stdio(self, era: str, *arguments: str, server: tuple[str, ...] = ()) -> Any:
        given = [part for name, value in self._installation.env.items() for part in ("-e", f"{name}={value}")]
        return self._run(era, *given, *arguments, "--", sys.executable, "-m", "ops_mcp", *server)

    def http(self, era: str, url: str, *arguments: str) -> Any:
        header = ("--header", f"Authorization: Bearer {self._installation.token}")
        return self._run(era, "--server-url", url, "--transport", "http", *header, *arguments)

    def _run(self, era: str, *arguments: str) -> Any:
        env = {"PATH": f"{self._commands}:{clean()['PATH']}"}
        command = str(self._commands / "mcp-inspector")
        printed = run(command, "--cli", "--protocol-era", era, "--format", "json", "-q", *arguments, env=env, cwd=ROOT)
        return json.loads(printed)


@pytest.fixture
def inspector(node_modules: Path, installation: Installation) -> Inspector:
    return Inspector(node_modules, installation)


def names(listed: Any) -> set[str]:
    return {tool["name"] for tool in (listed.get("result") or listed)["tools"]}


def caller(called: Any) -> str:
    return (called.get("result") or called)["structuredContent"]["caller"]


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_and_calls_over_stdio(inspector: Inspector, era: str):
    assert {"whoami", "deploy", "rollback"} <= names(inspector.stdio(era, "--method", "tools/list"))
    assert caller(inspector.stdio(era, "--method", "tools/call", "--tool-name", "whoami")) == "ci"


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_and_calls_over_http(inspector: Inspector, era: str, url: str):
    assert {"whoami", "deploy", "rollback"} <= names(inspector.http(era, url, "--method", "tools/list"))
    assert caller(inspector.http(era, url, "--method", "tools/call", "--tool-name", "whoami")) == "ci"


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_calls_through_the_bridge(inspector: Inspector, era: str, url: str):
    called = inspector.stdio(era, "--method", "tools/call", "--tool-name", "whoami", server=("--remote", url))
    assert caller(called) == "ci"


def test_the_inspectors_schema_lint_finds_nothing(inspector: Inspector):
    inspector.stdio("legacy", "--method", "tools/list", "--strict")
