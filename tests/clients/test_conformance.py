"""The official conformance scenarios that need no fixture tools, against the real server over HTTP, in both eras."""

from pathlib import Path

import pytest

from tests.clients.conftest import clean, run

pytestmark = pytest.mark.clients

SCENARIOS = [
    *(
        ("2026-07-28", name)
        for name in (
            "tools-list", "resources-list", "prompts-list", "sep-2164-resource-not-found", "caching", "dns-rebinding-protection",
            "server-sse-multiple-streams", "input-required-result-unsupported-methods", "http-header-validation",
        )
    ),
    *(
        ("2025-11-25", name)
        for name in (
            "server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection",
            "server-sse-multiple-streams", "server-session-lifecycle",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("version", "scenario"), SCENARIOS)
def test_the_server_conforms(node_modules: Path, open_url: str, version: str, scenario: str):
    node = str(node_modules / "node")
    suite = str((node_modules / "conformance").resolve())
    env = {"PATH": f"{node_modules}:{clean()['PATH']}"}
    run(node, suite, "server", "--url", open_url, "--spec-version", version, "--scenario", scenario, env=env)
