"""Prometheus's own tool for rule files: judges what we wrote, and runs rules over series without waiting."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops_mcp.values import Json

PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def major_version() -> int:
    """From version 3 on, ranges and lookback no longer include their oldest moment."""
    assert PROMTOOL is not None
    told = subprocess.run([PROMTOOL, "--version"], capture_output=True, text=True, timeout=30, check=True)
    found = re.search(r"version (\d+)\.", told.stdout + told.stderr)
    assert found is not None
    return int(found[1])


def test_rules(folder: Path, rules: str, tests: Json) -> subprocess.CompletedProcess[str]:
    """Run `promtool test rules`. JSON is YAML, so the test's side needs no YAML library of ours."""
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    (folder / "tests.yml").write_text(json.dumps(tests), encoding="utf-8")
    return run("test", "rules", "tests.yml", cwd=folder)


test_rules.__test__ = False  # type: ignore[attr-defined]
