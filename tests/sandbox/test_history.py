"""The web shop's history: the same every time, two releases that are healthy and one that is not."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import history
from sandbox.world import curl


def test_the_history_is_the_same_every_time(tmp_path: Path) -> None:
    assert history.make(tmp_path / "one") == history.make(tmp_path / "two")


@pytest.mark.parametrize(("tag", "status"), [("v1", 200), ("v2", 200), ("v3", 500)])
def test_only_the_third_release_fails_its_health_check(tmp_path: Path, tag: str, status: int) -> None:
    repository = tmp_path / "webshop"
    history.make(repository)
    history.git(repository, "checkout", "--quiet", tag)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    shop = subprocess.Popen(
        [sys.executable, "app.py"], cwd=repository, env={"PORT": str(port), "PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL
    )
    try:
        assert curl(port, "/health", seconds=15)[0] == status
    finally:
        shop.terminate()
        shop.wait(10)
