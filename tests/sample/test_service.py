"""The shipped sample answers, logs, and can be made slow or broken; it is what an anonymous caller may deploy."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ops_mcp.sample

SERVICE = Path(ops_mcp.sample.__file__).with_name("service.py")


@contextmanager
def running(**env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", SERVICE],
        env={"PORT": str(port), "PATH": os.defpath, **env},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate(timeout=10)


def fetched(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_greets_is_healthy_and_leaves_on_term() -> None:
    with running(SAMPLE_GREETING="Good morning") as (process, url):
        assert fetched(f"{url}/") == (200, {"greeting": "Good morning"})
        assert fetched(f"{url}/health")[0] == 200
        assert fetched(f"{url}/other")[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_each_request_is_one_line_of_its_log() -> None:
    with running() as (process, url):
        fetched(f"{url}/health")
        assert process.stdout is not None
        assert '"GET /health HTTP/1.1" 200' in process.stdout.readline()


def test_it_can_be_unhealthy_on_purpose() -> None:
    with running(SAMPLE_HEALTH="500") as (_, url):
        assert fetched(f"{url}/health")[0] == 500


def test_it_can_die_on_purpose() -> None:
    with running(SAMPLE_EXIT_AFTER_SECONDS="0.2") as (process, _):
        assert process.wait(timeout=10) == 3


def test_it_can_listen_nowhere_on_purpose() -> None:
    with running(SAMPLE_SILENT="1") as (process, url):
        with pytest.raises(urllib.error.URLError):
            fetched(url)
        assert process.poll() is None
