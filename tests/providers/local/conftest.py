"""The world of each test, with every confinement that this machine can give."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.providers.local.fakes import World, world


def reason_to_skip(mode: str) -> str:
    """Why this machine cannot confine this way; empty when it can."""
    if mode == "uid" and os.geteuid() != 0:
        return "only root can change the uid"
    if mode == "bubblewrap":
        if shutil.which("bwrap") is None:
            return "bubblewrap is not installed"
        tried = subprocess.run(
            ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "true"], check=False, capture_output=True, timeout=10
        )
        if tried.returncode:
            return f"bubblewrap does not work here: {tried.stderr.decode()[:100]}"
    return ""


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[World]:
    """Without isolation: for what does not depend on it."""
    with world(tmp_path, "none") as made:
        yield made


@pytest.fixture(params=["bubblewrap", "uid", "none"])
def everywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Once per confinement, none included."""
    with confined_by(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=["bubblewrap", "none"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Below bubblewrap's own processes and without them: for what depends on the process tree."""
    with confined_by(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=["bubblewrap", "uid"])
def confined(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Once per real confinement."""
    with confined_by(request.param, tmp_path) as made:
        yield made


@contextmanager
def confined_by(mode: str, root: Path) -> Iterator[World]:
    if reason := reason_to_skip(mode):
        pytest.skip(reason)
    with world(root, mode) as made:
        yield made
